//! What is counted of federation, read off a recorder.
#![cfg(all(feature = "federation", feature = "metrics"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod federated;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use federated::{Net, WebCa, document, status, url};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use spiffe_core::BundleSet;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_hyper::federation::Relationship;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn fetches_are_counted_by_trust_domain_and_outcome() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let begin = SystemClock.now();
    let clock = Arc::new(TestClock::at(begin));
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let numbered = |number| partner.bundle().with_sequence(Some(number));
    let other = TestAuthority::new("b.test").bundle();
    let said = Arc::new(Mutex::new(None));
    let saying = Arc::clone(&said);
    net.script("b.test", ca.tls("b.test"), move |_| {
        let said = saying.lock().unwrap();
        said.as_ref().map_or_else(|| status(500), document)
    });
    let client = net.client(&ca).clock(clock.clone());
    let relationship =
        Relationship::https_web(partner.trust_domain().clone(), url("https://b.test/"));
    let mut held = None;
    for bundle in [
        Some(numbered(2)),
        Some(numbered(2)),
        Some(numbered(3)),
        Some(other.with_sequence(Some(1))),
        None,
    ] {
        *said.lock().unwrap() = bundle;
        let fetched = client
            .fetch(&relationship, held.as_ref(), &BundleSet::default())
            .await;
        if let Ok(fetched) = fetched {
            held = Some(fetched.held);
        }
        sleep(Duration::from_secs(60)).await;
    }
    let heard = snapshotter.snapshot().into_vec().into_iter();
    let heard: BTreeMap<_, _> = heard
        .map(|(key, _, _, value)| {
            let labels = key.key().labels();
            let labels: Vec<_> = labels
                .map(|l| format!("{}={}", l.key(), l.value()))
                .collect();
            (format!("{} {}", key.key().name(), labels.join(" ")), value)
        })
        .collect();
    for (outcome, times) in [
        ("replaced", 2),
        ("unchanged", 1),
        ("refused", 1),
        ("failed", 1),
    ] {
        let name = format!("spiffe_bundle_fetches_total trust_domain=b.test outcome={outcome}");
        assert_eq!(
            heard.get(&name),
            Some(&DebugValue::Counter(times)),
            "{heard:?}"
        );
    }
    let last = begin + Duration::from_secs(120);
    let last = last.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let name = "spiffe_bundle_fetched_timestamp_seconds trust_domain=b.test";
    assert_eq!(
        heard.get(name),
        Some(&DebugValue::Gauge(last.into())),
        "the last success"
    );
}
