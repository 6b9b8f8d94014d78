//! The program `spiffe-agent`, as a shell meets it.

#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output, Stdio};

const GOOD: &str = r#"
agent {
    trust_domain = "example.org"
    data_dir = "DIR/data"
    server_address = "127.0.0.1"
    server_port = 1
    socket_path = "DIR/public/api.sock"
    insecure_bootstrap = true
    join_token = "t"
}
plugins {
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "join_token" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data {} }
}"#;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_spiffe-agent"))
}

/// Writes this configuration, with its files in a directory of its own.
fn written(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.conf");
    let text = text.replace("DIR", dir.path().to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (dir, name)
}

/// What `validate` says of this file: whether it is good, and its two outputs.
fn validate(text: &str, flags: &[&str]) -> (bool, String, String) {
    let (_dir, name) = written(text);
    let args = [&["validate", "-config", &name], flags].concat();
    let Output {
        status,
        stdout,
        stderr,
    } = program().args(args).output().unwrap();
    let text = |bytes| {
        String::from_utf8(bytes)
            .unwrap()
            .replace(&name, "agent.conf")
    };
    (status.success(), text(stdout), text(stderr))
}

#[test]
fn a_good_file_is_valid() {
    let told = "SPIRE agent configuration file is valid.\n".to_owned();
    assert_eq!(validate(GOOD, &[]), (true, told, String::new()));
}

#[test]
fn every_fault_is_a_line_and_a_failure() {
    let bad = GOOD
        .replace("\"example.org\"", "\"Example.org\"")
        .replace("insecure_bootstrap = true", "insecure_bootstap = true")
        .replace(
            "\"unix\" { plugin_data {} }",
            "\"unix\" { plugin_data { sice = 1 } }",
        );
    let (valid, out, err) = validate(&bad, &[]);
    assert!(!valid && out.is_empty());
    for part in [
        "agent.trust_domain: ",
        "agent.insecure_bootstap: is not a setting; did you mean `insecure_bootstrap`?",
        "agent.trust_bundle_path: is missing",
    ] {
        assert!(err.contains(part), "{part} in {err}");
    }
    let bad = GOOD.replace(
        "\"unix\" { plugin_data {} }",
        "\"unix\" { plugin_data { sice = 1 } }",
    );
    let (valid, _, err) = validate(&bad, &[]);
    assert!(!valid && err.contains("sice: is not a setting"), "{err}");
}

#[test]
fn flags_count_more_than_the_file() {
    let (valid, ..) = validate(GOOD, &["-trustDomain", "other.test", "--serverPort=9000"]);
    assert!(valid);
    let (valid, _, err) = validate(GOOD, &["-serverAddress", "a b"]);
    assert!(!valid);
    let wanted = "-serverAddress: agent.server_address: `a b` is not a name or an IP address";
    assert!(err.contains(wanted), "{err}");
    let without = GOOD.replace("insecure_bootstrap = true", "");
    assert!(!validate(&without, &[]).0);
    assert!(validate(&without, &["-insecureBootstrap"]).0);
    assert!(validate(&without, &["-trustBundle", "b.pem", "-joinTokenFile="]).0);
}

#[test]
fn it_runs_until_it_is_asked_to_end() {
    use std::io::{BufRead, BufReader};
    let (dir, name) = written(GOOD);
    let mut agent = program()
        .args(["run", "-config", &name])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(agent.stderr.take().unwrap()).lines();
    // Its server is away, which is no reason to leave.
    let told = log.find(|line| line.as_ref().unwrap().contains("Node attestation failed"));
    assert!(told.is_some());
    assert!(dir.path().join("public/api.sock").exists());
    let pid = agent.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(asked.success());
    assert!(agent.wait().unwrap().success());
    drop(log);
}

#[test]
fn what_cannot_be_run_fails_and_says_why() {
    let (dir, name) = written(GOOD);
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/agent-data.json"), "{").unwrap();
    for (args, part) in [
        (&["run", "-config", "/no/such/file"][..], "/no/such/file"),
        (
            &["run", "-confg", "x"],
            "flag provided but not defined: -confg",
        ),
        (
            &["run", "-config", &name],
            "agent-data.json: not the data of an agent",
        ),
    ] {
        let output = program().args(args).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(part),
            "{args:?}: {told}"
        );
    }
}
