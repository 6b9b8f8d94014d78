//! More callers than there is room for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use spiffe_core::source::SnapshotCell;
use spiffe_core::tls::{ClientTls, PeerStream};
use spiffe_core::{BundleSet, IdentitySnapshot, TrustBundle, TrustDomain, authorizer};
use tokio::net::TcpStream;

use super::village::{Village, with_descriptors};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_without_number_leave_operator_and_agents_be() {
    let village = Village::new();
    let server = village.serving(with_descriptors(128, &village.server_command()));
    let token = village.token();
    let agent = village.agent("agent", Some(&token));
    assert!(village.create_entry(&token, "/web").status.success());
    village.fetches("agent", &["/web"]);

    let strangers = strangers(&village, 100).await;
    server.says("Too many connections, so more were closed");
    assert!(village.create_entry(&token, "/db").status.success());
    village.fetches("agent", &["/db", "/web"]);

    drop(strangers);
    let late = village.agent("late", Some(&village.token()));
    late.says("Node attestation was successful");
    late.stop();
    agent.stop();
    server.stop();
}

/// So many connections to the server that show no certificate.
async fn strangers(village: &Village, count: usize) -> Vec<PeerStream<TcpStream>> {
    let here = TrustDomain::from_static("example.org");
    let bundle = std::fs::read(village.path("bundle.pem")).unwrap();
    let bundle = TrustBundle::from_pem(here.clone(), &bundle).unwrap();
    let nobody = IdentitySnapshot::new(Vec::new(), BundleSet::default().with(bundle));
    let source = Arc::new(SnapshotCell::new(nobody));
    let connector = ClientTls::new(source, authorizer::member_of(here))
        .alpn([&b"h2"[..]])
        .connector();
    let mut strangers = Vec::new();
    for _ in 0..count {
        let address = (Ipv4Addr::LOCALHOST, village.port());
        let stream = TcpStream::connect(address).await.unwrap();
        strangers.push(connector.connect(stream).await.unwrap());
    }
    strangers
}
