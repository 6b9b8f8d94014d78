//! Which sessions are resumed.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use spiffe_core::IdentitySnapshot;
use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{HandshakeError, Resumption, SourceExt};
use spiffe_core::verify::VerifyError;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{POLICY, Two, meet};

#[tokio::test]
async fn a_session_is_resumed_where_both_sides_say_so_and_only_there() {
    let _policy = POLICY.read().await;
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    for (at_server, at_client, resumed) in [
        (Resumption::Bound, Resumption::Bound, true),
        (Resumption::Bound, Resumption::Off, false),
        (Resumption::Off, Resumption::Bound, false),
        (Resumption::default(), Resumption::default(), false),
    ] {
        let acceptor = server.server(anyone()).resumption(at_server).acceptor();
        let connector = client.client(anyone()).resumption(at_client).connector();
        for (round, expected) in [false, resumed, resumed, resumed].into_iter().enumerate() {
            let (accepted, connected) = meet(&acceptor, &connector).await;
            let found = [accepted.unwrap(), connected.unwrap()].map(|end| end.is_resumed());
            assert_eq!(found, [expected; 2], "{at_server:?} {at_client:?} {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_outlive_the_certificates_of_its_peer() {
    let _policy = POLICY.read().await;
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("example.org", now);
    let short = ca.draft("/c").lifetime(Duration::from_secs(60)).svid();
    let short = IdentitySnapshot::new(vec![short], ca.bundle().into());
    let client = Arc::new(SnapshotCell::new(short));
    let (server, bound) = (ca.source("/s"), Resumption::Bound);
    let server = server.server(anyone()).clock(clock.clone());
    let acceptor = server.resumption(bound).acceptor();
    let client = client.client(anyone()).clock(clock).resumption(bound);
    let connector = client.connector();
    meet(&acceptor, &connector).await.0.unwrap();
    assert!(meet(&acceptor, &connector).await.0.unwrap().is_resumed());
    tokio::time::sleep(Duration::from_secs(62)).await;
    let why = meet(&acceptor, &connector).await.0.unwrap_err();
    assert!(
        matches!(why, HandshakeError::Unverified(VerifyError::Expired)),
        "{why}"
    );
}

#[tokio::test]
async fn sessions_are_kept_apart_by_whom_they_are_with() {
    let _policy = POLICY.read().await;
    let two = Two::acquainted().await;
    for (authority, resumed) in [
        (Some("other:443"), false),
        (None, false),
        (Some("s:443"), true),
    ] {
        let (ours, theirs) = duplex(64 * 1024);
        let connect = async {
            match authority {
                Some(name) => two.connector.connect_to(name, theirs).await,
                None => two.connector.connect(theirs).await,
            }
        };
        let (accepted, connected) = tokio::join!(two.acceptor.accept(ours), connect);
        accepted.unwrap();
        assert_eq!(connected.unwrap().is_resumed(), resumed, "{authority:?}");
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_handshake_is_done() {
    let _policy = POLICY.read().await;
    let two = Two::new();
    let mut config = two.client.client(anyone()).into_rustls();
    config.resumption = rustls::client::Resumption::in_memory_sessions(1);
    config.enable_early_data = true;
    let connector = TlsConnector::from(Arc::new(config));
    for resumed in [false, true] {
        let (ours, theirs) = duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let accept = async {
            let mut stream = two.acceptor.accept(ours).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let connect = async {
            let mut stream = connector.connect(name, theirs).await.unwrap();
            stream.read_u8().await.unwrap();
            assert!(!stream.get_ref().1.is_early_data_accepted());
            stream
        };
        let (accepted, _) = tokio::join!(accept, connect);
        assert_eq!(accepted.is_resumed(), resumed, "by whatever client");
    }
}

#[tokio::test]
async fn tls_12_and_bare_configurations_resume_nothing() {
    let _policy = POLICY.read().await;
    let ca = TestAuthority::new("example.org");
    let bound = Resumption::Bound;
    let server = ca.source("/s").server(anyone()).resumption(bound);
    let client = ca.source("/c").client(anyone()).resumption(bound);
    let bare = server.clone().into_rustls();
    assert_eq!(bare.send_tls13_tickets, 0);
    assert!(!bare.session_storage.can_cache());
    assert!(!bare.ticketer.enabled());
    assert!(!bare.session_storage.put(vec![1], vec![2]));

    // A server that cannot do better and would resume, with our certificate.
    let old = rustls::ServerConfig::builder_with_provider(bare.crypto_provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(bare.cert_resolver.clone());
    assert!(old.session_storage.can_cache());
    let old = TlsAcceptor::from(Arc::new(old));
    let connector = client.tls12(true).connector();
    for _ in 0..3 {
        let (ours, theirs) = duplex(64 * 1024);
        let (accepted, connected) =
            tokio::join!(old.accept(ours), connector.connect_to("s:443", theirs));
        accepted.unwrap();
        assert!(!connected.unwrap().is_resumed());
    }
}
