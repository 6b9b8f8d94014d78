//! Configuration files in the shapes that are met in the wild are read as they are meant.

use spiffe_issuer::config::{Node, Value, parse};

/// What stands at a path, `_` being any item of a list; of a repeated key each is looked at.
fn at(node: &Node, path: &[&str]) -> Vec<String> {
    let Some((first, rest)) = path.split_first() else {
        return vec![node.to_string()];
    };
    match &node.value {
        Value::Table(table) => {
            let named = table.entries.iter().filter(|entry| entry.key == *first);
            named.flat_map(|entry| at(&entry.node, rest)).collect()
        }
        Value::List(items) if *first == "_" => {
            items.iter().flat_map(|item| at(item, rest)).collect()
        }
        _ => Vec::new(),
    }
}

fn holds(file: &str, values: &[(&str, &[&str])]) {
    let root = parse("test.conf", file);
    for (path, wanted) in values {
        let keys: Vec<_> = path.split('/').collect();
        let found = root.as_ref().map(|root| at(root, &keys));
        let wanted = wanted.iter().map(|value| format!("`{value}`"));
        assert_eq!(found, Ok(wanted.collect()), "{path}");
    }
}

#[test]
fn a_small_server() {
    holds(
        r#"
server {
	bind_address = "0.0.0.0"
	bind_port = "8081"
	trust_domain = "shop.test"
	data_dir = "/var/lib/server"
	log_level = "INFO"
	ca_ttl = "48h"    # two days
	default_x509_svid_ttl = "2h"
}

plugins {
	DataStore "sql" {
		plugin_data {
			database_type = "sqlite3"
			connection_string = "/var/lib/server/store.sqlite3"
		}
	}
	KeyManager "disk" {
		plugin_data = {
			keys_path = "/var/lib/server/keys.json"
		}
	}
	NodeAttestor "join_token" { plugin_data {} }
	NodeAttestor "x509pop" {
		plugin_data { ca_bundle_path = "/etc/server/agents.pem" }
	}
}

health_checks { listener_enabled = true bind_port = "8080" live_path = "/live" }
"#,
        &[
            ("server/bind_port", &["8081"]),
            ("server/ca_ttl", &["48h"]),
            (
                "plugins/DataStore/sql/plugin_data/database_type",
                &["sqlite3"],
            ),
            (
                "plugins/KeyManager/disk/plugin_data/keys_path",
                &["/var/lib/server/keys.json"],
            ),
            (
                "plugins/NodeAttestor/x509pop/plugin_data/ca_bundle_path",
                &["/etc/server/agents.pem"],
            ),
            ("health_checks/listener_enabled", &["true"]),
            ("health_checks/bind_port", &["8080"]),
        ],
    );
}

#[test]
fn a_server_with_everything() {
    holds(
        r#"
// Everything at once.
server = {
    bind_port = 8081, trust_domain = "shop.test"
    admin_ids = [
        "spiffe://shop.test/admin",     # the first
        "spiffe://shop.test/operator",
    ]
    ca_subject = {
        country = ["NZ"],
        organization = ["Shop"],
        common_name = "",
    }
    ratelimit { attestation = true signing = false }
    experimental {
        events_based_cache = true
        feature_flags = ["one", "two"]
    }
    federation {
        bundle_endpoint {
            address = "0.0.0.0"
            port = 8443
            profile "https_web" {
                acme { domain_name = "bundle.shop.test" email = "ops@shop.test" tos_accepted = true }
            }
        }
        federates_with "bank.test" {
            bundle_endpoint_url = "https://bank.test/bundle"
            bundle_endpoint_profile "https_spiffe" {
                endpoint_spiffe_id = "spiffe://bank.test/server"
            }
        }
        federates_with "spiffe://post.test" {
            bundle_endpoint_url = "https://post.test:8443"
            bundle_endpoint_profile "https_web" {}
        }
    }
}

"plugins" {
    KeyManager "memory" { plugin_data {} }
    NodeAttestor "k8s_psat" {
        enabled = false
        plugin_data {
            clusters = {
                "blue" = {
                    service_account_allow_list = ["spire:agent"]
                    audience = ["server"]
                },
                "green" = { use_token_review_api_validation = true }
            }
        }
    }
    /* UpstreamAuthority "disk" {
        plugin_data { cert_file_path = "ca.pem" }
    } */
    UpstreamAuthority "disk" plugin_data { cert_file_path = "root.pem", key_file_path = "root.key" }
    Notifier "k8sbundle" { plugin_data_file = "bundle.conf" }
    BundlePublisher "own" {
        plugin_cmd = "/usr/bin/publish"
        plugin_checksum = "aa55"
        plugin_args = ["-v", "--"]
    }
}

telemetry {
    Prometheus { host = "localhost" port = 9988 }
    DogStatsd = [ { address = "localhost:8125" }, { address = "other:8125" } ]
    M3 { address = "a:1" env = "prod" }
    M3 { address = "b:1" env = "test" }
    MetricPrefix = "shop"
}
"#,
        &[
            (
                "server/admin_ids/_",
                &["spiffe://shop.test/admin", "spiffe://shop.test/operator"],
            ),
            ("server/ca_subject/country/_", &["NZ"]),
            ("server/ca_subject/common_name", &[""]),
            ("server/ratelimit/signing", &["false"]),
            ("server/experimental/feature_flags/_", &["one", "two"]),
            (
                "server/federation/bundle_endpoint/profile/https_web/acme/email",
                &["ops@shop.test"],
            ),
            (
                "server/federation/federates_with/bank.test/bundle_endpoint_profile/https_spiffe/endpoint_spiffe_id",
                &["spiffe://bank.test/server"],
            ),
            (
                "plugins/NodeAttestor/k8s_psat/plugin_data/clusters/blue/audience/_",
                &["server"],
            ),
            (
                "plugins/UpstreamAuthority/disk/plugin_data/cert_file_path",
                &["root.pem"],
            ),
            ("plugins/BundlePublisher/own/plugin_args/_", &["-v", "--"]),
            (
                "telemetry/DogStatsd/_/address",
                &["localhost:8125", "other:8125"],
            ),
            ("telemetry/M3/env", &["prod", "test"]),
        ],
    );
}

#[test]
fn an_agent() {
    holds(
        r#"
agent {
    data_dir = "/run/agent"
    log_level = "debug"
    server_address = "server.shop.test"
    server_port = "8081"
    socket_path ="/run/agent/public/api.sock"
    admin_socket_path = "/run/agent/private/admin.sock"
    trust_bundle_path = "/etc/agent/root.pem"
    trust_domain = "shop.test"
    authorized_delegates = [ "spiffe://shop.test/proxy" ]
    x509_svid_cache_max_size = 0x10
    sds = { default_svid_name = "default", disable_spiffe_cert_validation = false }
    experimental {
        broker {
            socket_path = "/run/agent/broker.sock"
            brokers = [{
                id = "spiffe://shop.test/broker"
                allowed_reference_types = [{ type_url = "a/b", allow_over_tcp = true }, { type_url = "c" }]
            }]
        }
    }
}
plugins {
    NodeAttestor "x509pop" {
        plugin_data {
            private_key_path = "${KEYS}/agent.key"
            certificate_path = <<EOF
/etc/agent/agent.pem
EOF
        }
    }
    KeyManager "disk" { plugin_data { directory = "/run/agent" } }
    WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
    WorkloadAttestor "docker" { plugin_data = { docker_socket_path = "unix:///run/docker.sock" } }
}
"#,
        &[
            ("agent/server_port", &["8081"]),
            ("agent/x509_svid_cache_max_size", &["0x10"]),
            ("agent/sds/default_svid_name", &["default"]),
            (
                "agent/experimental/broker/brokers/_/allowed_reference_types/_/type_url",
                &["a/b", "c"],
            ),
            (
                "plugins/NodeAttestor/x509pop/plugin_data/private_key_path",
                &["${KEYS}/agent.key"],
            ),
            (
                "plugins/NodeAttestor/x509pop/plugin_data/certificate_path",
                &["/etc/agent/agent.pem\n"],
            ),
            (
                "plugins/WorkloadAttestor/unix/plugin_data/discover_workload_path",
                &["true"],
            ),
        ],
    );
}

#[test]
fn the_same_agent_in_three_languages() {
    let values: &[(&str, &[&str])] = &[
        ("agent/trust_domain", &["shop.test"]),
        ("agent/server_port", &["8081"]),
        (
            "agent/authorized_delegates/_",
            &["spiffe://shop.test/proxy"],
        ),
        ("plugins/KeyManager/disk/plugin_data/directory", &["/run"]),
    ];
    for file in [
        r#"
agent {
    trust_domain = "shop.test"
    server_port = 8081
    authorized_delegates = ["spiffe://shop.test/proxy"]
}
plugins { KeyManager "disk" { plugin_data { directory = "/run" } } }
"#,
        r#"
{
  "agent": {
    "trust_domain": "shop.test",
    "server_port": 8081,
    "authorized_delegates": ["spiffe://shop.test/proxy"]
  },
  "plugins": {"KeyManager": {"disk": {"plugin_data": {"directory": "/run"}}}}
}
"#,
        r#"
[agent]
trust_domain = "shop.test"
server_port = 8081
authorized_delegates = ["spiffe://shop.test/proxy"]

[plugins.KeyManager.disk]
plugin_data = { directory = "/run" }
"#,
    ] {
        holds(file, values);
    }
}
