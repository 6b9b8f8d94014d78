//! Clocks that differ are told in the log.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{FakeWorkloadApi, Impostor, TestAuthority, TestClock};
use spiffe_core::workload_api::WorkloadApiClient;
use spiffe_core::{BundleSet, IdentitySnapshot, SourceExt, X509Svid};
use tokio::io::duplex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

/// The seconds of each warning that clocks differ, and how many warnings there were at all.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u64>>>, Arc<AtomicUsize>);

struct Seconds<'a>(&'a Told);

impl Visit for Seconds<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "seconds" {
            self.0.0.lock().unwrap().push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            self.1.fetch_add(1, Ordering::Relaxed);
            event.record(&mut Seconds(self));
        }
    }
}

impl Told {
    fn warnings(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

// One test, for there is one line a minute for our own and one for peers in the whole process.
#[tokio::test(start_paused = true)]
async fn skew_of_five_minutes_is_told() {
    let told = Told::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(told.clone()));
    let start = SystemClock.now();
    let ca = TestAuthority::at("a.test", start);
    that_of_our_own_is_told(&told, &ca, start).await;
    that_of_peers_is_told(&told, &ca, start).await;
}

/// Our own, from the agent.
async fn that_of_our_own_is_told(told: &Told, ca: &TestAuthority, start: SystemTime) {
    let valid = |from: SystemTime, to: SystemTime| ca.draft("/web").valid(from, to).svid();
    let sound = valid(start - HOUR, start + 24 * HOUR);
    for (name, now, svid, expected) in [
        ("sound", start, sound, &[][..]),
        (
            "ahead",
            start,
            valid(start + 5 * MINUTE, start + HOUR),
            &[300],
        ),
        (
            "told a moment ago",
            start + MINUTE / 2,
            valid(start + 5 * MINUTE, start + HOUR),
            &[],
        ),
        (
            "behind",
            start + 5 * MINUTE,
            valid(start - HOUR, start),
            &[300],
        ),
        (
            "no clock explains",
            start + 2 * HOUR,
            valid(start - HOUR, start),
            &[],
        ),
    ] {
        let api = FakeWorkloadApi::in_memory();
        api.publish_message(spiffe_core::testing::message(&snapshot(ca, svid)));
        let client = WorkloadApiClient::new(api.endpoint());
        let _ = client
            .with_clock(Arc::new(TestClock::at(now)))
            .fetch_x509()
            .await;
        assert_near(&told.take(), expected, name);
    }
}

/// That of a peer, and of strangers who say that they are one.
async fn that_of_peers_is_told(told: &Told, ca: &TestAuthority, start: SystemTime) {
    let valid = |from: SystemTime, to: SystemTime| ca.draft("/web").valid(from, to).svid();
    let sound = || valid(start - HOUR, start + 24 * HOUR);
    let usurper = TestAuthority::at("a.test", start);
    let stranger = TestAuthority::at("b.test", start);
    let ahead_at = |ca: &TestAuthority, now| {
        let from = now + 5 * MINUTE;
        ca.draft("/web").valid(from, start + 24 * HOUR).svid()
    };
    for (name, now, svid, expected) in [
        ("sound", start + 3 * HOUR, sound(), &[][..]),
        (
            "ahead",
            start + 3 * HOUR,
            valid(start + 3 * HOUR + 5 * MINUTE, start + 24 * HOUR),
            &[300],
        ),
        (
            "behind",
            start + 4 * HOUR,
            valid(start - HOUR, start + 4 * HOUR - 5 * MINUTE),
            &[300],
        ),
        (
            "no clock explains",
            start + 5 * HOUR,
            valid(start - HOUR, start),
            &[],
        ),
        (
            "a foreign key",
            start + 6 * HOUR,
            ahead_at(&usurper, start + 6 * HOUR),
            &[],
        ),
        (
            "a foreign trust domain",
            start + 6 * HOUR,
            ahead_at(&stranger, start + 6 * HOUR),
            &[],
        ),
        (
            "one of ours in the same minute",
            start + 6 * HOUR,
            ahead_at(ca, start + 6 * HOUR),
            &[300],
        ),
    ] {
        let clock = Arc::new(TestClock::at(now));
        let server = SnapshotCell::new(snapshot(ca, sound()));
        let acceptor = Arc::new(server).server(anyone()).clock(clock).acceptor();
        // A source of ours would not present what has ended.
        let impostor = Impostor::with_svid(&svid);
        let (near, far) = duplex(64 * 1024);
        let _ = tokio::join!(acceptor.accept(near), impostor.connect(far));
        assert_near(&told.take(), expected, name);
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_cannot_fill_the_log_where_our_svid_has_expired() {
    let told = Told::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(told.clone()));
    let start = SystemClock.now();
    let ca = TestAuthority::at("a.test", start);
    let ended = ca.draft("/web").valid(start - HOUR, start - MINUTE).svid();
    for (minutes, expected) in [(60, 1), (61, 2)] {
        let clock = Arc::new(TestClock::at(start + minutes * MINUTE));
        let server = Arc::new(SnapshotCell::new(snapshot(&ca, ended.clone())));
        let acceptor = server.server(anyone()).clock(clock).acceptor();
        for _ in 0..20 {
            let (near, far) = duplex(64 * 1024);
            let anonymous = Impostor::anonymous();
            let (accepted, _) = tokio::join!(acceptor.accept(near), anonymous.connect(far));
            assert!(accepted.is_err());
        }
        assert_eq!(told.warnings(), expected, "after {minutes} minutes");
    }
}

fn snapshot(ca: &TestAuthority, svid: X509Svid) -> IdentitySnapshot {
    IdentitySnapshot::new(vec![svid], BundleSet::from(ca.bundle()))
}

/// Certificates count whole seconds, and clocks do not.
fn assert_near(told: &[u64], expected: &[u64], name: &str) {
    let near = told.len() == expected.len()
        && told
            .iter()
            .zip(expected)
            .all(|(one, two)| one.abs_diff(*two) <= 1);
    assert!(near, "{name}: {told:?}");
}
