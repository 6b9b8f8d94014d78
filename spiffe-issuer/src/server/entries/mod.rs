//! Registration entries: made, changed, listed and deleted, under the rules of the trust domain.

mod rules;

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

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use spiffe_core::clock::SystemClock;
    use spiffe_core::spiffe_id;

    use super::*;
    use crate::domain::{Revision, SelectorSet};
    use crate::server::store::sql::SqlStore;

    /// An entry that breaks no rule in the trust domain `td`.
    pub(in crate::server) fn entry() -> NewEntry {
        NewEntry::new(
            spiffe_id!("spiffe://td/workload"),
            spiffe_id!("spiffe://td/spire/agent/join_token/a"),
            SelectorSet::from(["unix:uid:1".parse().unwrap()]),
        )
    }

    async fn entries() -> (Entries, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store = Arc::new(SqlStore::open(&at).await.unwrap());
        let td = TrustDomain::from_static("td");
        (Entries::new(td, store, Arc::new(SystemClock)), dir)
    }

    async fn made(entries: &Entries, entry: NewEntry) -> Entry {
        match entries.create(vec![entry]).await.unwrap().remove(0) {
            Ok(MadeEntry::New(entry)) => entry,
            other => panic!("not made: {other:?}"),
        }
    }

    #[tokio::test]
    async fn of_a_batch_each_entry_is_told_its_own_outcome() {
        let (entries, _dir) = entries().await;
        let chosen = |id: &str, path: &str| NewEntry {
            id: Some(id.parse().unwrap()),
            spiffe_id: format!("spiffe://td{path}").parse().unwrap(),
            ..entry()
        };
        let foreign = NewEntry {
            spiffe_id: spiffe_id!("spiffe://other/a"),
            ..entry()
        };
        let federated = NewEntry {
            federates_with: BTreeSet::from([TrustDomain::from_static("other")]),
            ..chosen("f", "/f")
        };
        let outcomes = entries
            .create(vec![
                chosen("a", "/a"),
                foreign,
                chosen("b", "/a"),
                chosen("a", "/b"),
                federated,
                chosen("c", "/c"),
            ])
            .await
            .unwrap();
        let [first, foreign, similar, taken, federated, last] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert!(matches!(first, Ok(MadeEntry::New(e)) if e.id.as_str() == "a"));
        assert!(matches!(foreign, Err(EntriesError::Rule(_))), "{foreign:?}");
        assert!(matches!(similar, Ok(MadeEntry::Similar(e)) if e.id.as_str() == "a"));
        assert!(matches!(taken, Err(EntriesError::IdTaken)), "{taken:?}");
        let federated = federated.as_ref().unwrap_err();
        assert_eq!(federated.kind(), Kind::Invalid, "{federated:?}");
        assert!(matches!(last, Ok(MadeEntry::New(e)) if e.id.as_str() == "c"));
        assert_eq!(entries.count(&EntryFilter::default()).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_update_raises_the_revision_and_keeps_to_the_rules() {
        let (entries, _dir) = entries().await;
        let id = made(&entries, entry()).await.id;
        let change = |admin| {
            move |body| -> Result<NewEntry, EntriesError> { Ok(NewEntry { admin, ..body }) }
        };
        let updated = entries.update(&id, change(true)).await.unwrap();
        assert_eq!((updated.revision, updated.body.admin), (Revision(1), true));

        let spoil = |body| -> Result<NewEntry, EntriesError> {
            Ok(NewEntry {
                parent_id: spiffe_id!("spiffe://other/a"),
                ..body
            })
        };
        let refused = entries.update(&id, spoil).await.unwrap_err();
        assert!(matches!(refused, EntriesError::Rule(_)), "{refused:?}");
        assert_eq!(entries.find(&id).await.unwrap(), updated);
    }

    #[tokio::test]
    async fn updates_at_the_same_time_all_count() {
        let (entries, _dir) = entries().await;
        let id = made(&entries, entry()).await.id;
        let name = |name: &'static str| {
            move |body: NewEntry| -> Result<NewEntry, EntriesError> {
                let mut dns_names = body.dns_names.clone();
                dns_names.push(name.to_owned());
                Ok(NewEntry { dns_names, ..body })
            }
        };
        let (a, b, c) = tokio::join!(
            entries.update(&id, name("a")),
            entries.update(&id, name("b")),
            entries.update(&id, name("c")),
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        let names: BTreeSet<_> = entries
            .find(&id)
            .await
            .unwrap()
            .body
            .dns_names
            .into_iter()
            .collect();
        assert_eq!(names, ["a", "b", "c"].map(str::to_owned).into());
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let (entries, _dir) = entries().await;
        let id = EntryId::random();
        let keep = |body| -> Result<NewEntry, EntriesError> { Ok(body) };
        for refused in [
            entries.find(&id).await.unwrap_err(),
            entries.delete(&id).await.unwrap_err(),
            entries.update(&id, keep).await.unwrap_err(),
        ] {
            assert!(matches!(refused, EntriesError::NotFound), "{refused:?}");
        }
        let made = made(&entries, entry()).await;
        assert_eq!(entries.delete(&made.id).await.unwrap(), made);
    }

    #[tokio::test]
    async fn rights_are_those_of_all_entries_that_have_not_ended() {
        let (entries, _dir) = entries().await;
        let id = entry().spiffe_id;
        assert_eq!(entries.rights(&id).await.unwrap(), Rights::default());
        let below = |parent: &str| NewEntry {
            parent_id: format!("spiffe://td/{parent}").parse().unwrap(),
            ..entry()
        };
        made(
            &entries,
            NewEntry {
                admin: true,
                expires_at: Some(SystemTime::UNIX_EPOCH),
                ..below("a")
            },
        )
        .await;
        assert_eq!(entries.rights(&id).await.unwrap(), Rights::default());
        for (parent, admin, downstream) in [("b", true, false), ("c", false, true)] {
            made(
                &entries,
                NewEntry {
                    admin,
                    downstream,
                    ..below(parent)
                },
            )
            .await;
        }
        let all = Rights {
            admin: true,
            downstream: true,
        };
        assert_eq!(entries.rights(&id).await.unwrap(), all);
    }
}
