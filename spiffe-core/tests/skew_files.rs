//! That clocks differ is told where the files of an identity show it.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Debug;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::FileSource;
use spiffe_core::testing::{TestAuthority, TestClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

/// The seconds of each warning.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u64>>>);

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "seconds" {
            self.0.lock().unwrap().push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

// The only test here, for there is one line a minute in the whole process.
#[tokio::test]
async fn an_svid_of_files_that_is_not_valid_yet_is_told() {
    let start = SystemClock.now();
    let ca = TestAuthority::at("a.test", start);
    let ahead = start + Duration::from_secs(300);
    let svid = ca
        .draft("/web")
        .valid(ahead, ahead + Duration::from_secs(3600))
        .svid();
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
    put("svid.pem", svid.chain_pem().as_bytes());
    put("svid_key.pem", svid.key().to_pem().as_bytes());
    put("svid_bundle.pem", ca.bundle().to_pem().as_bytes());

    let told = Told::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(told.clone()));
    let clock = Arc::new(TestClock::at(start));
    // It is taken all the same: peers judge by clocks of their own.
    let builder = FileSource::builder(directory.path()).clock(clock);
    let _source = builder.open().unwrap();
    let told = told.0.lock().unwrap();
    assert!(matches!(told[..], [299..=301]), "{told:?}");
}
