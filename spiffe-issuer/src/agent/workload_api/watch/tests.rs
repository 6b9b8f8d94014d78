use std::os::unix::net::UnixStream;

use async_trait::async_trait;
use futures_util::FutureExt;
use spiffe_core::{BundleSet, TrustDomain};

use super::*;
use crate::agent::cache::samples::{Authority, at, entry, selectors};
use crate::agent::limit::Allowance;
use crate::agent::peer::tests::{another_process, proceed};
use crate::attestation::workload::{ProcessRef, WorkloadAttestor};
use crate::domain::Entry;

/// Finds `a:1` on everybody.
struct Same;

#[async_trait]
impl WorkloadAttestor for Same {
    async fn attest(&self, _: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        Ok(selectors(&["a:1"]))
    }
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> std::time::SystemTime {
        at(0)
    }
}

fn workloads() -> Arc<Workloads> {
    Arc::new(Workloads {
        attestors: WorkloadAttestors::new(vec![("same", Arc::new(Same))]),
        cache: Arc::new(Cache::new(TrustDomain::from_static("td"), 10)),
        limits: Limits::new(Allowance::default()),
        clock: Arc::new(Fixed),
        allow_unauthenticated_verifiers: false,
        stop: Shutdown::new(),
    })
}

/// This very process.
fn ourselves() -> Caller {
    Caller::of(&UnixStream::pair().unwrap().0).unwrap()
}

fn sync(workloads: &Workloads, entries: &[&Arc<Entry>]) {
    let bundle = Authority::new().bundle("td");
    workloads.cache.sync_bundles(BundleSet::from(bundle), at(0));
    let entries = entries.iter().map(|entry| Arc::clone(entry));
    workloads.cache.sync_entries(entries, at(0));
}

fn sign(workloads: &Workloads, entry: &Arc<Entry>) {
    let svid = Authority::new().svid(entry, 3600);
    let signed = [(entry.clone(), svid, at(1800))];
    workloads.cache.signed(signed, at(0));
}

async fn begin(workloads: &Arc<Workloads>) -> Result<(X509svidResponse, Watch<Svids>), Refused> {
    Watch::begin(workloads.clone(), ourselves()).await
}

fn ids(told: &X509svidResponse) -> Vec<&str> {
    told.svids
        .iter()
        .map(|svid| svid.spiffe_id.as_str())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end_and_says_what_was_waited_for() {
    let workloads = workloads();
    let begun = Instant::now();
    let refused = begin(&workloads).await.err().unwrap();
    assert!(matches!(refused, Refused::NotSynced), "{refused:?}");
    assert_eq!(begun.elapsed(), FIRST_PATIENCE);

    sync(&workloads, &[&entry("e", 1, &["a:1"])]);
    let begun = Instant::now();
    let refused = begin(&workloads).await.err().unwrap();
    assert!(matches!(refused, Refused::NotSigned), "{refused:?}");
    assert_eq!(begun.elapsed(), FIRST_PATIENCE);
    assert_eq!(refused.kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_held_up_for_another_one_but_not_for_long() {
    let workloads = workloads();
    let (old, new) = (entry("old", 1, &["a:1"]), entry("new", 2, &["a:1"]));
    sync(&workloads, &[&old, &new]);
    sign(&workloads, &new);
    let begun = Instant::now();
    let (told, mut watch) = begin(&workloads).await.unwrap();
    assert_eq!(ids(&told), ["spiffe://td/new"]);
    assert_eq!(begun.elapsed(), NEXT_PATIENCE);

    sign(&workloads, &old);
    let told = watch.next().await.unwrap();
    assert_eq!(ids(&told), ["spiffe://td/old", "spiffe://td/new"]);

    // One that the server would not sign holds up nobody.
    let refused = entry("refused", 3, &["a:1"]);
    sync(&workloads, &[&old, &new, &refused]);
    workloads.cache.refused(&refused, at(0));
    let begun = Instant::now();
    let (told, _) = begin(&workloads).await.unwrap();
    assert_eq!(told.svids.len(), 2);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again() {
    let workloads = workloads();
    let (ours, coming) = (entry("ours", 1, &["a:1"]), entry("coming", 2, &["a:1"]));
    sync(&workloads, &[&ours]);
    sign(&workloads, &ours);
    let (_, mut watch) = begin(&workloads).await.unwrap();
    // An identity that is not signed changes nothing for the one who is told.
    workloads
        .cache
        .sync_entries([ours.clone(), coming.clone()], at(0));
    let mut next = Box::pin(watch.next());
    assert!(next.as_mut().now_or_never().is_none());
    tokio::time::advance(2 * NEXT_PATIENCE).await;
    assert!(next.as_mut().now_or_never().is_none());
    sign(&workloads, &coming);
    assert_eq!(
        ids(&next.await.unwrap()),
        ["spiffe://td/ours", "spiffe://td/coming"]
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_process_whoever_holds_the_other_end() {
    let workloads = workloads();
    let ours = entry("ours", 1, &["a:1"]);
    sync(&workloads, &[&ours]);
    sign(&workloads, &ours);
    let (mut child, socket) = another_process("pass");
    let caller = Caller::of(&socket).unwrap();
    let (_, mut watch) = Watch::<Svids>::begin(workloads.clone(), caller)
        .await
        .unwrap();
    proceed(&socket);
    child.wait().unwrap();
    sign(&workloads, &ours);
    let over = watch.next().await.err().unwrap();
    assert!(matches!(over, Refused::Attestation(_)), "{over:?}");
}

#[tokio::test]
async fn a_stream_ends_when_its_process_runs_another_program() {
    let workloads = workloads();
    let ours = entry("ours", 1, &["a:1"]);
    sync(&workloads, &[&ours]);
    sign(&workloads, &ours);
    let (_child, socket) = another_process("exec");
    let caller = Caller::of(&socket).unwrap();
    let (_, mut watch) = Watch::<Svids>::begin(workloads.clone(), caller)
        .await
        .unwrap();
    proceed(&socket);
    // It takes the child a moment.
    let over = loop {
        sign(&workloads, &ours);
        if let Err(over) = watch.next().await {
            break over;
        }
    };
    assert!(
        matches!(over, Refused::Attestation(WorkloadError::Replaced { .. })),
        "{over:?}"
    );
}

#[tokio::test]
async fn the_log_says_why_nobody_is_told_and_the_caller_is_not() {
    let workloads = workloads();
    sync(
        &workloads,
        &[&entry("near", 1, &["a:1", "secret:env:PASSWORD=x"])],
    );
    let refused = begin(&workloads).await.err().unwrap();
    let (pid, uid) = (std::process::id(), nix::unistd::geteuid());
    assert_eq!(
        refused.to_string(),
        format!(
            "no entry matches process {pid} of user {uid} with selectors of a; \
             the nearest is spiffe://td/near: 1 selectors match, others of secret do not"
        )
    );
    assert_eq!(refused.told().unwrap(), "no identity issued");
}
