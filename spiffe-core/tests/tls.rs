//! Handshakes over an in-memory pipe: one that succeeds, and one for each refusal.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, HandshakeKind, ServerConnection};
use rustls_pki_types::ServerName;
use spiffe_core::authorizer::{anyone, exactly, member_of};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{Arrival, ClientTls, HandshakeError, PeerStream, ServerTls, SourceExt};
use spiffe_core::verify::{PeerError, VerifyError};
use spiffe_core::{
    BundleSet, IdentitySnapshot, IdentitySource, TrustDomain, spiffe_id, with_causes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

type Outcome = Result<PeerStream<DuplexStream>, HandshakeError>;

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let ca = TestAuthority::new("example.org");
    let server = ca
        .source("/server")
        .server(exactly(spiffe_id!("spiffe://example.org/client")));
    let client = ca
        .source("/client")
        .client(exactly(spiffe_id!("spiffe://example.org/server")));
    let (accepted, connected) =
        handshake(&server.alpn([&b"h2"[..]]), &client.alpn([&b"h2"[..]])).await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(accepted.peer().id().path(), "/client");
    assert_eq!(connected.peer().id().path(), "/server");
    assert_eq!(connected.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(accepted.peer().generation(), 1);

    connected.write_all(b"hello").await.unwrap();
    connected.flush().await.unwrap();
    let mut said = [0; 5];
    accepted.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
}

#[tokio::test]
async fn a_peer_that_may_not_proceed_is_refused_by_either_side() {
    let ca = TestAuthority::new("example.org");
    let nobody = || member_of(TrustDomain::from_static("elsewhere.org"));
    let (accepted, _) = handshake(
        &ca.source("/s").server(nobody()),
        &ca.source("/c").client(anyone()),
    )
    .await;
    let why = accepted.unwrap_err();
    assert!(matches!(why, HandshakeError::Denied(_)), "{why}");
    assert_eq!(
        with_causes(&why),
        "the peer is not authorized: spiffe://example.org/c is not a member of elsewhere.org"
    );
    let (_, connected) = handshake(
        &ca.source("/s").server(anyone()),
        &ca.source("/c").client(nobody()),
    )
    .await;
    assert!(matches!(connected.unwrap_err(), HandshakeError::Denied(_)));
}

// conformance: FD-53- WA-14- X509-20-
#[tokio::test]
async fn a_peer_that_proves_nothing_is_refused_with_the_reason() {
    let ca = TestAuthority::new("example.org");
    let other = TestAuthority::new("other.org");
    let imposter = TestAuthority::new("example.org");
    let with = |svid| {
        Arc::new(SnapshotCell::new(IdentitySnapshot::new(
            vec![svid],
            ca.bundle().into(),
        )))
    };
    let domain = || TrustDomain::from_static("example.org");
    for (client, why) in [
        (
            with(other.svid("/c")),
            VerifyError::UnknownTrustDomain(other.trust_domain().clone()),
        ),
        (
            with(imposter.svid("/c")),
            VerifyError::UnknownAuthority(domain()),
        ),
        (
            with(ca.draft("/c").not_yet_valid().svid()),
            VerifyError::NotYetValid,
        ),
    ] {
        let server = ca.source("/server").server(anyone());
        let (accepted, _) = handshake(&server, &client.client(anyone())).await;
        let refused = accepted.unwrap_err();
        let HandshakeError::Unverified(found) = &refused else {
            panic!("{refused}")
        };
        assert_eq!(*found, why);
    }
}

#[tokio::test]
async fn a_refused_peer_is_told_the_kind_of_refusal_and_no_more() {
    let ca = TestAuthority::new("example.org");
    let stranger = TestAuthority::new("other.org");
    let member = || member_of(TrustDomain::from_static("elsewhere.org"));
    let knows = |svid| {
        let snapshot = IdentitySnapshot::new(vec![svid], ca.bundle().into());
        Arc::new(SnapshotCell::new(snapshot))
    };
    for (server, client, alert) in [
        (
            ca.source("/s").server(member()),
            ca.source("/c"),
            "AccessDenied",
        ),
        (
            ca.source("/s").server(anyone()),
            knows(stranger.svid("/c")),
            "UnknownCA",
        ),
        (
            ca.source("/s").server(anyone()),
            knows(ca.draft("/c").not_yet_valid().svid()),
            "CertificateExpired",
        ),
    ] {
        let (accepted, connected) = handshake(&server, &client.client(anyone())).await;
        accepted.unwrap_err();
        // In TLS 1.3 a client is done before the server has judged it.
        let told = connected.unwrap().read(&mut [0; 1]).await.unwrap_err();
        assert!(told.to_string().ends_with(alert), "{told} for {alert}");
    }
}

// conformance: WA-22-
#[tokio::test]
async fn an_expired_svid_is_not_presented() {
    let ca = TestAuthority::new("example.org");
    let expired = ca.draft("/c").expired().svid();
    let client = Arc::new(SnapshotCell::new(IdentitySnapshot::new(
        vec![expired],
        ca.bundle().into(),
    )));
    let (accepted, _) =
        handshake(&ca.source("/s").server(anyone()), &client.client(anyone())).await;
    assert!(matches!(accepted.unwrap_err(), HandshakeError::NoPeer));
}

#[tokio::test]
async fn a_client_without_an_svid_is_let_in_only_where_that_is_said() {
    let ca = TestAuthority::new("example.org");
    let nameless = || {
        Arc::new(SnapshotCell::new(IdentitySnapshot::new(
            vec![],
            ca.bundle().into(),
        )))
    };
    let (accepted, _) = handshake(
        &ca.source("/s").server(anyone()),
        &nameless().client(anyone()),
    )
    .await;
    assert!(accepted.is_err());

    let server = ca.source("/s").server(anyone()).client_auth_optional();
    let (ours, theirs) = duplex(64 * 1024);
    let (acceptor, connector) = (server.acceptor(), nameless().client(anyone()).connector());
    let (accepted, connected) = tokio::join!(acceptor.accept_any(ours), connector.connect(theirs));
    assert!(matches!(accepted.unwrap(), Arrival::Anonymous(_)));
    assert!(connected.is_ok());
}

#[tokio::test]
async fn a_server_that_asks_nobody_who_they_are_lets_in_all_as_nobody() {
    let (ca, stranger) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("stranger.org"),
    );
    let server = ca.source("/s").server(anyone()).without_client_auth();
    // One of ours, and one whom a server that asks would refuse.
    let known = ca.source("/c");
    let theirs = vec![stranger.svid("/c")];
    let unknown = IdentitySnapshot::new(theirs, ca.bundle().into());
    for client in [known, Arc::new(SnapshotCell::new(unknown))] {
        let (ours, theirs) = duplex(64 * 1024);
        let (acceptor, connector) = (server.acceptor(), client.client(anyone()).connector());
        let (accepted, connected) =
            tokio::join!(acceptor.accept_any(ours), connector.connect(theirs));
        assert!(matches!(accepted.unwrap(), Arrival::Anonymous(_)));
        assert!(connected.is_ok());
    }
}

#[tokio::test]
async fn a_rotation_is_seen_by_the_next_handshake() {
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/server"), ca.source("/client"));
    let (server_tls, client_tls) = (server.server(anyone()), client.client(anyone()));
    let (acceptor, connector) = (server_tls.acceptor(), client_tls.connector());
    for expected in [ca.svid("/server"), ca.svid("/server")] {
        let snapshot = IdentitySnapshot::new(vec![expected.clone()], ca.bundle().into());
        server.publish(snapshot);
        let (ours, theirs) = duplex(64 * 1024);
        let (_, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
        let connected = connected.unwrap();
        assert_eq!(&connected.peer().certificates()[0], expected.leaf().der());
    }
}

// conformance: FD-54+ FD-54- WA-11- WA-26-
#[tokio::test(start_paused = true)]
async fn a_proof_ends_with_the_trust_or_with_the_certificate() {
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let (ca, friend) = (
        TestAuthority::at("example.org", now),
        TestAuthority::at("friend.org", now),
    );
    let knows = |bundles: &[&TestAuthority]| {
        let bundles = bundles.iter().map(|ca| ca.bundle()).collect();
        IdentitySnapshot::new(vec![ca.svid("/s")], bundles)
    };
    let server = Arc::new(SnapshotCell::new(knows(&[&ca, &friend])));
    let client = |ca: &TestAuthority, lifetime| {
        let svid = ca.draft("/c").lifetime(lifetime).svid();
        let bundles = server.snapshot().bundles().clone();
        Arc::new(SnapshotCell::new(IdentitySnapshot::new(
            vec![svid],
            bundles,
        )))
    };
    let server_tls = server.server(anyone()).clock(clock.clone());
    let (long, short) = (Duration::from_secs(3600), Duration::from_secs(60));

    let shaken = handshake(&server_tls, &client(&ca, short).client(anyone())).await;
    let stream = shaken.0.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(stream.proof_ended().await, VerifyError::Expired.into());
    assert!((60..=62).contains(&begun.elapsed().as_secs()));

    let shaken = handshake(&server_tls, &client(&friend, long).client(anyone())).await;
    let stream = shaken.0.unwrap();
    let mut ended = pin!(stream.proof_ended());
    for still_trusted in [knows(&[&friend]), knows(&[&ca, &friend])] {
        server.publish(still_trusted);
        let waited = timeout(Duration::from_secs(1), ended.as_mut()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
    server.publish(knows(&[&ca]));
    let why = PeerError::from(VerifyError::UnknownTrustDomain(
        friend.trust_domain().clone(),
    ));
    assert_eq!(ended.await, why);
    assert_eq!(stream.proof_ended().await, why, "also for who asks late");
}

// conformance: FD-54-
#[tokio::test]
async fn no_resumption_after_defederation() {
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/server"), ca.source("/client"));
    let (server_config, client_config) = (
        Arc::new(server.server(anyone()).into_rustls()),
        Arc::new(client.client(anyone()).into_rustls()),
    );
    for _ in 0..3 {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connected = ClientConnection::new(client_config.clone(), name).unwrap();
        let mut accepted = ServerConnection::new(server_config.clone()).unwrap();
        pump(&mut connected, &mut accepted).unwrap();
        assert_eq!(accepted.handshake_kind(), Some(HandshakeKind::Full));
    }
    let empty = IdentitySnapshot::new(server.snapshot().svids().to_vec(), BundleSet::default());
    server.publish(empty);
    let name = ServerName::try_from("localhost").unwrap();
    let mut connected = ClientConnection::new(client_config, name).unwrap();
    let mut accepted = ServerConnection::new(server_config).unwrap();
    assert!(pump(&mut connected, &mut accepted).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_its_time_and_no_more() {
    let ca = TestAuthority::new("example.org");
    let limit = Duration::from_secs(3);
    let acceptor = ca
        .source("/s")
        .server(anyone())
        .handshake_timeout(limit)
        .acceptor();
    let (ours, _theirs) = duplex(1024);
    let begun = tokio::time::Instant::now();
    let why = acceptor.accept(ours).await.unwrap_err();
    assert!(
        matches!(why, HandshakeError::TimedOut(time) if time == limit),
        "{why}"
    );
    assert_eq!(begun.elapsed(), limit);
}

#[tokio::test]
async fn garbage_is_an_error_and_nothing_else() {
    let ca = TestAuthority::new("example.org");
    let acceptor = ca.source("/s").server(anyone()).acceptor();
    let (ours, mut theirs) = duplex(1024);
    let (accepted, written) = tokio::join!(acceptor.accept(ours), async {
        theirs
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .and(theirs.shutdown().await)
    });
    assert!(matches!(accepted.unwrap_err(), HandshakeError::Failed(_)));
    written.unwrap();
}

async fn handshake(server: &ServerTls, client: &ClientTls) -> (Outcome, Outcome) {
    let (ours, theirs) = duplex(64 * 1024);
    let (acceptor, connector) = (server.acceptor(), client.connector());
    tokio::join!(acceptor.accept(ours), connector.connect(theirs))
}

/// Carries what two rustls connections say to one another until neither has more to say.
fn pump(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    loop {
        let mut moved = 0;
        let mut bytes = Vec::new();
        while client.wants_write() {
            moved += client.write_tls(&mut bytes).unwrap();
        }
        let mut reader = &bytes[..];
        while !reader.is_empty() {
            server.read_tls(&mut reader).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            moved += server.write_tls(&mut bytes).unwrap();
        }
        let mut reader = &bytes[..];
        while !reader.is_empty() {
            client.read_tls(&mut reader).unwrap();
            client.process_new_packets()?;
        }
        if moved == 0 {
            return Ok(());
        }
    }
}
