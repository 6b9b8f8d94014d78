//! What goes into the store and comes out of it, beside what the domain speaks of.

use std::fmt;
use std::time::SystemTime;

use spiffe_core::{SpiffeId, TrustDomain};

use crate::domain::{AuthorityId, EntryId, Relationship};

pub use crate::domain::{AuthorityList, Bundle as StoredBundle, Dissolve, X509Authority};

/// What came of making something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<T> {
    /// There is one that says the same: this one.
    Existing(T),
    /// Another one has the ID that was asked for.
    IdTaken,
    /// It was made.
    New(T),
    /// It would federate with this trust domain, whose bundle is not here.
    NoBundle(TrustDomain),
}

/// A join token, but for the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// When it ends.
    pub expires_at: SystemTime,
    /// The ID that the node it lets in also gets.
    pub agent_id: Option<SpiffeId>,
}

/// What has to be there before a bundle is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing: it must be new.
    Create,
    /// Anything but a newer bundle. One with a lower sequence number is refused where it says
    /// something else, and changes nothing where it says the same; 0 is no number.
    Newer,
    /// A bundle of that trust domain.
    Replace,
    /// Either.
    Set,
}

/// A federation relationship as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelationship {
    /// What was agreed.
    pub relationship: Relationship,
    /// How it goes.
    pub status: FetchStatus,
}

/// How the fetching of a bundle goes. Nothing is known of a relationship that is new or was changed:
/// its bundle is to be fetched at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// When it was last tried.
    pub tried_at: Option<SystemTime>,
    /// When it last succeeded.
    pub succeeded_at: Option<SystemTime>,
    /// Why it did not when it was last tried.
    pub failure: Option<String>,
    /// When it will be tried next.
    pub next_at: Option<SystemTime>,
}

/// Which journal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub i64);

/// A journal as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJournal {
    /// Which one it is.
    pub id: JournalId,
    /// What it says.
    pub body: Vec<u8>,
}

/// A journal to be written.
#[derive(Debug, Clone, Copy)]
pub struct JournalWrite<'a> {
    /// Which one; a new one where there is none.
    pub id: Option<JournalId>,
    /// The authority it is found by: the active one.
    pub found_by: &'a AuthorityId,
    /// What it says.
    pub body: &'a [u8],
    /// Our trust domain, whose bundle gets what is published.
    pub trust_domain: &'a TrustDomain,
    /// The authorities that become known by this step.
    pub publishes: &'a AuthorityList,
}

/// How far the feed has come: 0 before the first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeedRevision(pub i64);

impl fmt::Display for FeedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the feed.
    pub revision: FeedRevision,
    /// What was made, changed or deleted.
    pub subject: Changed,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// A trust bundle.
    Bundle(TrustDomain),
    /// A registration entry.
    Entry(EntryId),
    /// An attested node.
    Node(SpiffeId),
    /// A federation relationship, or how it goes.
    Relationship(TrustDomain),
}
