//! Sources: those who always have a snapshot.

mod cell;
#[cfg(feature = "workload-api")]
mod x509;

use std::sync::Arc;

use tokio::sync::watch;

use crate::snapshot::IdentitySnapshot;

pub use cell::SnapshotCell;
#[cfg(feature = "workload-api")]
pub use x509::{SourceError, X509Source, X509SourceBuilder};

/// Something that always has a snapshot to show.
pub trait IdentitySource: Send + Sync + 'static {
    /// The latest snapshot. Never waits, never fails.
    fn snapshot(&self) -> Arc<IdentitySnapshot>;

    /// A receiver that wakes at each replacement and tells the generation. Only
    /// [`snapshot`](Self::snapshot) says what it holds. It knows of what was published before:
    /// subscribe first and ask for the snapshot then, or one that comes in between is missed.
    fn subscribe(&self) -> watch::Receiver<u64>;

    /// The generation of the latest snapshot. Live connections compare it at each request.
    fn generation(&self) -> u64 {
        self.snapshot().generation()
    }
}

impl<S: IdentitySource + ?Sized> IdentitySource for Arc<S> {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        (**self).snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        (**self).subscribe()
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }
}
