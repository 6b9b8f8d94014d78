//! The SVIDs of workloads by entry: which there are, which are to be signed, which may go.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use spiffe_core::X509Svid;

use crate::domain::{Entry, EntryId, Revision};

/// SVIDs by entry.
#[derive(Debug, Default)]
pub(super) struct Svids {
    slots: HashMap<EntryId, Slot>,
    /// Counts up with every use, so that the least used can be told.
    uses: u64,
}

#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    refused: Option<Refused>,
    used: u64,
}

#[derive(Debug)]
struct Held {
    svid: X509Svid,
    /// The state of the entry that it was signed for.
    signed_for: (SystemTime, Revision),
    renew_at: SystemTime,
}

/// The server would not sign for this entry.
#[derive(Debug)]
struct Refused {
    again_at: SystemTime,
    times: u32,
}

/// Whether an entry's SVID is to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// There is none that could be served.
    Missing,
    /// There is one, but it is time for another.
    Due,
}

impl Svids {
    /// How many SVIDs there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.slots
            .values()
            .filter(|slot| slot.held.is_some())
            .count()
    }

    /// The SVID of this entry, if it may be served now.
    #[must_use]
    pub(super) fn find(&self, entry: &Entry, now: SystemTime) -> Option<&X509Svid> {
        let held = self.slots.get(&entry.id)?.held.as_ref()?;
        held.is_good(entry, now).then_some(&held.svid)
    }

    /// Whether an SVID of this entry is to be signed now.
    #[must_use]
    pub(super) fn need(&self, entry: &Entry, now: SystemTime) -> Option<Need> {
        let slot = self.slots.get(&entry.id);
        if slot
            .and_then(|slot| slot.refused.as_ref())
            .is_some_and(|refused| refused.again_at > now)
        {
            return None;
        }
        match slot.and_then(|slot| slot.held.as_ref()) {
            Some(held) if !held.is_good(entry, now) => Some(Need::Missing),
            Some(held) if held.renew_at <= now || held.signed_for != state(entry) => {
                Some(Need::Due)
            }
            Some(_) => None,
            None => Some(Need::Missing),
        }
    }

    /// Whether the server would not sign for this entry when it was last asked.
    #[must_use]
    pub(super) fn is_refused(&self, entry: &Entry) -> bool {
        self.slots
            .get(&entry.id)
            .is_some_and(|slot| slot.refused.is_some())
    }

    /// When the next of these SVIDs is due, or the next refused one may be asked for again. What
    /// could be asked for already is for [`need`](Self::need) to tell.
    #[must_use]
    pub(super) fn next(&self, now: SystemTime) -> Option<SystemTime> {
        let times = self.slots.values().filter_map(|slot| {
            let held = slot.held.as_ref().map(|held| held.renew_at);
            let refused = slot.refused.as_ref().map(|refused| refused.again_at);
            refused.or(held)
        });
        times.filter(|time| *time > now).min()
    }

    /// Keeps what was signed for an entry.
    pub(super) fn put(&mut self, entry: &Entry, svid: X509Svid, renew_at: SystemTime) {
        let slot = self.slots.entry(entry.id.clone()).or_default();
        slot.refused = None;
        slot.held = Some(Held {
            svid,
            signed_for: state(entry),
            renew_at,
        });
    }

    /// Notes that the server would not sign for an entry. What is there stays.
    pub(super) fn refuse(&mut self, id: &EntryId, now: SystemTime) {
        let slot = self.slots.entry(id.clone()).or_default();
        let times = slot.refused.as_ref().map_or(0, |refused| refused.times) + 1;
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(times - 1);
        slot.refused = Some(Refused {
            again_at: now + pause.min(LONGEST_PAUSE),
            times,
        });
    }

    /// Lets an entry be asked for again at once.
    pub(super) fn pardon(&mut self, id: &EntryId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.refused = None;
        }
    }

    /// Forgets an entry's SVID, and that it was refused.
    pub(super) fn forget(&mut self, id: &EntryId) {
        self.slots.remove(id);
    }

    /// Marks all SVIDs as due whose chain one of these authorities signed, by their key IDs; tells
    /// how many that are.
    pub(super) fn taint(&mut self, authorities: &HashSet<Vec<u8>>) -> usize {
        let mut tainted = 0;
        for held in self
            .slots
            .values_mut()
            .filter_map(|slot| slot.held.as_mut())
        {
            let signed = held.svid.chain().iter().any(|certificate| {
                certificate
                    .authority_key_id()
                    .is_some_and(|id| authorities.contains(id))
            });
            if signed {
                held.renew_at = SystemTime::UNIX_EPOCH;
                tainted += 1;
            }
        }
        tainted
    }

    /// Notes that an entry's SVID is in use.
    pub(super) fn touch(&mut self, id: &EntryId) {
        self.uses += 1;
        if let Some(slot) = self.slots.get_mut(id) {
            slot.used = self.uses;
        }
    }

    /// Lets the least used SVIDs go until there are no more than `limit`, but none of those that
    /// somebody waits on.
    pub(super) fn evict(&mut self, limit: usize, pinned: &HashSet<EntryId>) -> usize {
        let too_many = self.len().saturating_sub(limit);
        if too_many == 0 {
            return 0;
        }
        let mut free: Vec<_> = self
            .slots
            .iter()
            .filter(|(id, slot)| slot.held.is_some() && !pinned.contains(*id))
            .map(|(id, slot)| (slot.used, id.clone()))
            .collect();
        free.sort();
        free.truncate(too_many);
        for (_, id) in &free {
            self.slots.remove(id);
        }
        free.len()
    }
}

impl Held {
    fn is_good(&self, entry: &Entry, now: SystemTime) -> bool {
        *self.svid.id() == entry.body.spiffe_id && self.svid.not_after() > now
    }
}

fn state(entry: &Entry) -> (SystemTime, Revision) {
    (entry.created_at, entry.revision)
}

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(4 * 60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::samples::{Authority, at, entry};
    use super::*;

    fn with(entry: &Entry, until: u64, renew_at: u64) -> Svids {
        let mut svids = Svids::default();
        svids.put(entry, Authority::new().svid(entry, until), at(renew_at));
        svids
    }

    #[test]
    fn an_svid_is_missing_then_good_then_due_then_gone() {
        let entry = entry("e", 1, &["a:1"]);
        assert_eq!(Svids::default().need(&entry, at(0)), Some(Need::Missing));
        let svids = with(&entry, 3600, 1800);
        for (now, served, need) in [
            (0, true, None),
            (1799, true, None),
            (1800, true, Some(Need::Due)),
            (3599, true, Some(Need::Due)),
            (3600, false, Some(Need::Missing)),
        ] {
            assert_eq!(svids.find(&entry, at(now)).is_some(), served, "{now}");
            assert_eq!(svids.need(&entry, at(now)), need, "{now}");
        }
        assert_eq!(svids.next(at(0)), Some(at(1800)));
    }

    #[test]
    fn a_changed_entry_is_due_and_a_changed_identity_is_never_served() {
        let before = entry("e", 1, &["a:1"]);
        let svids = with(&before, 3600, 1800);
        let mut after = (*before).clone();
        after.revision = Revision(1);
        assert_eq!(svids.need(&after, at(0)), Some(Need::Due));
        assert!(svids.find(&after, at(0)).is_some());

        after.body.spiffe_id = "spiffe://td/another".parse().unwrap();
        assert_eq!(svids.need(&after, at(0)), Some(Need::Missing));
        assert!(svids.find(&after, at(0)).is_none());
    }

    #[test]
    fn renewal_failure_keeps_valid_svid() {
        let entry = entry("e", 1, &["a:1"]);
        let mut svids = with(&entry, 3600, 1800);
        for now in [1800, 2000, 3000] {
            svids.refuse(&entry.id, at(now));
            assert!(svids.find(&entry, at(now)).is_some());
        }
    }

    #[test]
    fn a_refused_entry_is_asked_for_ever_more_rarely() {
        let entry = entry("e", 1, &["a:1"]);
        let mut svids = Svids::default();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            svids.refuse(&entry.id, now);
            assert!(svids.is_refused(&entry));
            assert_eq!(svids.need(&entry, now), None);
            let next = svids.next(now).unwrap();
            pauses.push(next.duration_since(now).unwrap().as_secs());
            now = next;
            assert_eq!(svids.need(&entry, now), Some(Need::Missing));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 240, 240, 240]);

        svids.put(&entry, Authority::new().svid(&entry, 9000), at(8000));
        assert!(!svids.is_refused(&entry));
        assert_eq!(svids.next(now), Some(at(8000)));
        assert_eq!(svids.next(at(8000)), None);
    }

    #[test]
    fn what_a_tainted_authority_signed_is_due_at_once() {
        let (good, bad) = (Authority::new(), Authority::new());
        let (one, other) = (entry("one", 1, &["a:1"]), entry("other", 1, &["a:1"]));
        let mut svids = Svids::default();
        svids.put(&one, good.svid(&one, 3600), at(1800));
        svids.put(&other, bad.svid(&other, 3600), at(1800));
        assert_eq!(svids.taint(&[bad.key_id()].into()), 1);
        assert_eq!(svids.need(&one, at(0)), None);
        assert_eq!(svids.need(&other, at(0)), Some(Need::Due));
        assert!(
            svids.find(&other, at(0)).is_some(),
            "until then it is served"
        );
    }

    #[test]
    fn the_least_used_go_first_and_pinned_ones_never() {
        let authority = Authority::new();
        let entries: Vec<Arc<Entry>> = ["a", "b", "c", "d"].map(|id| entry(id, 1, &["a:1"])).into();
        let mut svids = Svids::default();
        for entry in &entries {
            svids.put(entry, authority.svid(entry, 3600), at(1800));
        }
        for id in ["b", "d", "c"] {
            svids.touch(&id.parse().unwrap());
        }
        let pinned = ["b".parse().unwrap()].into();
        assert_eq!(svids.evict(4, &pinned), 0);
        assert_eq!(svids.evict(2, &pinned), 2);
        let left = |svids: &Svids| -> Vec<_> {
            let served = entries.iter().filter(|e| svids.find(e, at(0)).is_some());
            served.map(|e| e.id.to_string()).collect()
        };
        assert_eq!(left(&svids), ["b", "c"]);
        assert_eq!(svids.evict(0, &pinned), 1);
        assert_eq!(left(&svids), ["b"]);
    }
}
