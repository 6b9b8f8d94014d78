//! What the fuzz targets `workload_api` and `watch` hold true: for any messages of a Workload API, and
//! for any order in which things befall a watch. A plain test tries the same with a few.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use prost::Message;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::proto::workload::{
    JwtBundlesResponse, JwtsvidResponse, WitsvidResponse, X509BundlesResponse, X509svidResponse,
};
use spiffe_core::source::X509Source;
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, TestClock, message};
use spiffe_core::workload_api::{Limits, WorkloadApiClient};
use spiffe_core::x509::Certificate;
use spiffe_core::{IdentitySnapshot, IdentitySource};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tonic::Code;

static NOW: LazyLock<SystemTime> = LazyLock::new(|| SystemClock.now());
static AUTHORITY: LazyLock<TestAuthority> = LazyLock::new(|| TestAuthority::at("a.test", *NOW));

/// No message makes the client panic, and what it takes of one is whole.
pub(crate) fn messages(bytes: &[u8]) {
    runtime().block_on(async {
        let api = FakeWorkloadApi::in_memory();
        let client = WorkloadApiClient::new(api.endpoint());
        if let Ok(message) = X509svidResponse::decode(bytes) {
            let sent = message.svids.len();
            api.publish_message(message);
            if let Ok(snapshot) = client.fetch_x509().await {
                assert!((1..=sent.min(Limits::SVIDS)).contains(&snapshot.svids().len()));
                for svid in snapshot.svids() {
                    let home = svid.id().trust_domain();
                    assert!(snapshot.bundles().get(&home).is_some(), "{home}");
                    assert!(svid.hint().len() <= 1024);
                }
            }
        }
        if let Ok(message) = X509BundlesResponse::decode(bytes) {
            api.publish_x509_bundles(message);
            if let Ok(bundles) = client.fetch_x509_bundles().await {
                assert!(
                    bundles
                        .iter()
                        .all(|bundle| !bundle.x509_authorities().is_empty())
                );
            }
        }
        if let Ok(message) = JwtBundlesResponse::decode(bytes) {
            api.publish_jwt_bundles(message);
            if let Ok(bundles) = client.fetch_jwt_bundles().await {
                assert!(
                    bundles
                        .iter()
                        .all(|bundle| bundle.x509_authorities().is_empty())
                );
            }
        }
        if let Ok(message) = JwtsvidResponse::decode(bytes) {
            api.answer_jwt(move |_| Ok(message.clone()));
            if let Ok(svids) = client.fetch_jwt_svids(["a"], None).await {
                let meant = |names: &[String]| names.iter().any(|name| name == "a");
                assert!(!svids.is_empty() && svids.iter().all(|svid| meant(svid.audience())));
            }
        }
        if let Ok(message) = WitsvidResponse::decode(bytes) {
            api.publish_wit_message(message);
            let _ = client.fetch_wit_svids(None).await;
        }
    });
}

/// A good message, to begin with.
pub(crate) fn good_message() -> Vec<u8> {
    message(&AUTHORITY.snapshot("/web")).encode_to_vec()
}

/// What the agent says from now on.
#[derive(Clone)]
enum Word {
    Denied,
    Good(Certificate),
    /// It cannot be used, or was none: what is known stays.
    OfNoUse,
    /// Nobody asks again.
    Unimplemented,
}

/// Whatever befalls a watch, in whatever order: it shows the last good word that it could hear, and
/// loses that in no other way than by being denied.
pub(crate) fn watch(operations: &[u8]) {
    runtime().block_on(async {
        let api = FakeWorkloadApi::in_memory();
        let source = X509Source::builder()
            .endpoint(api.endpoint())
            .clock(Arc::new(TestClock::at(*NOW)))
            .connect_lazy()
            .unwrap();
        let (mut word, mut present, mut expected) = (Word::OfNoUse, true, None);
        for operation in operations.iter().take(MAX_OPERATIONS) {
            match operation % 9 {
                5 => {
                    api.go_away();
                    present = false;
                }
                6 => {
                    api.come_back();
                    present = true;
                }
                7 => {}
                // Rare, for it ends everything.
                8 if *operation != 8 => {}
                other => word = say(&api, other),
            }
            // Each is heard before the next, if there is anybody to hear it.
            sleep(SETTLED).await;
            match &word {
                _ if !present => {}
                Word::Good(leaf) => expected = Some(leaf.clone()),
                Word::Denied => expected = None,
                Word::OfNoUse => {}
                Word::Unimplemented => {
                    assert!(source.health().stopped);
                    return;
                }
            }
            let snapshot = source.snapshot();
            let shown = snapshot.svid().map(|svid| svid.leaf());
            assert_eq!(shown, expected.as_ref(), "{operations:?}");
            assert_eq!(source.health().ready, shown.is_some());
        }
    });
}

fn say(api: &FakeWorkloadApi, what: u8) -> Word {
    let svid = AUTHORITY.draft("/web").lifetime(2 * HOUR).svid();
    let leaf = svid.leaf().clone();
    let good = IdentitySnapshot::new(vec![svid], AUTHORITY.bundle().into());
    let mut flawed = message(&good);
    flawed.svids[0].x509_svid_key.clear();
    match what {
        0 => api.publish(&good),
        1 => api.publish_message(flawed),
        2 => api.publish_message(X509svidResponse::default()),
        3 => api.refuse(Code::PermissionDenied),
        4 => api.refuse(Code::Unavailable),
        _ => api.refuse(Code::Unimplemented),
    }
    match what {
        0 => Word::Good(leaf),
        3 => Word::Denied,
        1 | 2 | 4 => Word::OfNoUse,
        _ => Word::Unimplemented,
    }
}

/// A watch waits for up to thirty seconds before it asks again.
const SETTLED: Duration = Duration::from_secs(31);
const HOUR: Duration = Duration::from_secs(3600);
const MAX_OPERATIONS: usize = 60;

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}
