//! Registration entries: which workload, found by which selectors, gets which ID.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use spiffe_core::{SpiffeId, TrustDomain};

use super::SelectorSet;

/// What an entry says, before the store has given it an ID and a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The ID to use, where the caller chose one.
    pub id: Option<EntryId>,
    /// The identity that a matching workload gets.
    pub spiffe_id: SpiffeId,
    /// The agent, or the node alias, whose workloads it is for.
    pub parent_id: SpiffeId,
    /// All of these must be found on the workload. Never empty.
    pub selectors: SelectorSet,
    /// The lifetime of its X.509-SVIDs; the server's default where there is none.
    pub x509_svid_ttl: Option<Duration>,
    /// The lifetime of its JWT-SVIDs; the server's default where there is none.
    pub jwt_svid_ttl: Option<Duration>,
    /// The foreign trust domains whose bundles the workload gets.
    pub federates_with: BTreeSet<TrustDomain>,
    /// Whether it may administer the server.
    pub admin: bool,
    /// Whether it is a server below this one.
    pub downstream: bool,
    /// When the entry ends, if ever.
    pub expires_at: Option<SystemTime>,
    /// DNS names for its X.509-SVIDs, in this order; the first one is also the common name.
    pub dns_names: Vec<String>,
    /// Whether the SVID goes to a store and not to the Workload API.
    pub store_svid: bool,
    /// What the workload may tell its identities apart by.
    pub hint: Hint,
    /// Whether agents sign its X.509-SVID only when it is asked for.
    pub disable_x509_svid_prefetch: bool,
    /// Whether its JWT-SVIDs carry a `jti`.
    pub jwt_svid_include_jti: bool,
}

impl NewEntry {
    /// An entry that says no more than it has to.
    #[must_use]
    pub fn new(spiffe_id: SpiffeId, parent_id: SpiffeId, selectors: SelectorSet) -> Self {
        Self {
            id: None,
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl: None,
            jwt_svid_ttl: None,
            federates_with: BTreeSet::new(),
            admin: false,
            downstream: false,
            expires_at: None,
            dns_names: Vec::new(),
            store_svid: false,
            hint: Hint::default(),
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        }
    }
}

/// An entry as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its ID.
    pub id: EntryId,
    /// How often it was changed.
    pub revision: Revision,
    /// When it was made, to the second.
    pub created_at: SystemTime,
    /// What it says; `body.id` is `None` here, the ID stands above.
    pub body: NewEntry,
}

impl Entry {
    /// Whether it has come to its end. It is pruned only now and then, and means nothing meanwhile.
    #[must_use]
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.body.expires_at.is_some_and(|end| end <= now)
    }
}

/// How often an entry was changed: 0 when made, one more with every update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub i64);

/// The ID of an entry: at most 255 bytes of letters, digits, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Box<str>);

impl EntryId {
    /// A new random ID.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string().into())
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<Self, EntryIdError> {
        if text.is_empty() {
            return Err(EntryIdError::Empty);
        }
        if text.len() > 255 {
            return Err(EntryIdError::TooLong);
        }
        if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        {
            return Err(EntryIdError::Character);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the ID of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryIdError {
    /// It holds something other than letters, digits, `.`, `-` and `_`.
    #[error("entry ID contains invalid characters")]
    Character,
    /// There is no text.
    #[error("missing entry ID")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("entry ID too long")]
    TooLong,
}

/// A hint: at most 1024 bytes (SPIFFE Workload API section 8); often empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hint(Box<str>);

impl Hint {
    /// The longest hint, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// This hint, or `None` where it is too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= Self::MAX_LEN).then(|| Self(text.into()))
    }

    /// The hint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_id_is_bounded_and_plain() {
        assert!(EntryId::random().as_str().parse::<EntryId>().is_ok());
        for (text, why) in [
            (String::new(), EntryIdError::Empty),
            ("a".repeat(256), EntryIdError::TooLong),
            ("a/b".to_owned(), EntryIdError::Character),
            ("a b".to_owned(), EntryIdError::Character),
        ] {
            assert_eq!(text.parse::<EntryId>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_hint_of_1024_bytes_is_taken_and_no_longer_one() {
        assert!(Hint::new(&"a".repeat(1024)).is_some());
        assert!(Hint::new(&"a".repeat(1025)).is_none());
    }
}
