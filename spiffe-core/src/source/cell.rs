//! Where a snapshot is kept: replaced by one, read by all, without a lock.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::IdentitySource;
use crate::snapshot::IdentitySnapshot;

/// A source whose snapshots its owner publishes, for identities and bundles that come from elsewhere: an
/// `Arc` of it is a source as `X509Source` is one.
pub struct SnapshotCell {
    latest: ArcSwap<IdentitySnapshot>,
    // Tells that the snapshot changed; what it is now stands above, where readers need no lock.
    changed: watch::Sender<u64>,
}

impl SnapshotCell {
    /// A source that starts with this snapshot.
    #[must_use]
    pub fn new(first: IdentitySnapshot) -> Self {
        Self {
            latest: ArcSwap::from_pointee(first.at_generation(1)),
            changed: watch::Sender::new(1),
        }
    }

    /// Replaces the snapshot for all readers at once.
    pub fn publish(&self, snapshot: IdentitySnapshot) {
        self.publish_where(snapshot, |_, _| true);
    }

    /// Replaces the snapshot where it is another one by now. A generation without a change would have
    /// each connection judged again for nothing. Tells whether it was replaced.
    pub(crate) fn publish_news(&self, snapshot: IdentitySnapshot) -> bool {
        self.publish_where(snapshot, |old, new| !old.shows_the_same_as(new))
    }

    fn publish_where(
        &self,
        snapshot: IdentitySnapshot,
        meant: impl FnOnce(&IdentitySnapshot, &IdentitySnapshot) -> bool,
    ) -> bool {
        // The sender's lock puts publishers in a row, so generations and snapshots go together.
        self.changed.send_if_modified(|generation| {
            let is_meant = meant(&self.latest.load(), &snapshot);
            if is_meant {
                *generation += 1;
                self.latest
                    .store(Arc::new(snapshot.at_generation(*generation)));
            }
            is_meant
        })
    }
}

impl IdentitySource for SnapshotCell {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.latest.load_full()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn generation(&self) -> u64 {
        self.latest.load().generation()
    }
}

impl fmt::Debug for SnapshotCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotCell")
            .field("generation", &self.latest.load().generation())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_told_of_a_generation_finds_it() {
        let cell = SnapshotCell::new(IdentitySnapshot::default());
        let mut watcher = cell.subscribe();
        for generation in 2..5 {
            cell.publish(IdentitySnapshot::default());
            assert!(watcher.has_changed().unwrap());
            assert_eq!(*watcher.borrow_and_update(), generation);
            assert_eq!(cell.snapshot().generation(), generation);
        }
    }
}
