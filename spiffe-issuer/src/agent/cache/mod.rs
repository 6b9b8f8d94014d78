//! What this agent may give to its workloads: entries, SVIDs and bundles, and who waits for them.

pub mod index;
mod nearest;
mod rights;
#[cfg(test)]
pub(crate) mod samples;
mod subscribers;
mod svids;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use spiffe_core::{BundleSet, TrustDomain, X509Svid};
use tokio::sync::{Notify, watch};

use crate::domain::{Entry, EntryId, SelectorSet};

pub use index::Changes;
use index::{Index, by_age};
pub use nearest::Nearest;
pub use rights::{Identity, Rights};
use subscribers::Subscribers;
use svids::{Need, Svids};

/// The cache of one agent. All parts of it change together, under one lock that is never held for
/// long and never across an `.await`.
#[derive(Debug)]
pub struct Cache {
    state: Mutex<State>,
    wanted: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    trust_domain: TrustDomain,
    /// More SVIDs than this are kept only for those who wait for them.
    limit: usize,
    /// Nothing is known before the first sync, not even that there is nothing.
    is_synced: bool,
    index: Index,
    svids: Svids,
    bundles: BundleSet,
    subscribers: Subscribers<Option<Rights>>,
}

/// What is to be signed, the most urgent first.
#[derive(Debug, Default)]
pub struct Work {
    /// The entries to ask the server for.
    pub entries: Vec<Arc<Entry>>,
    /// When to look again, if nothing happens before.
    pub next: Option<SystemTime>,
}

/// In which order SVIDs are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// Somebody waits and has none.
    Awaited,
    /// There is one that is to be renewed.
    Due,
    /// Somebody may come, and there is room.
    Prefetched,
}

impl Cache {
    /// An empty cache that prefetches so many SVIDs.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                trust_domain,
                limit,
                is_synced: false,
                index: Index::default(),
                svids: Svids::default(),
                bundles: BundleSet::default(),
                subscribers: Subscribers::default(),
            }),
            wanted: Notify::new(),
            synced: watch::Sender::new(false),
        }
    }

    /// What a workload with these selectors may have, and all changes of that. `None` as long as
    /// nothing is known.
    pub fn subscribe(
        &self,
        selectors: &SelectorSet,
        now: SystemTime,
    ) -> watch::Receiver<Option<Rights>> {
        let mut state = self.lock();
        let rights = state.rights(selectors, now);
        for entry in state.index.matching(selectors) {
            state.svids.touch(&entry.id);
        }
        let is_settled = rights.as_ref().is_some_and(|rights| rights.awaited == 0);
        let reader = state.subscribers.subscribe(selectors, rights);
        drop(state);
        if !is_settled {
            self.wanted.notify_one();
        }
        reader
    }

    /// Makes these the entries there are, and tells everyone whom that concerns.
    pub fn sync_entries(
        &self,
        entries: impl IntoIterator<Item = Arc<Entry>>,
        now: SystemTime,
    ) -> Changes {
        let mut state = self.lock();
        let changes = state.index.replace(entries);
        for entry in &changes.deleted {
            state.svids.forget(&entry.id);
        }
        for (_, entry) in &changes.updated {
            // Whatever the server had against it may be gone.
            state.svids.pardon(&entry.id);
        }
        if std::mem::replace(&mut state.is_synced, true) {
            state.tell(&changes.concerned(), now);
        } else {
            state.tell_all(now);
        }
        drop(state);
        self.synced.send_replace(true);
        self.wanted.notify_one();
        changes
    }

    /// Makes these the bundles there are, and tells everyone.
    pub fn sync_bundles(&self, bundles: BundleSet, now: SystemTime) {
        let mut state = self.lock();
        if state.bundles != bundles {
            state.bundles = bundles;
            state.tell_all(now);
        }
    }

    /// The entries as they are, for what compares them with the server's.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().index.iter().cloned().collect()
    }

    /// The bundles as they are.
    #[must_use]
    pub fn bundles(&self) -> BundleSet {
        self.lock().bundles.clone()
    }

    /// What is to be signed now, and room for it: SVIDs that nobody waits for go, the least used
    /// first, where there are more than the limit.
    pub fn work(&self, now: SystemTime) -> Work {
        self.lock().work(now)
    }

    /// Done when there may be new work.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Keeps what was signed, and tells everyone whom that concerns. What was signed for an entry
    /// that is gone or changed meanwhile is dropped.
    pub fn signed(
        &self,
        signed: impl IntoIterator<Item = (Arc<Entry>, X509Svid, SystemTime)>,
        now: SystemTime,
    ) {
        let mut state = self.lock();
        let mut kept = Vec::new();
        for (entry, svid, renew_at) in signed {
            if state.index.get(&entry.id).is_some() && *svid.id() == entry.body.spiffe_id {
                state.svids.put(&entry, svid, renew_at);
                kept.push(entry);
            }
        }
        state.tell(&kept, now);
    }

    /// Notes that the server would not sign for this entry: those who wait get the rest.
    pub fn refused(&self, entry: &Arc<Entry>, now: SystemTime) {
        let mut state = self.lock();
        state.svids.refuse(&entry.id, now);
        state.tell(std::slice::from_ref(entry), now);
    }

    /// Marks what these authorities signed as due, by their key IDs; tells how many SVIDs that are.
    pub fn taint(&self, authorities: &HashSet<Vec<u8>>) -> usize {
        let tainted = self.lock().svids.taint(authorities);
        if tainted > 0 {
            self.wanted.notify_one();
        }
        tainted
    }

    /// Takes everything back from everyone, for good.
    pub fn withdraw(&self, now: SystemTime) {
        let mut state = self.lock();
        state.index = Index::default();
        state.svids = Svids::default();
        state.is_synced = true;
        state.tell_all(now);
    }

    /// Done once something is known of what there is to give.
    pub async fn synced(&self) {
        // The sender is ours, so there is always an answer.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// For a workload that no entry matches: the entry that it comes nearest to.
    #[must_use]
    pub fn nearest(&self, selectors: &SelectorSet) -> Option<Nearest> {
        Nearest::of(selectors, &self.lock().index)
    }

    /// How many entries and SVIDs there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let state = self.lock();
        (state.index.len(), state.svids.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the state half changed: nothing in here can fail midway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rights(&self, selectors: &SelectorSet, now: SystemTime) -> Option<Rights> {
        self.is_synced.then(|| {
            let entries = self.index.matching(selectors);
            Rights::of(
                &entries,
                &self.svids,
                &self.bundles,
                &self.trust_domain,
                now,
            )
        })
    }

    fn tell(&self, concerned: &[Arc<Entry>], now: SystemTime) {
        self.subscribers
            .tell(concerned, |selectors| self.rights(selectors, now));
    }

    fn tell_all(&self, now: SystemTime) {
        self.subscribers
            .tell_all(|selectors| self.rights(selectors, now));
    }

    fn work(&mut self, now: SystemTime) -> Work {
        let pinned = self.pinned();
        self.svids.evict(self.limit, &pinned);
        let mut wanted: Vec<_> = self
            .index
            .iter()
            .filter(|entry| !entry.body.store_svid)
            .filter_map(|entry| {
                let urgency = match self.svids.need(entry, now)? {
                    Need::Missing if pinned.contains(&entry.id) => Urgency::Awaited,
                    Need::Due => Urgency::Due,
                    Need::Missing if entry.body.disable_x509_svid_prefetch => return None,
                    Need::Missing => Urgency::Prefetched,
                };
                Some((urgency, entry))
            })
            .collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| by_age(a.1, b.1)));
        let count = |urgency| wanted.iter().filter(|(its, _)| *its == urgency).count();
        let (awaited, due) = (count(Urgency::Awaited), count(Urgency::Due));
        let room = self.limit.saturating_sub(self.svids.len() + awaited);
        wanted.truncate(awaited + due + room);
        Work {
            entries: wanted.into_iter().map(|(_, entry)| entry.clone()).collect(),
            next: self.svids.next(now),
        }
    }

    /// The entries whose SVIDs somebody waits for.
    fn pinned(&self) -> HashSet<EntryId> {
        let live = self.subscribers.live();
        live.flat_map(|selectors| self.index.matching(selectors))
            .map(|entry| entry.id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
