//! Registration entries: made, changed, listed and deleted, under the rules of the trust domain.

mod rules;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

use spiffe_core::clock::Clock;
use spiffe_core::{SpiffeId, TrustDomain};

use crate::domain::{Entry, EntryFilter, EntryId, Fault, Kind, NewEntry, Page, Paged};
use crate::server::store::{Created, EntryStore, StoreError};

pub use rules::RuleError;

/// The registration entries of a trust domain.
pub struct Entries {
    trust_domain: TrustDomain,
    store: Arc<dyn EntryStore>,
    clock: Arc<dyn Clock>,
}

impl Entries {
    /// The entries that this store holds.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        store: Arc<dyn EntryStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            trust_domain,
            store,
            clock,
        }
    }

    /// Makes entries, and tells of each what came of it, in order. An entry that says the same as
    /// one that is there is not made; the one that is there is returned.
    ///
    /// # Errors
    ///
    /// Where the store fails; then none of them was made.
    pub async fn create(
        &self,
        entries: Vec<NewEntry>,
    ) -> Result<Vec<Result<MadeEntry, EntriesError>>, EntriesError> {
        let (mut good, mut verdicts) = (Vec::new(), Vec::new());
        for entry in entries {
            let verdict = self.check(&entry);
            if verdict.is_ok() {
                good.push(entry);
            }
            verdicts.push(verdict);
        }
        let created = self.store.create_entries(good, self.clock.now()).await?;
        let mut created = created.into_iter();
        let outcomes = verdicts.into_iter().map(|verdict| {
            verdict?;
            match created.next() {
                Some(Created::New(entry)) => Ok(MadeEntry::New(entry)),
                Some(Created::Existing(entry)) => Ok(MadeEntry::Similar(entry)),
                Some(Created::IdTaken) => Err(EntriesError::IdTaken),
                Some(Created::NoBundle(of)) => Err(StoreError::NoBundle(of).into()),
                None => Err(EntriesError::Unanswered),
            }
        });
        Ok(outcomes.collect())
    }

    /// Changes an entry. `change` makes what it is to say out of what it says; it is asked again
    /// where somebody else was quicker.
    ///
    /// # Errors
    ///
    /// Where there is no such entry, the change is refused, or the store fails.
    pub async fn update<E>(
        &self,
        id: &EntryId,
        change: impl Fn(NewEntry) -> Result<NewEntry, E> + Send + Sync,
    ) -> Result<Entry, E>
    where
        E: From<EntriesError> + Send,
    {
        let mut tries = 0;
        loop {
            let current = self.find(id).await?;
            let body = change(current.body.clone())?;
            self.check(&body)?;
            let changed = Entry {
                body: NewEntry { id: None, ..body },
                ..current
            };
            match self.store.replace_entry(changed).await {
                Err(StoreError::Conflict) if tries < MAX_TRIES => tries += 1,
                outcome => return Ok(outcome.map_err(EntriesError::from)?),
            }
        }
    }

    /// The entry of this ID.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn find(&self, id: &EntryId) -> Result<Entry, EntriesError> {
        let found = self.store.find_entry(id).await?;
        found.ok_or(EntriesError::NotFound)
    }

    /// A page of the entries that pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn list(
        &self,
        filter: &EntryFilter,
        page: &Page,
    ) -> Result<Paged<Entry>, EntriesError> {
        Ok(self.store.list_entries(filter, page).await?)
    }

    /// How many entries pass the filter.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn count(&self, filter: &EntryFilter) -> Result<u64, EntriesError> {
        Ok(self.store.count_entries(filter).await?)
    }

    /// Deletes an entry.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn delete(&self, id: &EntryId) -> Result<Entry, EntriesError> {
        let deleted = self.store.delete_entry(id).await?;
        deleted.ok_or(EntriesError::NotFound)
    }

    /// What the entries of an identity make of it, besides a workload.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn rights(&self, id: &SpiffeId) -> Result<Rights, EntriesError> {
        let filter = EntryFilter {
            spiffe_id: Some(id.clone()),
            ..EntryFilter::default()
        };
        let now = self.clock.now();
        let entries = self.store.list_entries(&filter, &Page::ALL).await?.items;
        let live = entries.iter().filter(|entry| !entry.has_ended(now));
        Ok(live.fold(Rights::default(), |rights, entry| Rights {
            admin: rights.admin || entry.body.admin,
            downstream: rights.downstream || entry.body.downstream,
        }))
    }

    fn check(&self, entry: &NewEntry) -> Result<(), EntriesError> {
        rules::check(entry, &self.trust_domain).map_err(EntriesError::Rule)
    }
}

/// What came of making an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeEntry {
    /// It was made.
    New(Entry),
    /// There is one with the same parent, ID and selectors: this one.
    Similar(Entry),
}

/// What an identity is, besides a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// It may administer the server.
    pub admin: bool,
    /// It is a server below this one.
    pub downstream: bool,
}

/// Why an entry was not made, found or changed. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// Another entry has the ID that was asked for.
    #[error("an entry with this ID exists already")]
    IdTaken,
    /// There is no entry of this ID.
    #[error("entry not found")]
    NotFound,
    /// The entry breaks a rule.
    #[error("failed to convert entry")]
    Rule(#[source] RuleError),
    /// The store failed.
    #[error("the entry could not be stored or read")]
    Store(#[from] StoreError),
    /// The store told of fewer entries than it was given.
    #[error("the store did not say what came of an entry")]
    Unanswered,
}

impl Fault for EntriesError {
    fn kind(&self) -> Kind {
        match self {
            Self::IdTaken => Kind::AlreadyExists,
            Self::Rule(_) => Kind::Invalid,
            Self::NotFound => Kind::NotFound,
            Self::Store(error) => error.kind(),
            Self::Unanswered => Kind::Internal,
        }
    }
}

/// How often a change is tried again when others change the same entry.
const MAX_TRIES: usize = 8;
