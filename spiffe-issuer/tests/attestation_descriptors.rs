//! Attestations that fail leave no descriptor behind. Alone in its program, because descriptors are
//! counted for a whole process.

#![cfg(feature = "agent")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::Arc;

use async_trait::async_trait;
use spiffe_issuer::agent::peer::Caller;
use spiffe_issuer::attestation::workload::unix::Unix;
use spiffe_issuer::attestation::workload::{
    ProcessRef, WorkloadAttestor, WorkloadAttestors, WorkloadError,
};
use spiffe_issuer::domain::SelectorSet;

/// Cannot look.
struct Broken;

#[async_trait]
impl WorkloadAttestor for Broken {
    async fn attest(&self, _: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        Err(WorkloadError::Stopped)
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn ended() -> ProcessRef {
    let mut child: Child = Command::new("true").spawn().unwrap();
    let process = ProcessRef::by_pid(child.id() as i32);
    child.wait().unwrap();
    process.unwrap_or_else(|_| ended())
}

#[tokio::test]
async fn attest_error_paths_leak_no_fd() {
    let broken = WorkloadAttestors::new(vec![("broken", Arc::new(Broken))]);
    let unix = WorkloadAttestors::new(vec![("unix", Arc::new(Unix::with_programs(0)))]);
    let gone = ended();
    let round = async || {
        let (socket, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&socket).unwrap();
        assert!(broken.attest(caller.process()).await.is_err());
        assert!(unix.attest(&gone).await.is_err());
        assert!(ProcessRef::by_pid(i32::MAX).is_err());
    };
    for _ in 0..100 {
        round().await;
    }
    let before = open_descriptors();
    for _ in 0..10_000 {
        round().await;
    }
    assert_eq!(open_descriptors(), before);
}
