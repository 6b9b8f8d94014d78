//! Sources of a Workload API on a socket: until they are ready, and what they show then.

use std::{hint::black_box, path::Path};

use spiffe_benches::Authority;
use spiffe_core::{IdentitySource, X509Source, testing::FakeWorkloadApi, workload_api::Endpoint};
use tokio::runtime::{Builder, Runtime};

use crate::{
    handshakes::snapshot,
    harness::{Subject, compare},
};

pub(crate) fn measure() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let api = runtime.block_on(async { FakeWorkloadApi::on_socket(&socket).unwrap() });
    api.publish(&snapshot(&Authority::default(), "/web"));

    let ours = || runtime.block_on(ours(&api.endpoint()));
    let theirs = || runtime.block_on(theirs(&socket));
    compare(
        "X509Source, from nothing to its first identity, server included (must: 310 us)",
        vec![
            Subject::new("spiffe-core", || drop(ours())),
            Subject::new("spiffe 0.19", || drop(theirs())),
        ],
    );
    let (ours, theirs) = (ours(), theirs());
    compare(
        "The SVID of this moment (must: 15 ns)",
        vec![
            Subject::new("spiffe-core", || {
                black_box(black_box(&ours).snapshot().svid());
            }),
            Subject::new("spiffe 0.19", || {
                black_box(black_box(&theirs).svid().unwrap());
            }),
        ],
    );
}

pub(crate) async fn ours(endpoint: &Endpoint) -> X509Source {
    let builder = X509Source::builder().endpoint(endpoint.clone());
    builder.connect().await.unwrap()
}

pub(crate) async fn theirs(socket: &Path) -> spiffe::X509Source {
    let endpoint = format!("unix://{}", socket.display());
    let builder = spiffe::X509Source::builder().endpoint(endpoint);
    builder.build().await.unwrap()
}

/// One thread for both sides: what is measured is work, not how threads wake each other.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
