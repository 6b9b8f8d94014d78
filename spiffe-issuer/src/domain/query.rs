//! What is asked for: which entries or nodes, and which page of them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use spiffe_core::{SpiffeId, TrustDomain};

use super::{AuthorityId, Hint, SelectorSet};

/// Which entries; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Those that give this identity.
    pub spiffe_id: Option<SpiffeId>,
    /// Those below this parent.
    pub parent_id: Option<SpiffeId>,
    /// Those whose selectors match.
    pub selectors: Option<Matching<SelectorSet>>,
    /// Those whose federated trust domains match.
    pub federates_with: Option<Matching<BTreeSet<TrustDomain>>>,
    /// Those with this hint.
    pub hint: Option<Hint>,
    /// Those that are, or are not, for a server below this one.
    pub downstream: Option<bool>,
}

/// Which nodes; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Those attested in this way.
    pub attestation_type: Option<String>,
    /// Those whose selectors match.
    pub selectors: Option<Matching<SelectorSet>>,
    /// Those that are, or are not, banned.
    pub banned: Option<bool>,
    /// Those that can, or cannot, attest again.
    pub can_reattest: Option<bool>,
    /// Those whose SVID ends before this time.
    pub expires_before: Option<SystemTime>,
    /// Those that may hold an SVID of this authority which has not ended at this time.
    pub holds: Option<(AuthorityId, SystemTime)>,
}

/// A set to compare with, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching<S> {
    /// The set that was asked for.
    pub set: S,
    /// How what is stored compares with it.
    pub how: Match,
}

/// How a stored set compares with the one asked for. A stored set that is empty matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// They have something in common.
    Any,
    /// They are the same.
    Exact,
    /// All that is stored was asked for.
    Subset,
    /// All that was asked for is stored.
    Superset,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// How many items at the most. Nothing is set aside for them, so a huge number costs nothing.
    pub limit: usize,
}

impl Page {
    /// The whole list.
    pub const ALL: Self = Self {
        after: None,
        limit: usize::MAX,
    };

    /// The first items, so many at the most.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// The items after this place, so many at the most.
    #[must_use]
    pub const fn after(cursor: Cursor, limit: usize) -> Self {
        Self {
            after: Some(cursor),
            limit,
        }
    }
}

/// Items of a list, and where the next page begins, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

/// A place in a list that stays valid while the list changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(crate) i64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        text.parse().map(Self).map_err(|_| CursorError)
    }
}

/// A text that is no place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("could not parse token")]
pub struct CursorError;
