//! What the server remembers. Each method is one transaction: what must happen together is one
//! method, and what a method returned without an error is on disk.

mod error;
mod records;
pub mod sql;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use spiffe_core::{SpiffeId, TrustDomain};

pub use error::{Location, StoreError};
pub use records::{
    AuthorityList, Change, Changed, Created, Dissolve, FeedRevision, FetchStatus, JournalId,
    JournalWrite, Put, StoredBundle, StoredJournal, StoredRelationship, TokenRecord, X509Authority,
};

use crate::domain::{
    AttestedNode, AuthorityId, AuthorityKind, Entry, EntryFilter, EntryId, NewEntry, NodeFilter,
    NodeSvid, Page, Paged, Relationship, Serial, TokenHash,
};

/// Registration entries.
#[async_trait]
pub trait EntryStore: Send + Sync + 'static {
    /// Makes entries in one transaction, and tells of each what came of it, in order.
    ///
    /// # Errors
    ///
    /// Where the store fails; then none of them was made.
    async fn create_entries(
        &self,
        entries: Vec<NewEntry>,
        now: SystemTime,
    ) -> Result<Vec<Created<Entry>>, StoreError>;

    /// The entry of this ID.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError>;

    /// A page of the entries that pass the filter, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn list_entries(
        &self,
        filter: &EntryFilter,
        page: &Page,
    ) -> Result<Paged<Entry>, StoreError>;

    /// How many entries pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, StoreError>;

    /// Puts a changed body in the place of the entry's, and returns the entry with its new revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] where the entry is no longer at the revision that it was read at,
    /// [`StoreError::NotFound`] where it is gone, [`StoreError::NoBundle`] where it would federate
    /// with a trust domain whose bundle is not here.
    async fn replace_entry(&self, entry: Entry) -> Result<Entry, StoreError>;

    /// Deletes an entry and returns what it was, if it was there.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn delete_entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError>;

    /// Deletes the entries that ended before `now`, at most `limit` of them, and returns them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn prune_entries(&self, now: SystemTime, limit: usize) -> Result<Vec<Entry>, StoreError>;
}

/// Attested nodes.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Lets a node in, all at once or not at all: spends the token, records the node with its
    /// selectors, and makes the alias entry where the token carries an agent ID.
    ///
    /// A node that is known keeps its serial number, and gets `node.serial` in its `renewed` slot: it
    /// becomes the current one at first use, so a lost answer locks no one out.
    ///
    /// # Errors
    ///
    /// [`StoreError::TokenUnknown`] and [`StoreError::TokenExpired`] for the token,
    /// [`StoreError::NodeBanned`] where the node is banned.
    async fn admit(
        &self,
        node: AttestedNode,
        spends: Option<TokenHash>,
        now: SystemTime,
    ) -> Result<AttestedNode, StoreError>;

    /// Puts an SVID into the node's `renewed` slot.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is no such node, [`StoreError::NodeBanned`].
    async fn renew_node(&self, id: &SpiffeId, svid: NodeSvid) -> Result<(), StoreError>;

    /// Makes the renewed serial number the current one, if it still is the renewed one, and returns
    /// the node as it is then.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is no such node.
    async fn activate_renewed(
        &self,
        id: &SpiffeId,
        serial: &Serial,
    ) -> Result<AttestedNode, StoreError>;

    /// Records the version that the agent told.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is no such node.
    async fn set_agent_version(&self, id: &SpiffeId, version: &str) -> Result<(), StoreError>;

    /// Bans a node: it stays known, and nothing it holds is good any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is no such node.
    async fn ban_node(&self, id: &SpiffeId) -> Result<(), StoreError>;

    /// Forgets a node, with the alias entry that its token made, and returns what it was.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn delete_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, StoreError>;

    /// The node of this ID.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_node(&self, id: &SpiffeId) -> Result<Option<AttestedNode>, StoreError>;

    /// A page of the nodes that pass the filter, in the order in which they were first admitted.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn list_nodes(
        &self,
        filter: &NodeFilter,
        page: &Page,
    ) -> Result<Paged<AttestedNode>, StoreError>;

    /// How many nodes pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn count_nodes(&self, filter: &NodeFilter) -> Result<u64, StoreError>;
}

/// Join tokens. The store knows them by their hash only.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// Records a token. With an agent ID, admitting a node with it also makes the entry that gives
    /// the node this ID.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] where this token is known already.
    async fn create_token(&self, token: &TokenHash, record: TokenRecord) -> Result<(), StoreError>;

    /// Looks a token up, and changes nothing.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_token(&self, token: &TokenHash) -> Result<Option<TokenRecord>, StoreError>;

    /// Forgets the tokens that ended before `now`, and returns how many those were.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn prune_tokens(&self, now: SystemTime) -> Result<u64, StoreError>;
}

/// Trust bundles: our own, and those of foreign trust domains.
#[async_trait]
pub trait BundleStore: Send + Sync + 'static {
    /// The bundle of this trust domain.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_bundle(&self, of: &TrustDomain) -> Result<Option<StoredBundle>, StoreError>;

    /// A page of all bundles, our own among them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn list_bundles(&self, page: &Page) -> Result<Paged<StoredBundle>, StoreError>;

    /// How many bundles there are, our own among them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn count_bundles(&self) -> Result<u64, StoreError>;

    /// Stores a bundle as it is, with the sequence number it has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`], [`StoreError::NotFound`] and [`StoreError::Rollback`] where `how` is not
    /// met.
    async fn put_bundle(&self, bundle: StoredBundle, how: Put) -> Result<(), StoreError>;

    /// Adds the authorities that the bundle does not have yet, making the bundle where there is
    /// none, and returns it. Its sequence number rises if there was something to add.
    ///
    /// # Errors
    ///
    /// [`StoreError::KeyIdTaken`] where the bundle has another key of one of the key IDs.
    async fn append_authorities(
        &self,
        to: &TrustDomain,
        authorities: &AuthorityList,
    ) -> Result<StoredBundle, StoreError>;

    /// Marks an authority: what it signed is to be replaced. The sequence number rises.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoAuthority`] where the bundle has no such one ([`StoreError::NoRootToTaint`] for
    /// X.509), [`StoreError::AlreadyTainted`].
    async fn taint_authority(
        &self,
        of: &TrustDomain,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<(), StoreError>;

    /// Takes out a tainted authority: what it signed is good no more. The sequence number rises.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoAuthority`] where the bundle has no such one, [`StoreError::Untainted`].
    async fn revoke_authority(
        &self,
        of: &TrustDomain,
        kind: AuthorityKind,
        id: &AuthorityId,
    ) -> Result<(), StoreError>;

    /// Takes out the authorities that expired before this time, but never all of one kind. The
    /// sequence number rises if any went; those are returned.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn prune_authorities(
        &self,
        of: &TrustDomain,
        expired_before: SystemTime,
    ) -> Result<AuthorityList, StoreError>;

    /// Deletes a bundle and returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] where entries federate with it and `how` is [`Dissolve::Restrict`].
    async fn delete_bundle(&self, of: &TrustDomain, how: Dissolve) -> Result<bool, StoreError>;
}

/// Federation relationships: with whom bundles are exchanged, and how that goes.
#[async_trait]
pub trait FederationStore: Send + Sync + 'static {
    /// Records a relationship, of which nothing is known yet, and with it the bundle that the caller
    /// brought, in the place of any there is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] where there is one with this trust domain.
    async fn create_relationship(
        &self,
        relationship: &Relationship,
        bundle: Option<StoredBundle>,
    ) -> Result<(), StoreError>;

    /// The relationship with this trust domain.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_relationship(
        &self,
        with: &TrustDomain,
    ) -> Result<Option<StoredRelationship>, StoreError>;

    /// A page of the relationships, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn list_relationships(
        &self,
        page: &Page,
    ) -> Result<Paged<StoredRelationship>, StoreError>;

    /// Puts a changed relationship in the place of the one there is, and with it the bundle that the
    /// caller brought. Nothing is known of it then, so its bundle is fetched anew.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where there is none with this trust domain.
    async fn replace_relationship(
        &self,
        relationship: &Relationship,
        bundle: Option<StoredBundle>,
    ) -> Result<(), StoreError>;

    /// Deletes a relationship and returns whether it was there. The bundle stays: entries may federate
    /// with it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn delete_relationship(&self, with: &TrustDomain) -> Result<bool, StoreError>;

    /// Records what came of fetching the bundle by way of this relationship: the bundle, where there
    /// was one to be had ([`Put::Newer`]), and how it goes.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] and [`StoreError::Conflict`] where the relationship was deleted or
    /// changed meanwhile: what was fetched by way of the old one is not what is wanted now.
    /// [`StoreError::Rollback`] where the bundle is older than the one there is.
    async fn record_fetch(
        &self,
        by: &Relationship,
        bundle: Option<StoredBundle>,
        status: FetchStatus,
    ) -> Result<(), StoreError>;
}

/// The journal of this server's authorities. Each server that shares the store has its own, and
/// finds it by the keys it holds.
#[async_trait]
pub trait JournalStore: Send + Sync + 'static {
    /// The journal that names one of these authorities.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn find_journal(
        &self,
        authorities: &[AuthorityId],
    ) -> Result<Option<StoredJournal>, StoreError>;

    /// Writes the journal, and with it the authorities that the step it records makes known: a
    /// prepared authority is in the bundle and in the journal, or in neither. Without `id` it is a
    /// new journal.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] where the journal is gone.
    async fn write_journal(&self, journal: JournalWrite<'_>) -> Result<JournalId, StoreError>;
}

/// What changed, in the order in which it did.
///
/// The revision is a counter that is raised in the transaction that changes something. So there are
/// no gaps, and whoever has read up to a revision has seen all that was committed up to there.
#[async_trait]
pub trait ChangeFeed: Send + Sync + 'static {
    /// The revision of the latest change.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn latest_revision(&self) -> Result<FeedRevision, StoreError>;

    /// The changes after `last`, at most `limit` of them, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::FeedPruned`] where changes after `last` are no longer kept: read all anew.
    async fn changes_since(
        &self,
        last: FeedRevision,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError>;

    /// What rings when there is something new to read, so that nobody has to ask all the time.
    fn bell(&self) -> Box<dyn Bell>;

    /// Forgets all but the latest changes, so many of them, and returns how many went.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    async fn prune_changes(&self, keep: u64) -> Result<u64, StoreError>;
}

/// Rings when something has changed, whichever server wrote it.
///
/// It may ring for nothing, and while the store is away it does not ring at all: whoever relies on a
/// change asks now and then as well.
#[async_trait]
pub trait Bell: Send {
    /// Returns when it rings. Nothing is lost where the wait is given up.
    async fn rung(&mut self);
}

/// The end of a store.
#[async_trait]
pub trait CloseStore: Send + Sync + 'static {
    /// Finishes what is being written, and lets go of the files. Nothing can be asked after that.
    async fn close(&self);
}

/// All that the server remembers. An `Arc<dyn DataStore>` becomes the one trait that its owner needs.
pub trait DataStore:
    EntryStore
    + NodeStore
    + TokenStore
    + BundleStore
    + FederationStore
    + JournalStore
    + ChangeFeed
    + CloseStore
{
}

impl<T> DataStore for T where
    T: EntryStore
        + NodeStore
        + TokenStore
        + BundleStore
        + FederationStore
        + JournalStore
        + ChangeFeed
        + CloseStore
{
}

/// Any store, however it was chosen.
pub type SharedStore = Arc<dyn DataStore>;

/// A store that was chosen and is not open yet.
#[async_trait]
pub trait OpenStore: Send + Sync + 'static {
    /// Opens it, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, or was written by a newer version.
    async fn open(&self) -> Result<SharedStore, StoreError>;
}
