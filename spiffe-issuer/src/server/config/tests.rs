//! What a configuration file says, and what it is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use spiffe_core::x509::KeyKind;

use super::{EndpointProof, ServerConfig};
use crate::config::{Checked, Issues, parse};
use crate::domain::{EndpointProfile, Relationship};
use crate::runtime::telemetry::{Format, Level};
use crate::server::api::RateLimits;

const PLUGINS: &str = r#"plugins {
    DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "x" } }
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "join_token" { plugin_data {} }
}"#;

fn read(text: &str) -> Result<Checked<ServerConfig>, Issues> {
    ServerConfig::read(&parse("server.conf", text).unwrap())
}

/// A configuration with these lines in its server block.
fn with(lines: &str) -> Result<Checked<ServerConfig>, Issues> {
    read(&format!(
        "server {{\n{lines}\ntrust_domain = \"td\"\ndata_dir = \"/d\"\n}}\n{PLUGINS}"
    ))
}

fn faults(outcome: Result<Checked<ServerConfig>, Issues>) -> Vec<String> {
    let faults = outcome.err().map(|issues| issues.to_string());
    faults
        .iter()
        .flat_map(|text| text.lines())
        .map(str::to_owned)
        .collect()
}

fn warnings(lines: &str) -> Vec<String> {
    let read = with(lines).unwrap();
    read.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_left_out_is_as_spire_has_it() {
    let config = with("").unwrap().value;
    assert_eq!(config.listen.to_string(), "0.0.0.0:8081");
    let socket = Path::new("/tmp/spire-server/private/api.sock");
    assert_eq!(config.socket_path, socket);
    assert_eq!(config.ca.lifetime, Duration::from_secs(24 * 3600));
    assert_eq!(config.ca.key_kind, KeyKind::EcP256);
    assert_eq!(config.ca.subject.organization, ["SPIFFE"]);
    assert_eq!(config.svids.x509_ttl, Duration::from_secs(3600));
    assert_eq!(config.nodes.agent_ttl, Duration::from_secs(3600));
    assert_eq!(
        (config.log.level, config.log.format),
        (Level::Info, Format::Text)
    );
    assert_eq!(config.api.limits, RateLimits::default());
    assert_eq!(config.plugins.attestors[0].name(), "join_token");
}

#[test]
fn a_whole_configuration_is_taken_at_its_word() {
    let config = with(
        r#"
        admin_ids = ["spiffe://td/ops"]
        agent_ttl = "30m"
        audit_log_enabled = true
        bind_address = "127.0.0.1"
        bind_port = "9000"
        ca_key_type = "rsa-2048"
        ca_subject { country = ["SE"] organization = ["A", "B"] common_name = "c" }
        ca_ttl = "48h"
        default_x509_svid_ttl = "2h"
        disable_jwt_svids = true
        experimental { agent_spiffe_id_as_selector = true }
        log_level = "DEBUG"
        log_format = "json"
        log_file = "/l"
        ratelimit { attestation = false }
        socket_path = "/s"
        "#,
    )
    .unwrap();
    assert_eq!(config.warnings, []);
    let config = config.value;
    assert_eq!(config.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.ca.key_kind, KeyKind::Rsa2048);
    assert_eq!(config.ca.subject.country, ["SE"]);
    assert_eq!(config.ca.lifetime, Duration::from_secs(48 * 3600));
    assert_eq!(config.svids.x509_ttl, Duration::from_secs(2 * 3600));
    assert_eq!(config.nodes.agent_ttl, Duration::from_secs(30 * 60));
    assert!(config.nodes.id_as_selector && config.api.audit_every_call);
    let limits = RateLimits {
        attestation: false,
        signing: true,
    };
    assert_eq!(config.api.limits, limits);
    let ops = BTreeSet::from(["spiffe://td/ops".parse().unwrap()]);
    assert_eq!(config.api.admin_ids, ops);
}

#[test]
fn four_faults_are_four_lines() {
    let told = faults(read(&format!(
        "server {{\n  trust_domain = \"Td\"\n  bind_port = \"http\"\n  ca_ttl = \"1 day\"\n  \
         bind_adress = \"::\"\n  data_dir = \"/d\"\n}}\n{PLUGINS}"
    )));
    let [trust_domain, port, ttl, unknown] = &told[..] else {
        panic!("{told:#?}");
    };
    assert!(
        trust_domain
            .starts_with("server.conf:2:18: server.trust_domain: `Td` is not a trust domain"),
        "{trust_domain}"
    );
    assert_eq!(
        port,
        "server.conf:3:15: server.bind_port: `http` is not a port from 0 to 65535"
    );
    assert!(
        ttl.starts_with("server.conf:4:12: server.ca_ttl: `1 day` is not"),
        "{ttl}"
    );
    assert_eq!(
        unknown,
        "server.conf:5:3: server.bind_adress: is not a setting; did you mean `bind_address`?"
    );
}

#[test]
fn what_has_to_be_there_is_asked_for() {
    assert_eq!(
        faults(read("")),
        [
            "server.conf:1:1: server: is missing",
            "server.conf:1:1: plugins: is missing"
        ]
    );
    let told = faults(read("server {}\nplugins {}"));
    for missing in ["trust_domain", "data_dir", "DataStore", "KeyManager"] {
        let found = told
            .iter()
            .any(|line| line.contains(&format!("{missing}: is missing")));
        assert!(found, "{missing}: {told:#?}");
    }
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn a_key_that_is_not_known_is_a_fault_with_what_was_meant() {
    for (lines, told) in [
        (
            "log_levle = \"DEBUG\"",
            "server.conf:2:1: server.log_levle: is not a setting; did you mean `log_level`?",
        ),
        (
            "ratelimit { atestation = false }",
            "server.conf:2:13: server.ratelimit.atestation: is not a setting; did you mean `attestation`?",
        ),
    ] {
        assert_eq!(faults(with(lines)), [told]);
    }
}

#[test]
fn values_that_cannot_be_are_faults() {
    for (lines, part) in [
        (
            "ca_ttl = \"0s\"",
            "server.ca_ttl: `0s` is not longer than zero",
        ),
        ("agent_ttl = \"-1h\"", "server.agent_ttl: "),
        ("ca_key_type = \"ed25519\"", "is not one of `ec-p256`"),
        ("bind_address = \"localhost\"", "server.bind_address: "),
        ("log_level = \"loud\"", "a log level is one of"),
        ("audit_log_enabled = \"yes\"", "is not true or false"),
        ("admin_ids = [\"ops\"]", "server.admin_ids[0]: "),
    ] {
        let told = faults(with(lines));
        assert!(
            told.len() == 1 && told[0].contains(part),
            "{lines}: {told:#?}"
        );
    }
}

#[test]
fn administrators_from_elsewhere_need_a_bundle() {
    let told = warnings("admin_ids = [\"spiffe://td/a\", \"spiffe://other/a\"]");
    assert_eq!(
        told,
        [
            "server.conf:2:31: server.admin_ids[1]: `spiffe://other/a` is let in only while there \
             is a bundle of `other`"
        ]
    );
}

#[test]
fn a_trust_domain_is_taken_in_both_forms() {
    let text = format!("server {{ trust_domain = \"spiffe://td\" data_dir = \"/d\" }}\n{PLUGINS}");
    assert_eq!(read(&text).unwrap().value.trust_domain.as_str(), "td");
}

#[test]
fn what_signs_tokens_follows_what_signs_certificates_unless_it_is_said() {
    let read = |lines: &str| with(lines).unwrap().value;
    let config = read("ca_key_type = \"ec-p384\"");
    assert_eq!(config.ca.jwt, Some(KeyKind::EcP384));
    assert_eq!((config.ca.wit, config.svids.wit), (None, None));
    let jwt = config.svids.jwt.unwrap();
    assert_eq!((jwt.ttl, jwt.issuer), (Duration::from_secs(300), None));

    let config = read(
        "jwt_key_type = \"rsa-2048\"\ndefault_jwt_svid_ttl = \"1m\"\njwt_issuer = \"https://a\"\n\
         experimental { feature_flags = [\"wit-svid\"] wit_key_type = \"ec-p384\" wit_issuer = \"w\" }",
    );
    assert_eq!(config.ca.jwt, Some(KeyKind::Rsa2048));
    assert_eq!(config.ca.wit, Some(KeyKind::EcP384));
    let jwt = config.svids.jwt.unwrap();
    assert_eq!(jwt.ttl, Duration::from_secs(60));
    assert_eq!(jwt.issuer.as_deref(), Some("https://a"));
    assert_eq!(config.svids.wit.unwrap().issuer.as_deref(), Some("w"));

    let config = read("disable_jwt_svids = true");
    assert_eq!((config.ca.jwt, config.svids.jwt), (None, None));
    assert_eq!(
        warnings("default_jwt_svid_ttl = \"5h\"").len(),
        1,
        "tokens are cut short as certificates are"
    );
    assert_eq!(
        warnings("disable_jwt_svids = true\ndefault_jwt_svid_ttl = \"5h\""),
        [""; 0]
    );
}

#[test]
fn plugins_above_and_beside_the_authority_are_made_in_their_order() {
    let block = "UpstreamAuthority \"disk\" { plugin_data { cert_file_path = \"/c\" key_file_path = \"/k\" } }
        CredentialComposer \"uniqueid\" {}";
    let plugins = PLUGINS.replacen('{', &format!("{{ {block}"), 1);
    let text = format!("server {{ trust_domain = \"td\" data_dir = \"/d\" }}\n{plugins}");
    let config = read(&text).unwrap().value;
    let made = config.make_plugins(std::sync::Arc::new(spiffe_core::clock::SystemClock));
    let made = made.unwrap_or_else(|issues| panic!("{issues}"));
    assert_eq!(made.upstream.unwrap().name(), "disk");
    assert_eq!(made.composers.len(), 1);
}

#[test]
fn lifetimes_that_cannot_be_kept_are_warned_of_precisely() {
    assert_eq!(warnings("default_x509_svid_ttl = \"4h\""), [""; 0]);
    assert_eq!(
        warnings("default_x509_svid_ttl = \"5h\""),
        [
            "server.conf:2:25: server.default_x509_svid_ttl: 5h0m0s is longer than can always be kept \
             with a ca_ttl of 24h0m0s: SVIDs will be cut short before the authority is replaced. Set \
             it to at most 4h0m0s, or ca_ttl to at least 30h0m0s"
        ]
    );
    let told = warnings("ca_ttl = \"1h\"");
    assert!(
        told[0].contains("at most 10m0s, or ca_ttl to at least 6h0m0s"),
        "{told:#?}"
    );
    assert_eq!(told.len(), 1, "the lifetime of agents follows: {told:#?}");
    let told = warnings("ca_ttl = \"8760h\"\nagent_ttl = \"240h\"");
    assert!(told[0].contains("server.agent_ttl: 240h0m0s"), "{told:#?}");
    assert!(
        told[0].ends_with("at most 168h0m0s"),
        "no ca_ttl helps: {told:#?}"
    );
}

#[test]
fn what_has_no_effect_is_told_and_what_would_be_unsafe_is_refused() {
    assert_eq!(
        warnings("\nexperimental { events_based_cache = true typo = 1 }"),
        [
            "server.conf:3:37: server.experimental.events_based_cache: is not supported and has no effect",
            "server.conf:3:42: server.experimental.typo: is not a setting",
        ]
    );
    for (lines, part) in [
        (
            "proxy_protocol_trusted_cidrs = [\"10.0.0.0/8\"]",
            "server.proxy_protocol_trusted_cidrs: is not supported",
        ),
        (
            "experimental { auth_opa_policy_engine {} }",
            "server.experimental.auth_opa_policy_engine: is not supported",
        ),
        (
            "experimental { require_pq_kem = true }",
            "server.experimental.require_pq_kem: is not supported",
        ),
    ] {
        let told = faults(with(lines));
        assert!(
            told.len() == 1 && told[0].contains(part),
            "{lines}: {told:#?}"
        );
    }
    assert_eq!(warnings("experimental { require_pq_kem = false }"), [""; 0]);
}

#[test]
fn plugins_that_would_be_missed_are_refused() {
    let plugin = |block: &str| {
        let plugins = PLUGINS.replacen('{', &format!("{{ {block}"), 1);
        faults(read(&format!(
            "server {{ trust_domain = \"td\" data_dir = \"/d\" }}\n{plugins}"
        )))
    };
    for (block, part) in [
        (
            "UpstreamAuthority \"disk\" {}",
            "'cert_file_path' and 'key_file_path' must be set and not empty",
        ),
        (
            "UpstreamAuthority \"disk\" { plugin_data { cert_file_path = \"/c\" key_file_path = \"\" } }",
            "'cert_file_path' and 'key_file_path' must be set and not empty",
        ),
        (
            "UpstreamAuthority \"dusk\" {}",
            "is not a known UpstreamAuthority; did you mean `disk`?",
        ),
        (
            "CredentialComposer \"unique\" {}",
            "is not a known CredentialComposer; did you mean `uniqueid`?",
        ),
        (
            "NodeAttestor \"x509pop\" {}",
            "is not a known NodeAttestor; known are `join_token`",
        ),
        (
            "KeyManager \"disk\" { plugin_data { keys_path = \"/d/keys\" } }",
            "there can only be one KeyManager",
        ),
    ] {
        let told = plugin(block);
        assert!(
            told.len() == 1 && told[0].contains(part),
            "{block}: {told:#?}"
        );
    }
    assert_eq!(plugin("Notifier \"k8sbundle\" {}"), [""; 0]);
}

#[test]
fn a_flag_counts_more_than_the_file() {
    let text = format!("server {{ trust_domain = \"td\" data_dir = \"/d\" }}\n{PLUGINS}");
    let mut root = parse("server.conf", &text).unwrap();
    let value = crate::config::Value::Text("other".to_owned());
    root.overlay(&["server", "trust_domain"], value, "-trustDomain");
    let config = ServerConfig::read(&root).unwrap().value;
    assert_eq!(config.trust_domain.as_str(), "other");
}

#[test]
fn the_federation_block_is_as_spire_has_it() {
    let read = |endpoint: &str| {
        let block = format!("federation {{ bundle_endpoint {{ {endpoint} }} }}");
        with(&block).unwrap().value.federation.endpoint.unwrap()
    };
    let spiffe = read("port = 8443 profile \"https_spiffe\" {}");
    assert_eq!(spiffe.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(spiffe.refresh_hint, Duration::from_secs(300));
    assert_eq!(spiffe.proof, EndpointProof::Svid);
    let web = |interval: &str| {
        read(&format!(
            "address = \"::1\" port = 443 refresh_hint = \"10m\" profile \"https_web\" {{
                serving_cert_file {{ cert_file_path = \"c\" key_file_path = \"k\" {interval} }}
            }}"
        ))
    };
    for (interval, look_every) in [
        ("", None),
        ("file_sync_interval = \"0s\"", None),
        ("file_sync_interval = \"\"", None),
        (
            "file_sync_interval = \"30s\"",
            Some(Duration::from_secs(30)),
        ),
    ] {
        let web = web(interval);
        assert_eq!(web.listen.to_string(), "[::1]:443");
        assert_eq!(web.refresh_hint, Duration::from_secs(600));
        let proof = EndpointProof::Web {
            certificate: "c".into(),
            key: "k".into(),
            look_every,
        };
        assert_eq!(web.proof, proof, "{interval}");
    }

    let federation = with(
        "federation {
            federates_with \"b.test\" {
                bundle_endpoint_url = \"https://b.test/bundle\"
                bundle_endpoint_profile \"https_web\" {}
            }
            federates_with \"spiffe://c.test\" {
                bundle_endpoint_url = \"https://c.test:8443\"
                bundle_endpoint_profile \"https_spiffe\" {
                    endpoint_spiffe_id = \"spiffe://c.test/spire/server\"
                }
            }
        }",
    );
    let id = "spiffe://c.test/spire/server".parse().unwrap();
    let relationship = |trust_domain: &str, url: &str, profile| Relationship {
        trust_domain: trust_domain.parse().unwrap(),
        bundle_endpoint_url: url.to_owned(),
        profile,
    };
    assert_eq!(
        federation.unwrap().value.federation.relationships,
        [
            relationship("b.test", "https://b.test/bundle", EndpointProfile::HttpsWeb),
            relationship(
                "c.test",
                "https://c.test:8443",
                EndpointProfile::HttpsSpiffe(id)
            ),
        ]
    );
    let none = with("federation {}").unwrap().value.federation;
    assert!(none.endpoint.is_none() && none.relationships.is_empty());
}

#[test]
fn all_faults_of_the_federation_block_are_told_at_once() {
    let told = faults(with(
        "federation {
            bundle_endpoint { acme {} profile \"https_web\" { acme { domain_name = \"x\" } } }
            federates_with \"B\" { bundle_endpoint_profile \"https_wep\" {} }
            federates_with \"c.test\" {
                bundle_endpoint_url = \"http://c.test\"
                bundle_endpoint_profile \"https_spiffe\" {}
            }
            federates_with \"d.test\" {
                bundle_endpoint_url = \"https://d.test\"
                bundle_endpoint_profile \"https_spiffe\" { endpoint_spiffe_id = \"d.test\" }
            }
            federates_with \"e.test\" {
                bundle_endpoint_url = \"https://e.test\"
                bundle_endpoint_profile { \"https_web\" = {} \"https_spiffe\" = {} }
            }
        }",
    ));
    for part in [
        "bundle_endpoint.port: is missing",
        "bundle_endpoint.acme: is not supported: let an ACME client",
        "bundle_endpoint.profile.https_web.acme: is not supported: let an ACME client",
        "federates_with.B: `B` is no trust domain: ",
        "federates_with.B.bundle_endpoint_url: is missing",
        "https_wep: is not a profile; those are `https_spiffe` and `https_web`; did you mean",
        "federates_with[\"c.test\"].bundle_endpoint_url: `http://c.test`: ",
        "https_spiffe.endpoint_spiffe_id: is missing",
        "https_spiffe.endpoint_spiffe_id: `d.test`: ",
        "federates_with[\"e.test\"].bundle_endpoint_profile: is to name exactly one profile",
    ] {
        assert!(
            told.iter().any(|line| line.contains(part)),
            "{part}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 10, "{told:#?}");
    let block = |name: &str| {
        format!(
            "federates_with \"{name}\" {{
                bundle_endpoint_url = \"https://b.test\" bundle_endpoint_profile \"https_web\" {{}}
            }}"
        )
    };
    let twice = format!(
        "federation {{ {} {} }}",
        block("b.test"),
        block("spiffe://b.test")
    );
    let told = faults(with(&twice));
    assert!(
        told[0].contains("there is another block for `b.test`"),
        "{told:?}"
    );
    let told = faults(with(&format!("federation {{ {} }}", block("td"))));
    assert!(
        told[0].contains("which is our own trust domain"),
        "{told:?}"
    );
}

#[test]
fn odd_settings_of_a_bundle_endpoint_are_warned_of() {
    for (endpoint, part) in [
        (
            "refresh_hint = \"24h\" profile \"https_spiffe\" {}",
            "24h0m0s is long",
        ),
        (
            "refresh_hint = \"59s\" profile \"https_spiffe\" {}",
            "59s is short",
        ),
        (
            "",
            "profile: is not set, so it is `profile \"https_spiffe\" {}`",
        ),
        (
            "prot = 1 profile \"https_spiffe\" {}",
            "did you mean `port`?",
        ),
    ] {
        let block = format!("federation {{ bundle_endpoint {{ port = 1 {endpoint} }} }}");
        let told = warnings(&block);
        assert!(
            told.len() == 1 && told[0].contains(part),
            "{endpoint}: {told:?}"
        );
    }
}
