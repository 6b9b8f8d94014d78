//! What is counted, read off a recorder.
#![expect(clippy::unwrap_used, reason = "a test")]

mod handshakes;
mod sources;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use spiffe_core::metrics;
use tokio::sync::Mutex;

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
    let page = include_str!("../../../docs/observability.md");
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
