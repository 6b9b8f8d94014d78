//! Which entries an agent may have.
//!
//! Readers take a [`Snapshot`] and keep it for one request; it never changes under their hands. One
//! [`Follower`] reads the change feed, makes the next snapshot out of the present one, and puts it
//! in its place. A snapshot only ever gives way to a later one.

mod follow;
mod index;
mod sharded;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use spiffe_core::SpiffeId;

pub use follow::{CacheError, Follower};
use index::Index;

use crate::domain::{AttestedNode, Entry, EntryId, SelectorSet};
use crate::server::store::FeedRevision;

/// The entries and nodes of this moment, and who may have which.
#[derive(Debug)]
pub struct EntryCache {
    snapshot: ArcSwap<Snapshot>,
    /// What was found out about agents, for as long as the shape of the tree stays as it is.
    rights: Mutex<HashMap<SpiffeId, Rights>>,
}

/// All entries and nodes as of one revision of the store.
#[derive(Debug)]
pub struct Snapshot {
    revision: FeedRevision,
    index: Index,
}

/// What one agent may have, as of one snapshot.
#[derive(Debug, Clone)]
pub struct AgentEntries {
    snapshot: Arc<Snapshot>,
    parents: Arc<HashSet<SpiffeId>>,
}

/// The parents whose children an agent may have, and what that was concluded from.
#[derive(Debug)]
struct Rights {
    shape: u64,
    selectors: SelectorSet,
    parents: Arc<HashSet<SpiffeId>>,
}

impl EntryCache {
    fn new(snapshot: Snapshot) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            rights: Mutex::default(),
        })
    }

    /// The present entries and nodes.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What this agent may have at present.
    #[must_use]
    pub fn entries_of(&self, agent: &SpiffeId) -> AgentEntries {
        let snapshot = self.snapshot();
        let parents = self.parents(&snapshot, agent);
        AgentEntries { snapshot, parents }
    }

    fn parents(&self, snapshot: &Snapshot, agent: &SpiffeId) -> Arc<HashSet<SpiffeId>> {
        let index = &snapshot.index;
        let none = SelectorSet::new();
        let node = index.node(agent);
        let selectors = node.map_or(&none, |node| &node.selectors);
        let shape = index.shape();
        let mut known = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rights) = known.get(agent)
            && rights.shape == shape
            && rights.selectors == *selectors
        {
            return Arc::clone(&rights.parents);
        }
        let parents = Arc::new(index.parents(agent, selectors));
        // Whoever is no node gets an answer, and no place in memory.
        if node.is_some() {
            // Nodes that are gone leave their rights behind; now and then all start anew.
            if known.len() > index.nodes() + SPARE {
                known.clear();
            }
            let rights = Rights {
                shape,
                selectors: selectors.clone(),
                parents: Arc::clone(&parents),
            };
            known.insert(agent.clone(), rights);
        }
        parents
    }

    /// Puts a snapshot in the place of the present one, unless that is a later one.
    fn publish(&self, next: Snapshot) -> Result<(), CacheError> {
        let present = self.snapshot.load().revision;
        if next.revision < present {
            return Err(CacheError::Backwards {
                present,
                found: next.revision,
            });
        }
        self.snapshot.store(Arc::new(next));
        Ok(())
    }
}

/// How many agents' rights may outlive their nodes.
const SPARE: usize = 1024;

impl Snapshot {
    /// How far it has followed the store.
    #[must_use]
    pub fn revision(&self) -> FeedRevision {
        self.revision
    }

    /// The node of this ID.
    #[must_use]
    pub fn node(&self, id: &SpiffeId) -> Option<&Arc<AttestedNode>> {
        self.index.node(id)
    }

    /// The entries that give this identity, whose flags say what it may do.
    pub fn entries_giving(&self, id: &SpiffeId) -> impl Iterator<Item = &Arc<Entry>> {
        self.index.giving(id)
    }
}

impl AgentEntries {
    /// The entry of this ID, if the agent may have it.
    #[must_use]
    pub fn get(&self, id: &EntryId) -> Option<&Arc<Entry>> {
        let entry = self.snapshot.index.entry(id)?;
        self.parents
            .contains(&entry.body.parent_id)
            .then_some(entry)
    }

    /// All entries that the agent may have, each of them once.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let parents = self.parents.iter();
        parents.flat_map(|parent| self.snapshot.index.children(parent))
    }

    /// How far the snapshot that this was taken from has followed the store.
    #[must_use]
    pub fn revision(&self) -> FeedRevision {
        self.snapshot.revision
    }
}
