//! The program `spiffe-server`, as a shell meets it.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

const GOOD: &str = r#"
server {
    trust_domain = "example.org"
    data_dir = "/d"
}
plugins {
    DataStore "sql" {
        plugin_data { database_type = "sqlite3" connection_string = "/d/store.sqlite3" }
    }
    KeyManager "memory" { plugin_data {} }
}"#;

fn spiffe_server(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_spiffe-server"));
    program.args(args).output().unwrap()
}

/// What `validate` says of this file: whether it is good, and its two outputs.
fn validate(text: &str, flags: &[&str]) -> (bool, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.conf");
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    let output = spiffe_server(&[&["validate", "-config", name], flags].concat());
    let text = |bytes| {
        String::from_utf8(bytes)
            .unwrap()
            .replace(name, "server.conf")
    };
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_good_file_is_valid() {
    let told = "SPIRE server configuration file is valid.\n".to_owned();
    assert_eq!(validate(GOOD, &[]), (true, told, String::new()));
}

#[test]
fn four_faults_are_four_lines_and_a_failure() {
    let bad = GOOD
        .replace("\"example.org\"", "\"Example.org\"")
        .replace("data_dir = \"/d\"", "data_dri = \"/d\"\nca_ttl = \"1 day\"");
    let (valid, out, err) = validate(&bad, &[]);
    assert!(!valid && out.is_empty());
    let (first, faults) = err.split_once('\n').unwrap();
    assert_eq!(first, "SPIRE server configuration file is invalid:");
    let keys: Vec<_> = faults
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    let wanted = [
        "server.data_dir",
        "server.trust_domain",
        "server.data_dri",
        "server.ca_ttl",
    ];
    assert_eq!(keys, wanted, "{err}");
}

#[test]
fn the_settings_of_plugins_are_looked_at_whatever_else_is_wrong() {
    let bad = GOOD.replace("sqlite3\" connection", "oracle\" connection");
    let worse = bad.replace("server {", "server {\nca_tll = \"1h\"");
    for (file, other) in [(&bad, ""), (&worse, "server.ca_tll: is not a setting")] {
        let (valid, _, err) = validate(file, &[]);
        assert!(!valid);
        for part in ["plugins.DataStore.sql.plugin_data.database_type: ", other] {
            assert!(err.contains(part), "{part} in {err}");
        }
    }
}

#[test]
fn flags_count_more_than_the_file_and_are_named_when_they_are_wrong() {
    let (valid, ..) = validate(GOOD, &["-trustDomain", "other.test", "--serverPort=9000"]);
    assert!(valid);
    let (valid, _, err) = validate(GOOD, &["-serverPort", "http"]);
    assert!(!valid);
    let wanted = "SPIRE server configuration file is invalid: \
                  -serverPort: server.bind_port: `http` is not a port from 0 to 65535\n";
    assert_eq!(err, wanted);
}

#[test]
fn what_cannot_be_run_fails_and_says_why() {
    for (args, part) in [
        (&[][..], "Usage: spiffe-server <command>"),
        (&["walk"], "unknown command `walk`"),
        (&["run", "-config", "/no/such/file"], "/no/such/file"),
        (
            &["run", "-confg", "x"],
            "flag provided but not defined: -confg",
        ),
    ] {
        let output = spiffe_server(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(part),
            "{args:?}: {told}"
        );
    }
}
