//! What is counted, read off a recorder.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{FileSource, JwtSource, SnapshotCell, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, Impostor, TestAuthority, TestClock};
use spiffe_core::tls::{ClientTls, HandshakeError, PeerStream, Resumption, ServerTls, SourceExt};
use spiffe_core::{IdentitySnapshot, IdentitySource, metrics, spiffe_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tonic::Code;

/// What a recorder has heard since it was asked last, by name and labels.
struct Heard(BTreeMap<String, f64>);

impl Heard {
    fn by(recorder: &Snapshotter) -> Self {
        let all = recorder.snapshot().into_vec().into_iter();
        let named = all.map(|(key, _, _, value)| {
            let labels = key.key().labels();
            let labels: Vec<_> = labels
                .map(|l| format!("{}={}", l.key(), l.value()))
                .collect();
            let value = match value {
                DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => f64::from(u32::try_from(values.len()).unwrap()),
            };
            (format!("{} {}", key.key().name(), labels.join(" ")), value)
        });
        Self(named.collect())
    }

    #[track_caller]
    fn is(&self, name: &str, labels: &str, value: f64) {
        let found = self.0.get(&format!("{name} {labels}"));
        assert_eq!(found, Some(&value), "{name} {labels} in {:#?}", self.0);
    }
}

/// Which labels there are counts for the whole process.
static LABELS: Mutex<()> = Mutex::const_new(());

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

#[tokio::test(start_paused = true)]
async fn a_source_tells_age_end_generation_updates_and_failures() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let now = SystemClock.now();
    let clock = TestClock::at(now);
    let (ca, api) = (
        TestAuthority::at("a.test", now),
        FakeWorkloadApi::in_memory(),
    );
    api.publish(&ca.snapshot("/web"));
    let source = X509Source::builder()
        .endpoint(api.endpoint())
        .clock(Arc::new(clock))
        .connect()
        .await
        .unwrap();
    let snapshot = source.snapshot();
    let svid = snapshot.svid().unwrap();
    let heard = Heard::by(&snapshotter);
    heard.is(metrics::SOURCE_UPDATES, "source=x509", 1.0);
    heard.is(metrics::SOURCE_UPDATED, "source=x509", since_1970(now));
    heard.is(metrics::SOURCE_GENERATION, "source=x509", 2.0);
    heard.is(
        metrics::SVID_ISSUED,
        "source=x509",
        since_1970(svid.not_before()),
    );
    heard.is(
        metrics::SVID_EXPIRES,
        "source=x509",
        since_1970(svid.not_after()),
    );

    let mut changed = source.subscribe();
    api.refuse(Code::PermissionDenied);
    changed.changed().await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let heard = Heard::by(&snapshotter);
    heard.is(metrics::SOURCE_FAILURES, "source=x509 reason=denied", 1.0);
    heard.is(metrics::SVID_ISSUED, "source=x509", 0.0);
    heard.is(metrics::SVID_EXPIRES, "source=x509", 0.0);
    api.refuse(Code::Unimplemented);
    sleep(Duration::from_secs(60)).await;
    Heard::by(&snapshotter).is(metrics::SOURCE_FAILURES, "source=x509 reason=refused", 1.0);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_by_whether_there_was_one() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let now = SystemClock.now();
    let (ca, api) = (
        TestAuthority::at("a.test", now),
        FakeWorkloadApi::in_memory(),
    );
    api.give(&ca, "/web");
    let source = JwtSource::builder()
        .endpoint(api.endpoint())
        .clock(Arc::new(TestClock::at(now)))
        .connect()
        .await
        .unwrap();
    let (first, second) = tokio::join!(source.svid(["db"]), source.svid(["db"]));
    assert_eq!(first.unwrap().token(), second.unwrap().token());
    source.svid(["db"]).await.unwrap();
    let heard = Heard::by(&snapshotter);
    for outcome in ["miss", "joined", "hit"] {
        heard.is(metrics::JWT_REQUESTS, &format!("outcome={outcome}"), 1.0);
    }
    heard.is(metrics::JWT_FETCHES, "outcome=ok", 1.0);
    heard.is(metrics::SOURCE_UPDATES, "source=jwt_bundles", 1.0);

    // Past half of the five minutes that it holds.
    sleep(Duration::from_secs(200)).await;
    api.refuse(Code::Unavailable);
    source.svid(["db"]).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let heard = Heard::by(&snapshotter);
    heard.is(metrics::JWT_REQUESTS, "outcome=refresh", 1.0);
    heard.is(metrics::JWT_FETCHES, "outcome=failed", 1.0);
}

#[tokio::test(start_paused = true)]
async fn files_are_a_source_too() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let (ca, folder) = (TestAuthority::new("a.test"), tempfile::tempdir().unwrap());
    let svid = ca.svid("/web");
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    let bundle = ca.bundle();
    write("svid.pem", svid.leaf().to_pem());
    write("svid_key.pem", svid.key().to_pem().to_string());
    write(
        "svid_bundle.pem",
        bundle
            .x509_authorities()
            .iter()
            .map(|root| root.to_pem())
            .collect(),
    );
    let _source = FileSource::spiffe_helper(folder.path()).unwrap();
    let heard = Heard::by(&snapshotter);
    heard.is(metrics::SOURCE_UPDATES, "source=files", 1.0);
    heard.is(
        metrics::SVID_EXPIRES,
        "source=files",
        since_1970(svid.not_after()),
    );
    write("svid.pem", "no certificate".to_owned());
    let begun = std::time::Instant::now();
    // Files are read on threads of their own, which paused time does not wait for.
    while begun.elapsed() < Duration::from_secs(10) {
        sleep(Duration::from_secs(6)).await;
        if Heard::by(&snapshotter)
            .0
            .contains_key("spiffe_source_failures_total source=files reason=unusable")
        {
            return;
        }
    }
    unreachable!("nobody told of the flaw");
}

#[test]
fn each_is_described_with_its_unit() {
    let recorder = DebuggingRecorder::new();
    ::metrics::with_local_recorder(&recorder, || {
        metrics::describe();
        for name in [
            metrics::HANDSHAKES,
            metrics::CONNECTIONS_CLOSED,
            metrics::REJUDGEMENTS,
        ] {
            ::metrics::counter!(name).increment(1);
        }
        for name in [metrics::SOURCE_UPDATES, metrics::SOURCE_FAILURES] {
            ::metrics::counter!(name).increment(1);
        }
        for name in [
            metrics::JWT_REQUESTS,
            metrics::JWT_FETCHES,
            metrics::CALLS_REFUSED,
            metrics::BUNDLE_FETCHES,
        ] {
            ::metrics::counter!(name).increment(1);
        }
        for name in [
            metrics::CONNECTIONS,
            metrics::SOURCE_UPDATED,
            metrics::SOURCE_GENERATION,
        ] {
            ::metrics::gauge!(name).set(1);
        }
        for name in [
            metrics::SVID_ISSUED,
            metrics::SVID_EXPIRES,
            metrics::BUNDLE_FETCHED,
        ] {
            ::metrics::gauge!(name).set(1);
        }
        ::metrics::histogram!(metrics::HANDSHAKE_DURATION).record(1);
    });
    let all = recorder.snapshotter().snapshot().into_vec();
    assert_eq!(all.len(), 16);
    let page = include_str!("../../docs/observability.md");
    for (key, unit, text, _) in all {
        let name = key.key().name();
        assert!(unit.is_some() && text.is_some(), "{name}");
        assert!(
            page.contains(&format!("`{name}`")),
            "{name} is not on the page"
        );
        assert_eq!(
            name.ends_with("_seconds"),
            unit == Some(::metrics::Unit::Seconds)
        );
    }
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
