//! What a source shows: the latest that it knows, less whom it was told to distrust.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::info;

use super::{IdentitySource, SnapshotCell};
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::x509::KeyId;

pub(super) struct Shown {
    cell: SnapshotCell,
    // Held while publishing, so that neither of the two who publish undoes what the other did.
    distrusted: Mutex<Vec<KeyId>>,
}

impl Shown {
    pub(super) fn new(first: IdentitySnapshot) -> Self {
        Self {
            cell: SnapshotCell::new(first),
            distrusted: Mutex::default(),
        }
    }

    pub(super) fn cell(&self) -> &SnapshotCell {
        &self.cell
    }

    pub(super) fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.cell.snapshot()
    }

    /// Tells whether there is something new.
    pub(super) fn publish(&self, snapshot: IdentitySnapshot) -> bool {
        let distrusted = self.distrusted.lock();
        let distrusted = distrusted.unwrap_or_else(PoisonError::into_inner);
        let bundles = snapshot.bundles().distrusting(distrusted.iter().cloned());
        self.cell.publish_news(snapshot.with_bundles(bundles))
    }

    /// From now on, and in place of those before. The log tells by `label` which source was told so.
    pub(super) fn distrust(&self, authorities: Vec<KeyId>, label: &'static str) {
        let keys = authorities.len();
        info!(source = label, keys, "source told whom to distrust");
        if self.replace_distrusted(authorities) {
            telemetry::source_shows(label, &self.snapshot());
        }
    }

    /// Tells whether there is something new.
    fn replace_distrusted(&self, authorities: Vec<KeyId>) -> bool {
        let distrusted = self.distrusted.lock();
        let mut distrusted = distrusted.unwrap_or_else(PoisonError::into_inner);
        distrusted.clone_from(&authorities);
        let latest = IdentitySnapshot::clone(&self.cell.snapshot());
        let bundles = latest.bundles().distrusting(authorities);
        self.cell.publish_news(latest.with_bundles(bundles))
    }
}
