//! An `X509Source` against a Workload API that follows a script, on paused time.
#![expect(clippy::unwrap_used, reason = "a test")]

mod flaws;
mod identities;
mod start;
mod updates;

use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::IdentitySnapshot;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{SourceError, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority, TestClock};
use tokio::sync::watch;

/// A workload with its agent and the authority behind it.
struct World {
    authority: TestAuthority,
    api: FakeWorkloadApi,
    now: SystemTime,
    clock: TestClock,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        Self {
            authority: TestAuthority::at("a.test", now),
            api: FakeWorkloadApi::in_memory(),
            now,
            clock: TestClock::at(now),
        }
    }

    async fn connect(&self) -> Result<X509Source, SourceError> {
        X509Source::builder()
            .endpoint(self.api.endpoint())
            .clock(Arc::new(self.clock))
            .connect()
            .await
    }

    /// A source that has its first identity.
    async fn connected() -> (Self, X509Source) {
        let world = Self::new();
        world.api.publish(&world.authority.snapshot("/web"));
        let source = world.connect().await.unwrap();
        (world, source)
    }
}

fn leaf(snapshot: &IdentitySnapshot) -> &spiffe_core::x509::Certificate {
    snapshot.svid().unwrap().leaf()
}

fn der(authority: &TestAuthority, path: &str) -> Vec<u8> {
    authority.svid(path).leaf().der().to_vec()
}

fn with_bundles(snapshot: &IdentitySnapshot, of: &[&TestAuthority]) -> IdentitySnapshot {
    let bundles = of.iter().map(|authority| authority.bundle());
    IdentitySnapshot::new(snapshot.svids().to_vec(), bundles.collect())
}

/// Whether the source is gone: nobody is left to tell of changes.
async fn gone(changed: &mut watch::Receiver<u64>) -> bool {
    changed.changed().await.is_err()
}
