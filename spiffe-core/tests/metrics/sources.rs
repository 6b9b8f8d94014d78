//! Sources and tokens.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::DebuggingRecorder;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{FileSource, JwtSource, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, TestClock};
use spiffe_core::{IdentitySource, metrics};
use tokio::time::sleep;
use tonic::Code;

use crate::{Heard, since_1970};

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
