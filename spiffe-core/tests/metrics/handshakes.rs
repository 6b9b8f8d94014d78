//! Handshakes and connections.

use std::sync::Arc;

use metrics_util::debugging::DebuggingRecorder;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{Impostor, TestAuthority, TestClock};
use spiffe_core::tls::{ClientTls, HandshakeError, PeerStream, Resumption, ServerTls, SourceExt};
use spiffe_core::{IdentitySnapshot, metrics, spiffe_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::{Heard, LABELS};

/// A handshake, and its ends.
async fn meet(
    server: &ServerTls,
    client: &ClientTls,
) -> Option<(PeerStream<DuplexStream>, PeerStream<DuplexStream>)> {
    let (ours, theirs) = duplex(64 * 1024);
    let (acceptor, connector) = (server.acceptor(), client.connector());
    let (accepted, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
    accepted.ok().zip(connected.ok())
}

#[tokio::test]
async fn handshakes_are_counted_by_side_outcome_reason_and_trust_domain() {
    let _alone = LABELS.lock().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let ca = TestAuthority::new("a.test");
    let stranger = TestAuthority::new("b.test");
    let client = ca.source("/c").client(anyone());
    let picky = exactly(spiffe_id!("spiffe://a.test/ops"));
    meet(&ca.source("/s").server(anyone()), &client).await;
    meet(&ca.source("/s").server(picky), &client).await;
    let knows_us = IdentitySnapshot::new(vec![stranger.svid("/c")], ca.bundle().into());
    let knows_us = Arc::new(SnapshotCell::new(knows_us)).client(anyone());
    meet(&ca.source("/s").server(anyone()), &knows_us).await;
    let nobody = ca.source("/s").server(anyone()).acceptor();
    let (ours, theirs) = duplex(1024);
    drop(theirs);
    nobody.accept(ours).await.unwrap_err();
    let server = || ca.source("/s").server(anyone());
    for tls in [server(), server().client_auth_optional()] {
        let (ours, theirs) = duplex(64 * 1024);
        let (acceptor, nobody) = (tls.acceptor(), Impostor::anonymous());
        let (accepted, _) = tokio::join!(acceptor.accept(ours), nobody.connect(theirs));
        assert!(matches!(accepted, Err(HandshakeError::NoPeer)));
    }

    let heard = Heard::by(&snapshotter);
    for (labels, count) in [
        (
            "side=server outcome=ok reason= resumed=false trust_domain=a.test",
            1.0,
        ),
        // In TLS 1.3 a client is done before the server has judged it.
        (
            "side=client outcome=ok reason= resumed=false trust_domain=a.test",
            3.0,
        ),
        (
            "side=server outcome=refused reason=denied resumed=false trust_domain=a.test",
            1.0,
        ),
        // It proved nothing, so its trust domain is no label.
        (
            "side=server outcome=refused reason=unknown_trust_domain resumed=false trust_domain=",
            1.0,
        ),
        (
            "side=server outcome=failed reason=tls resumed=false trust_domain=",
            1.0,
        ),
        (
            "side=server outcome=refused reason=no_certificate resumed=false trust_domain=",
            2.0,
        ),
    ] {
        heard.is(metrics::HANDSHAKES, labels, count);
    }
    heard.is(metrics::HANDSHAKE_DURATION, "side=server outcome=ok", 1.0);
    heard.is(
        metrics::HANDSHAKE_DURATION,
        "side=server outcome=refused",
        4.0,
    );
    let ids = heard.0.keys().filter(|key| key.contains("spiffe://"));
    assert_eq!(ids.count(), 0, "not unless asked for");

    metrics::label_peers(true);
    meet(&ca.source("/s").server(anyone()), &client).await;
    metrics::label_peers(false);
    let labels =
        "side=server outcome=ok reason= resumed=false trust_domain=a.test peer=spiffe://a.test/c";
    Heard::by(&snapshotter).is(metrics::HANDSHAKES, labels, 1.0);
}

#[tokio::test]
async fn resumed_sessions_are_told_apart() {
    let _alone = LABELS.lock().await;
    let recorder = DebuggingRecorder::new();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let ca = TestAuthority::new("a.test");
    let server = ca
        .source("/s")
        .server(anyone())
        .resumption(Resumption::Bound);
    let client = ca
        .source("/c")
        .client(anyone())
        .resumption(Resumption::Bound);
    let (acceptor, connector) = (server.acceptor(), client.connector());
    for _ in 0..2 {
        let (ours, theirs) = duplex(64 * 1024);
        let accept = async {
            let mut stream = acceptor.accept(ours).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let connect = async {
            let mut stream = connector.connect_to("s", theirs).await.unwrap();
            stream.read_u8().await.unwrap();
            stream
        };
        tokio::join!(accept, connect);
    }
    let heard = Heard::by(&recorder.snapshotter());
    for side in ["server", "client"] {
        for resumed in ["false", "true"] {
            let labels =
                format!("side={side} outcome=ok reason= resumed={resumed} trust_domain=a.test");
            heard.is(metrics::HANDSHAKES, &labels, 1.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_while_they_last_and_by_the_reason_of_their_end() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("a.test", now);
    let server = ca.source("/s");
    let tls = server.server(anyone()).clock(clock.clone());
    let client = ca.source("/c").client(anyone()).clock(clock);
    let ends = [
        meet(&tls, &client).await.unwrap(),
        meet(&tls, &client).await.unwrap(),
        meet(&tls, &client).await.unwrap(),
    ];
    Heard::by(&snapshotter).is(metrics::CONNECTIONS, "side=server", 3.0);
    let [(closed, _c1), (parted, _c2), (refused, _c3)] = ends;
    drop(closed);
    parted.parting().await;
    drop(parted);

    server.publish(ca.snapshot("/s"));
    refused.peer().revalidate().unwrap();
    let other = TestAuthority::at("a.test", now);
    server.publish(other.snapshot("/s"));
    for _ in 0..3 {
        refused.peer().revalidate().unwrap_err();
    }
    drop(refused);
    let heard = Heard::by(&snapshotter);
    heard.is(metrics::CONNECTIONS, "side=server", -3.0);
    for reason in ["closed", "parted", "unknown_authority"] {
        let labels = format!("side=server reason={reason}");
        heard.is(metrics::CONNECTIONS_CLOSED, &labels, 1.0);
    }
    heard.is(metrics::REJUDGEMENTS, "side=server outcome=ok reason=", 1.0);
    let labels = "side=server outcome=refused reason=unknown_authority";
    heard.is(metrics::REJUDGEMENTS, labels, 1.0);
}
