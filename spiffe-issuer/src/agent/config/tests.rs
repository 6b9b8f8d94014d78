//! What a configuration file says, and what it is told.

use std::path::Path;

use super::*;
use crate::config::parse;
use crate::runtime::telemetry::{Format, Level};

const PLUGINS: &str = r#"plugins {
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "join_token" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data {} }
}"#;

const REQUIRED: &str = "trust_domain = \"td\"\nserver_address = \"spire\"\nserver_port = 8081\n";

fn read(text: &str) -> Result<Checked<AgentConfig>, Issues> {
    AgentConfig::read(&parse("agent.conf", text).unwrap())
}

/// A configuration with these lines in its agent block.
fn with(lines: &str) -> Result<Checked<AgentConfig>, Issues> {
    read(&format!("agent {{\n{lines}\n{REQUIRED}}}\n{PLUGINS}"))
}

fn faults(outcome: Result<Checked<AgentConfig>, Issues>) -> Vec<String> {
    match outcome {
        Ok(_) => Vec::new(),
        Err(issues) => issues.to_string().lines().map(str::to_owned).collect(),
    }
}

fn warnings(lines: &str) -> Vec<String> {
    let read = with(lines).unwrap();
    read.warnings.iter().map(ToString::to_string).collect()
}

const BUNDLE: &str = "trust_bundle_path = \"b.pem\"";

#[test]
fn what_is_left_out_is_as_spire_has_it() {
    let read = with(BUNDLE).unwrap();
    assert_eq!(read.warnings, []);
    let config = read.value;
    assert_eq!(config.data_dir, Path::new("."));
    let socket = Path::new("/tmp/spire-agent/public/api.sock");
    assert_eq!(config.socket_path, socket);
    assert_eq!(config.server.authority(), "spire:8081");
    assert_eq!(config.bootstrap, BootstrapConfig::File("b.pem".into()));
    assert_eq!(
        (config.log.level, config.log.format),
        (Level::Info, Format::Text)
    );
    assert!(config.token.is_none());
    assert!(!config.allow_unauthenticated_verifiers);
    assert_eq!(config.workload_key_kind, KeyKind::EcP256);
    assert_eq!(config.svid_cache_size, 1000);
    assert_eq!(config.renewal, Renewal::default());
    assert_eq!(config.sync_interval, Duration::from_secs(5));
    assert_eq!(config.plugins.prover.name(), "join_token");
    assert_eq!(config.plugins.attestors[0].name(), "unix");
}

#[test]
fn a_whole_configuration_is_taken_at_its_word() {
    let config = with(
        r#"
        allow_unauthenticated_verifiers = true
        availability_target = "48h"
        data_dir = "/d"
        experimental { sync_interval = "10s" use_sync_authorized_entries = true }
        insecure_bootstrap = true
        join_token = "secret"
        log_level = "DEBUG"
        socket_path = "/s"
        workload_x509_svid_key_type = "rsa-2048"
        x509_svid_cache_max_size = 7
        "#,
    )
    .unwrap()
    .value;
    assert!(config.allow_unauthenticated_verifiers);
    let target = Some(Duration::from_secs(48 * 3600));
    assert_eq!(config.renewal.availability_target, target);
    assert_eq!(config.data_dir, Path::new("/d"));
    assert_eq!(config.sync_interval, Duration::from_secs(10));
    assert_eq!(config.bootstrap, BootstrapConfig::FirstServer);
    assert!(matches!(&config.token, Some(TokenSource::Here(token)) if token.reveal() == "secret"));
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(config.log.level, Level::Debug);
    assert_eq!(config.socket_path, Path::new("/s"));
    assert_eq!(config.workload_key_kind, KeyKind::Rsa2048);
    assert_eq!(config.svid_cache_size, 7);
}

#[test]
fn every_fault_is_told_at_once() {
    let told = faults(read(
        r#"agent {
            availability_target = "1h"
            join_token = "a"
            join_token_file = "b"
            server_address = "spire:8081"
            sever_port = 1
            experimental { sync_interval = "1ms" require_pq_kem = true }
        }
        plugins {
            KeyManager "disc" {}
            NodeAttestor "join_token" {}
            SVIDStore "x" {}
        }"#,
    ));
    let expected = [
        "agent.trust_domain: is missing",
        "agent.server_port: is missing",
        "agent.trust_bundle_path: is missing: the agent has to know whom to believe at first",
        "agent.availability_target: `1h` is not at least 24h",
        "agent.join_token_file: there is a join_token already",
        "agent.server_address: `spire:8081` is not a name or an IP address",
        "agent.sever_port: is not a setting; did you mean `server_port`?",
        "agent.experimental.sync_interval: `1ms` is not at least 1s",
        "agent.experimental.require_pq_kem: is not supported",
        "plugins.WorkloadAttestor: is missing",
        "plugins.KeyManager.disc: ",
        "plugins.SVIDStore: is not supported",
    ];
    for fault in expected {
        assert!(
            told.iter().any(|line| line.contains(fault)),
            "{fault} in {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn whom_to_believe_has_to_be_said_once() {
    for (lines, fault) in [
        (
            "insecure_bootstrap = true\ntrust_bundle_path = \"b\"",
            "insecure_bootstrap: believes any server",
        ),
        (
            "trust_bundle_url = \"https://x\"",
            "trust_bundle_url: is not supported",
        ),
        (
            "trust_bundle_path = \"b\"\ntrust_bundle_format = \"spiffe\"",
            "trust_bundle_format: `spiffe` is not supported, only `pem`",
        ),
    ] {
        let told = faults(with(lines));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(fault), "{told:?}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of_and_what_changes_nothing_is_not() {
    let told = warnings(&format!(
        "{BUNDLE}\nadmin_socket_path = \"/x\"\nlog_selectors = [\"k8s\"]\ndisable_sds_api = true\n\
         rebootstrap_mode = \"auto\"\nexperimental {{ named_pipe_name = \"x\" unheard = 1 }}"
    ));
    let expected = [
        "experimental.unheard: is not a setting",
        "admin_socket_path: is not supported and has no effect",
        "rebootstrap_mode: is not supported and acts as `never`",
        "experimental.named_pipe_name: is not supported and has no effect",
    ];
    for warning in expected {
        assert!(
            told.iter().any(|line| line.contains(warning)),
            "{warning} in {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn a_server_is_named_or_has_an_address() {
    let address = |text: &str| {
        let lines = format!("{BUNDLE}\nserver_address = \"{text}\"");
        let text = format!(
            "agent {{\n{lines}\ntrust_domain = \"td\"\nserver_port = \"8081\"\n}}\n{PLUGINS}"
        );
        read(&text).map(|read| read.value.server.authority())
    };
    for (text, authority) in [
        ("spire-server.example.org", "spire-server.example.org:8081"),
        ("spire_server", "spire_server:8081"),
        ("127.0.0.1", "127.0.0.1:8081"),
        ("::1", "[::1]:8081"),
        ("[::1]", "[::1]:8081"),
    ] {
        assert_eq!(address(text).unwrap(), authority);
    }
    for text in ["a:1", "http://a", "a b", "user@a", "/a"] {
        assert!(address(text).is_err(), "{text}");
    }
}
