//! Handshakes while the Workload API sends a new identity a hundred times in a second.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use spiffe_benches::{Authority, TRUST_DOMAIN};
use spiffe_core::{authorizer::member_of, testing::FakeWorkloadApi, tls::SourceExt};
use tokio::{runtime::Builder, time::interval};

use crate::{
    handshakes::{handshake, pair, snapshot, try_bare_handshake},
    harness::{quantile, told},
    sources,
};

pub(crate) fn measure() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let authority = Authority::default();
    let identities = ["/one", "/two"].map(|path| snapshot(&authority, path));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    println!("\nHandshakes while identities are replaced (must: none fails, p99 as without)");
    runtime.block_on(async {
        let api = FakeWorkloadApi::on_socket(&socket).unwrap();
        api.publish(&identities[0]);
        let ours = sources::ours(&api.endpoint()).await;
        let acceptor = ours.server(member_of(TRUST_DOMAIN)).acceptor();
        let connector = ours.client(member_of(TRUST_DOMAIN)).connector();
        let (their_acceptor, their_connector) = pair(sources::theirs(&socket).await);
        for (name, replaced) in RUNS {
            let swaps = AtomicBool::new(replaced);
            let swapping = async {
                let mut ticks = interval(Duration::from_millis(10));
                for at in 0.. {
                    ticks.tick().await;
                    if swaps.load(Ordering::Relaxed) {
                        api.publish(&identities[at % 2]);
                    }
                }
            };
            let measuring = async {
                shake(&format!("spiffe-core, {name}"), || {
                    handshake(&acceptor, &connector)
                })
                .await;
                let theirs = || try_bare_handshake(&their_acceptor, &their_connector);
                shake(&format!("spiffe-rustls 0.11, {name}"), theirs).await;
            };
            tokio::select! {
                () = swapping => {}
                () = measuring => {}
            }
        }
    });
}

async fn shake<F: Future<Output = Result<(), String>>>(name: &str, once: impl Fn() -> F) {
    let (mut took, mut failed) = (Vec::new(), 0);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let begun = Instant::now();
        failed += u32::from(once().await.is_err());
        took.push(begun.elapsed().as_nanos() as f64);
        // Not a lull: whoever replaces identities has to come to its turn.
        tokio::task::yield_now().await;
    }
    println!(
        "  {name:<44} {:>6} done, {failed:>4} failed, p50 {:>10}, p99 {:>10}",
        took.len(),
        told(quantile(&took, 0.5)),
        told(quantile(&took, 0.99)),
    );
}

const RUNS: [(&str, bool); 4] = [
    ("at rest", false),
    ("replaced", true),
    ("at rest once more (the null)", false),
    ("replaced once more", true),
];
