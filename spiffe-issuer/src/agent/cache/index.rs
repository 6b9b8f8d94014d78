//! Which entries a workload's selectors match: pure, and quick however many entries there are.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::{Entry, EntryId, Revision, Selector, SelectorSet};

/// The entries of this agent.
///
/// Each entry is filed under one of its selectors. A workload that matches the entry has that
/// selector too, so looking under each of the workload's selectors finds all matches; and because
/// an entry is filed where the fewest others are, a selector that many entries share (`k8s:ns:..`)
/// costs nothing.
#[derive(Debug, Default)]
pub struct Index {
    entries: HashMap<EntryId, Filed>,
    files: HashMap<Selector, Vec<Arc<Entry>>>,
}

#[derive(Debug)]
struct Filed {
    entry: Arc<Entry>,
    under: Selector,
    /// How many times in a row the server told an older state of it.
    doubts: u32,
}

/// What a new list of entries changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries that were not there before.
    pub created: Vec<Arc<Entry>>,
    /// Entries that say something else now: as they were, and as they are.
    pub updated: Vec<(Arc<Entry>, Arc<Entry>)>,
    /// Entries that are there no more.
    pub deleted: Vec<Arc<Entry>>,
}

impl Changes {
    /// Whether all is as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.deleted.is_empty()
    }

    /// Every entry that is concerned, as it was and as it is.
    #[must_use]
    pub fn concerned(&self) -> Vec<Arc<Entry>> {
        let updated = self.updated.iter().flat_map(|(old, new)| [old, new]);
        let all = self.created.iter().chain(&self.deleted).chain(updated);
        all.cloned().collect()
    }
}

impl Filed {
    /// The entry as it was, where this one is to take its place.
    fn give_way_to(&mut self, told: &Entry) -> Option<Arc<Entry>> {
        match state(told).cmp(&state(&self.entry)) {
            Ordering::Equal => {
                self.doubts = 0;
                None
            }
            Ordering::Less if self.doubts < PATIENCE => {
                self.doubts += 1;
                None
            }
            Ordering::Less | Ordering::Greater => Some(self.entry.clone()),
        }
    }
}

impl Index {
    /// The entry of this ID.
    #[must_use]
    pub fn get(&self, id: &EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(id).map(|filed| &filed.entry)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values().map(|filed| &filed.entry)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes these all the entries there are, and tells what that changed.
    ///
    /// An entry that comes back older than it is here stays as it is: servers behind one address
    /// may lag behind each other, and rights must not return with an old answer. Only when the
    /// server insists is it the truth; then its database was put back.
    pub fn replace(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) -> Changes {
        let mut changes = Changes::default();
        let mut kept = HashSet::new();
        for entry in entries {
            kept.insert(entry.id.clone());
            match self.entries.get_mut(&entry.id) {
                None => {
                    self.insert(entry.clone());
                    changes.created.push(entry);
                }
                Some(filed) => {
                    if let Some(old) = filed.give_way_to(&entry) {
                        self.remove(&old.id);
                        self.insert(entry.clone());
                        changes.updated.push((old, entry));
                    }
                }
            }
        }
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|id| !kept.contains(*id))
            .cloned()
            .collect();
        changes.deleted = gone.iter().filter_map(|id| self.remove(id)).collect();
        changes
    }

    /// The entries whose selectors are all among these, the oldest first.
    #[must_use]
    pub fn matching(&self, selectors: &SelectorSet) -> Vec<Arc<Entry>> {
        let candidates = selectors.iter().filter_map(|one| self.files.get(one));
        let mut found: Vec<_> = candidates
            .flatten()
            .filter(|entry| entry.body.selectors.is_subset(selectors))
            .cloned()
            .collect();
        found.sort_by(|a, b| by_age(a, b));
        found
    }

    fn insert(&mut self, entry: Arc<Entry>) {
        let fewest = entry
            .body
            .selectors
            .iter()
            .min_by_key(|one| self.files.get(one).map_or(0, Vec::len));
        // An entry without selectors matches nobody, rather than everybody.
        let Some(under) = fewest.cloned() else { return };
        self.files
            .entry(under.clone())
            .or_default()
            .push(entry.clone());
        let id = entry.id.clone();
        let doubts = 0;
        self.entries.insert(
            id,
            Filed {
                entry,
                under,
                doubts,
            },
        );
    }

    fn remove(&mut self, id: &EntryId) -> Option<Arc<Entry>> {
        let Filed { entry, under, .. } = self.entries.remove(id)?;
        if let Some(file) = self.files.get_mut(&under) {
            file.retain(|other| other.id != *id);
            if file.is_empty() {
                self.files.remove(&under);
            }
        }
        Some(entry)
    }
}

/// The order in which a workload gets its identities: the oldest entry is the default. Equal ages
/// are told apart by ID, so that the order never changes by itself.
#[must_use]
pub fn by_age(a: &Entry, b: &Entry) -> Ordering {
    (a.created_at, &a.id).cmp(&(b.created_at, &b.id))
}

/// How old the state of an entry is. One that was deleted and made again under the same ID is
/// newer by its time.
fn state(entry: &Entry) -> (SystemTime, Revision) {
    (entry.created_at, entry.revision)
}

/// So many syncs, a minute with SPIRE's interval, and a lagging server has caught up.
const PATIENCE: u32 = 12;

#[cfg(test)]
mod tests {
    use super::super::samples::{entry, selectors};
    use super::*;

    fn index(entries: &[&Arc<Entry>]) -> Index {
        let mut index = Index::default();
        index.replace(entries.iter().map(|entry| Arc::clone(entry)));
        index
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<&str> {
        entries.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[test]
    fn an_entry_matches_who_has_all_its_selectors() {
        let index = index(&[
            &entry("both", 1, &["a:1", "b:2"]),
            &entry("one", 2, &["a:1"]),
            &entry("other", 3, &["c:3"]),
        ]);
        for (had, matched) in [
            (&["a:1", "b:2"][..], &["both", "one"][..]),
            (&["a:1"], &["one"]),
            (&["b:2"], &[]),
            (&["a:1", "b:2", "c:3", "d:4"], &["both", "one", "other"]),
            (&["a:2"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(ids(&index.matching(&selectors(had))), matched, "{had:?}");
        }
    }

    #[test]
    fn the_oldest_comes_first_and_equal_ages_go_by_id() {
        let index = index(&[
            &entry("c", 5, &["a:1"]),
            &entry("b", 7, &["a:1"]),
            &entry("a", 7, &["a:1"]),
        ]);
        assert_eq!(ids(&index.matching(&selectors(&["a:1"]))), ["c", "a", "b"]);
    }

    #[test]
    fn an_entry_without_selectors_matches_nobody() {
        let index = index(&[&entry("empty", 1, &[])]);
        assert!(index.matching(&selectors(&["a:1"])).is_empty());
        assert!(index.matching(&selectors(&[])).is_empty());
        assert!(index.is_empty());
    }

    #[test]
    fn a_new_list_replaces_the_old_one_and_tells_the_difference() {
        let (stays, goes) = (entry("stays", 1, &["a:1"]), entry("goes", 1, &["a:1"]));
        let changes_before = entry("changes", 1, &["a:1"]);
        let mut changes_after = (*entry("changes", 1, &["b:2"])).clone();
        changes_after.revision = Revision(1);
        let (after, comes) = (Arc::new(changes_after), entry("comes", 2, &["c:3"]));

        let mut index = index(&[&stays, &goes, &changes_before]);
        let told = index.replace([stays.clone(), after.clone(), comes.clone()]);
        assert_eq!(
            told,
            Changes {
                created: vec![comes.clone()],
                updated: vec![(changes_before, after.clone())],
                deleted: vec![goes],
            }
        );
        assert_eq!(ids(&index.matching(&selectors(&["a:1"]))), ["stays"]);
        assert_eq!(ids(&index.matching(&selectors(&["b:2"]))), ["changes"]);
        assert!(index.replace([comes, after, stays]).is_empty());
        assert_eq!(index.replace([]).deleted.len(), 3);
        assert!(index.files.is_empty(), "nothing is left behind");
    }

    #[test]
    fn snapshot_never_regresses() {
        let mut newer = (*entry("e", 1, &["a:1"])).clone();
        newer.revision = Revision(3);
        let mut older = (*entry("e", 1, &["b:2"])).clone();
        older.revision = Revision(2);
        let (newer, older) = (Arc::new(newer), Arc::new(older));
        let mut index = index(&[&newer]);
        for _ in 0..3 * PATIENCE {
            assert!(index.replace([older.clone()]).is_empty());
            assert!(index.replace([newer.clone()]).is_empty());
        }
        assert!(index.matching(&selectors(&["b:2"])).is_empty());

        for _ in 0..PATIENCE {
            assert!(index.replace([older.clone()]).is_empty());
        }
        assert_eq!(index.replace([older]).updated.len(), 1, "it insists");

        // Deleted and made again: revisions begin anew, time does not.
        let again = entry("e", 2, &["c:3"]);
        assert_eq!(index.replace([again]).updated.len(), 1);
        assert_eq!(index.matching(&selectors(&["c:3"])).len(), 1);
    }

    #[test]
    fn it_agrees_with_looking_at_every_entry() {
        let mut random = fastrand::Rng::with_seed(7);
        let some = |random: &mut fastrand::Rng, at_most: usize| -> Vec<String> {
            (0..random.usize(..=at_most))
                .map(|_| format!("t:{}", random.u8(..12)))
                .collect()
        };
        let mut index = Index::default();
        for round in 0..200 {
            let entries: Vec<_> = (0..random.usize(..40))
                .map(|id| {
                    let texts = some(&mut random, 4);
                    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                    entry(&format!("e{id}"), round, &texts)
                })
                .filter(|entry| !entry.body.selectors.is_empty())
                .collect();
            index.replace(entries.iter().cloned());
            let had = some(&mut random, 8);
            let had: Vec<_> = had.iter().map(String::as_str).collect();
            let had = selectors(&had);
            let mut expected: Vec<_> = entries
                .iter()
                .filter(|entry| entry.body.selectors.is_subset(&had))
                .cloned()
                .collect();
            expected.sort_by(|a, b| by_age(a, b));
            assert_eq!(index.matching(&had), expected);
        }
    }
}
