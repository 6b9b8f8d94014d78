//! Two trust domains, each with a server and an agent, that federate by both profiles.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use spiffe_core::authorizer::exactly;
use spiffe_core::tls::{Arrival, ClientTls, ServerTls};
use spiffe_core::x509::{Certificate, PrivateKey};
use spiffe_core::{IdentitySource, SpiffeId, TrustDomain, X509Source, with_causes};

use super::village::{PATIENCE, Program, Village, free_port};

const A: TrustDomain = TrustDomain::from_static("a.test");
const B: TrustDomain = TrustDomain::from_static("b.test");

/// Writes a certificate of the web for this machine, and the authority that made it.
fn web_identity(village: &Village) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let pem = |der: &[u8]| Certificate::from_der(der).unwrap().to_pem();
    std::fs::write(village.path("web-ca.pem"), pem(issuer.der())).unwrap();
    std::fs::write(village.path("web.pem"), pem(leaf.der())).unwrap();
    let key = PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap();
    std::fs::write(village.path("web.key"), key.to_pem().as_bytes()).unwrap();
}

/// The relationship of this village with that trust domain, as its operator sees it.
fn relationship(village: &Village, with: &TrustDomain) -> Value {
    let listed = village.operator(&["federation", "list", "-output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let all = listed["federation_relationships"].as_array().unwrap();
    let found = all
        .iter()
        .find(|known| known["trust_domain"] == with.as_str());
    found.cloned().unwrap()
}

/// Waits until that is so.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An agent of the village, with an entry of this path that federates with the other trust domain.
fn agent_with(village: &Village, path: &str, federates_with: &TrustDomain) -> Program {
    let token = village.token();
    let more = ["-federatesWith", federates_with.as_str()];
    let created = village.create_entry_with(&token, path, &more);
    assert!(created.status.success(), "{created:?}");
    let agent = village.agent("agent", Some(&token));
    village.fetches("agent", &[path]);
    agent
}

async fn workload(village: &Village) -> X509Source {
    let socket = format!("unix://{}", village.text("agent/public/api.sock"));
    let source = X509Source::builder().endpoint(socket.parse().unwrap());
    source.connect().await.unwrap()
}

/// Whether the workload at each end proves to the other who it is.
async fn meet(caller: &X509Source, called: &X509Source) -> Result<(), String> {
    let id = |source: &X509Source| -> SpiffeId {
        let snapshot = source.snapshot();
        snapshot.svid().unwrap().id().clone()
    };
    let server = ServerTls::new(Arc::new(called.clone()), exactly(id(caller))).acceptor();
    let client = ClientTls::new(Arc::new(caller.clone()), exactly(id(called))).connector();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (connected, accepted) = tokio::join!(client.connect(near), server.accept_any(far));
    connected.map_err(|error| with_causes(&error))?;
    match accepted.map_err(|error| with_causes(&error))? {
        Arrival::Peer(stream) if *stream.peer().id() == id(caller) => Ok(()),
        _ => Err("nobody came".to_owned()),
    }
}

async fn meet_both_ways(a: &X509Source, b: &X509Source) {
    let begun = Instant::now();
    loop {
        match (meet(a, b).await, meet(b, a).await) {
            (Ok(()), Ok(())) => return,
            refused => assert!(begun.elapsed() < PATIENCE, "{refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_of_two_trust_domains_meet() {
    let (a, b) = (Village::of("a.test"), Village::of("b.test"));
    let (at_a, at_b) = (free_port(), free_port());
    web_identity(&a);
    let (certificate, key) = (a.text("web.pem"), a.text("web.key"));
    a.configure(&format!(
        r#"federation {{
            bundle_endpoint {{
                address = "{localhost}"
                port = {at_a}
                profile "https_web" {{
                    serving_cert_file {{
                        cert_file_path = "{certificate}"
                        key_file_path = "{key}"
                    }}
                }}
            }}
        }}"#,
        localhost = Ipv4Addr::LOCALHOST,
    ));
    b.configure(&format!(
        r#"federation {{
            bundle_endpoint {{
                address = "{localhost}"
                port = {at_b}
                refresh_hint = "1m"
                profile "https_spiffe" {{}}
            }}
            federates_with "a.test" {{
                bundle_endpoint_url = "https://127.0.0.1:{at_a}"
                bundle_endpoint_profile "https_web" {{}}
            }}
            federates_with "dead.test" {{
                bundle_endpoint_url = "https://127.0.0.1:1"
                bundle_endpoint_profile "https_web" {{}}
            }}
        }}"#,
        localhost = Ipv4Addr::LOCALHOST,
    ));
    let server_of_a = a.server();
    let mut command = b.server_command();
    command.env("SSL_CERT_FILE", a.path("web-ca.pem"));
    let server_of_b = b.serving(command);

    // B has it in its file. One partner of it is dead, and holds up nothing.
    server_of_b.says("Bundle refreshed");
    let status =
        |village: &Village, with: &TrustDomain| relationship(village, with)["status"].clone();
    eventually("B knows of A", || status(&b, &A)["fetched_at"] != "0");
    assert_eq!(status(&b, &A)["configured"], true);
    let dead = TrustDomain::from_static("dead.test");
    eventually("B knows of the dead", || {
        status(&b, &dead)["last_error"] != ""
    });

    // A is told by its operator, with the first bundle that B's operator gave.
    let document = b.operator(&["bundle", "show", "-format", "spiffe"]);
    std::fs::write(a.path("b.json"), document).unwrap();
    let created = a.operator(&[
        "federation",
        "create",
        "-trustDomain",
        "b.test",
        "-bundleEndpointURL",
        &format!("https://127.0.0.1:{at_b}"),
        "-bundleEndpointProfile",
        "https_spiffe",
        "-endpointSpiffeID",
        "spiffe://b.test/spire/server",
        "-trustDomainBundlePath",
        &a.text("b.json"),
        "-trustDomainBundleFormat",
        "spiffe",
    ]);
    assert!(
        created.contains("Trust domain              : b.test\n"),
        "{created}"
    );
    assert_eq!(
        a.operator(&["federation", "refresh", "-id", "b.test"]),
        "Bundle refreshed\n"
    );
    assert_eq!(status(&a, &B)["last_error"], "");
    assert_eq!(a.operator(&["bundle", "count"]), "2 bundles\n");
    assert!(a.operator(&["bundle", "list"]).contains("\n* b.test\n"));

    let agents = (agent_with(&a, "/till", &B), agent_with(&b, "/ledger", &A));
    let (till, ledger) = (workload(&a).await, workload(&b).await);
    meet_both_ways(&till, &ledger).await;

    // An administrator of A that takes the trust away ends it.
    let restricted = a.try_operator(&["bundle", "delete", "-id", "b.test"]);
    let told = String::from_utf8(restricted.stderr).unwrap();
    assert!(
        told.contains("federated with 1 registration entries"),
        "{told}"
    );
    let deleted = a.operator(&["federation", "delete", "-id", "b.test"]);
    assert_eq!(deleted, "federation relationship deleted.\n");
    let deleted = a.operator(&["bundle", "delete", "-id", "b.test", "-mode", "dissociate"]);
    assert_eq!(deleted, "bundle deleted.\n");
    eventually("the till believes B no more", || {
        till.snapshot().bundles().get(&B).is_none()
    });
    assert!(meet(&till, &ledger).await.is_err());
    drop((agents, server_of_a, server_of_b));
}
