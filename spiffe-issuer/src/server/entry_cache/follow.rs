//! Following the store: all of it is read once, and then what changes.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use tracing::{info, warn};

use super::index::Index;
use super::{EntryCache, Snapshot};
use crate::domain::{EntryFilter, EntryId, Fault, Kind, NodeFilter, Page};
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};
use crate::server::store::{Change, Changed, FeedRevision, SharedStore, StoreError};

/// Keeps an [`EntryCache`] up with the store. Each cache has one.
pub struct Follower {
    store: SharedStore,
    cache: Arc<EntryCache>,
    trust_domain: TrustDomain,
    server: SpiffeId,
    /// What the next snapshot is made of; ahead of the present one only while changes are applied.
    index: Index,
    revision: FeedRevision,
    /// The store was behind, so what it tells of later revisions is not what we missed.
    is_behind: bool,
}

impl Follower {
    /// Reads all entries and nodes. The cache can be asked once this returns.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn load(store: SharedStore, trust_domain: &TrustDomain) -> Result<Self, CacheError> {
        let server = SpiffeId::from_segments(trust_domain, ["spire", "server"])?;
        let index = Index::new(trust_domain.clone(), server.clone(), 0);
        let revision = FeedRevision::default();
        let mut follower = Self {
            store,
            cache: EntryCache::new(Snapshot {
                revision,
                index: index.clone(),
            }),
            trust_domain: trust_domain.clone(),
            server,
            index,
            revision,
            is_behind: false,
        };
        follower.load_all().await?;
        Ok(follower)
    }

    /// The cache that is kept up.
    #[must_use]
    pub fn cache(&self) -> Arc<EntryCache> {
        Arc::clone(&self.cache)
    }

    /// Looks for changes until it is told to stop. While the store is away, the cache stays as it is.
    ///
    /// # Errors
    ///
    /// None: a failure is tried again.
    pub async fn run(
        mut self,
        clock: Arc<dyn Clock>,
        mut part: Part,
        stop: Shutdown,
    ) -> Result<(), TaskError> {
        let mut bell = self.store.bell();
        loop {
            match self.tick().await {
                Ok(()) => part.succeeded(),
                Err(failure) => {
                    part.failed(&failure);
                    let failure: &dyn Error = &failure;
                    warn!(error = failure, "Unable to follow the changes of entries");
                }
            }
            let next = clock.now() + LOOK_EVERY;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = bell.rung() => {}
                () = sleep_until(&*clock, next) => {}
            }
        }
    }

    /// Brings the cache up to what the store has now.
    ///
    /// # Errors
    ///
    /// Where the store fails, or is behind the cache.
    pub async fn tick(&mut self) -> Result<(), CacheError> {
        if self.is_behind {
            // Once it has caught up, all is read anew: its changes are others than those we know.
            self.still_ahead().await?;
            self.load_all().await?;
            self.is_behind = false;
        }
        loop {
            match self.store.changes_since(self.revision, BATCH).await {
                Ok(changes) if changes.is_empty() => return self.still_ahead().await,
                Ok(changes) => self.apply(&changes).await?,
                Err(StoreError::FeedPruned) => self.load_all().await?,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// A store that was put back to an older state says nothing new for a long time, and then tells
    /// revisions that we have seen with other changes in them. That has to be noticed.
    async fn still_ahead(&mut self) -> Result<(), CacheError> {
        let found = self.store.latest_revision().await?;
        if found < self.revision {
            self.is_behind = true;
            return Err(CacheError::Backwards {
                present: self.revision,
                found,
            });
        }
        Ok(())
    }

    /// Applies changes by reading what they are about as it is now: that may be later than the
    /// change, and then the later change finds nothing left to do.
    async fn apply(&mut self, changes: &[Change]) -> Result<(), CacheError> {
        let Some(last) = changes.last() else {
            return Ok(());
        };
        // A copy, so that a failure half-way leaves nothing behind.
        let mut index = self.index.clone();
        let mut done = HashSet::new();
        for change in changes {
            match &change.subject {
                Changed::Entry(id) if done.insert(id.as_str()) => {
                    self.refresh_entry(&mut index, id).await?;
                }
                Changed::Node(id) if done.insert(id.as_str()) => {
                    self.refresh_node(&mut index, id).await?;
                }
                Changed::Bundle(_)
                | Changed::Entry(_)
                | Changed::Node(_)
                | Changed::Relationship(_) => {}
            }
        }
        self.publish(index, last.revision)
    }

    async fn refresh_entry(&self, index: &mut Index, id: &EntryId) -> Result<(), CacheError> {
        match self.store.find_entry(id).await? {
            Some(entry) => index.put_entry(entry),
            None => index.remove_entry(id),
        }
        Ok(())
    }

    async fn refresh_node(&self, index: &mut Index, id: &SpiffeId) -> Result<(), CacheError> {
        match self.store.find_node(id).await? {
            Some(node) => index.put_node(node),
            None => index.remove_node(id),
        }
        Ok(())
    }

    /// Reads everything anew. The revision is read first: what changes meanwhile is seen again.
    async fn load_all(&mut self) -> Result<(), CacheError> {
        let revision = self.store.latest_revision().await?;
        let mut index = Index::new(
            self.trust_domain.clone(),
            self.server.clone(),
            self.index.shape(),
        );
        let mut page = Page::first(PAGE);
        loop {
            let nodes = self.store.list_nodes(&NodeFilter::default(), &page).await?;
            nodes
                .items
                .into_iter()
                .for_each(|node| index.put_node(node));
            let Some(next) = nodes.next else { break };
            page = Page::after(next, PAGE);
        }
        let mut page = Page::first(PAGE);
        loop {
            let filter = EntryFilter::default();
            let entries = self.store.list_entries(&filter, &page).await?;
            let entries_read = entries.items.into_iter();
            entries_read.for_each(|entry| index.put_entry(entry));
            let Some(next) = entries.next else { break };
            page = Page::after(next, PAGE);
        }
        info!(
            entries = index.entries(),
            nodes = index.nodes(),
            %revision,
            "Entries loaded"
        );
        self.publish(index, revision)
    }

    fn publish(&mut self, index: Index, revision: FeedRevision) -> Result<(), CacheError> {
        self.cache.publish(Snapshot {
            revision,
            index: index.clone(),
        })?;
        self.index = index;
        self.revision = revision;
        Ok(())
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Why the cache did not follow the store; it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The store is behind what was read of it before: a backup was put back under a running
    /// server, or a replica lags.
    #[error("the store is at revision {found}, behind {present} which was read of it before")]
    Backwards {
        /// The revision that the cache has.
        present: FeedRevision,
        /// The revision that the store has.
        found: FeedRevision,
    },
    /// No ID can be made of the trust domain.
    #[error("naming the server")]
    Id(#[from] IdError),
    /// The store failed.
    #[error("reading entries and nodes")]
    Store(#[from] StoreError),
}

impl Fault for CacheError {
    fn kind(&self) -> Kind {
        match self {
            Self::Backwards { .. } | Self::Id(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}

/// How often to look for changes. Looking costs one query that an index answers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many changes make one snapshot.
const BATCH: usize = 1000;

/// How many entries or nodes are read at a time.
const PAGE: usize = 10_000;
