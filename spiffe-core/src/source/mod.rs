//! Sources: those who always have a snapshot.
//!
//! * [`X509Source`]: identities and bundles from the Workload API;
//! * [`BundleSource`]: bundles from there, for those who have no identity;
//! * [`JwtSource`]: tokens from there, and the bundles to verify those of others with;
//! * [`FileSource`]: identities and bundles from files that others write;
//! * [`SnapshotCell`]: whatever its owner publishes.
//!
//! [`IdentityView`] shows one identity of a source that has many.
//!
//! Whoever has to do something of their own when an identity is renewed, follows the source:
//!
//! ```
//! use spiffe_core::IdentitySource;
//!
//! # async fn example(source: impl IdentitySource) {
//! let mut changes = source.subscribe();
//! while changes.changed().await.is_ok() {
//!     let snapshot = source.snapshot();
//!     let ends = snapshot.svid().map(|svid| svid.not_after());
//!     println!("generation {}, the SVID ends at {ends:?}", snapshot.generation());
//! }
//! # }
//! ```

#[cfg(feature = "workload-api")]
mod builder;
#[cfg(feature = "workload-api")]
mod bundles;
mod cell;
#[cfg(feature = "workload-api")]
mod error;
mod files;
#[cfg(feature = "workload-api")]
mod health;
#[cfg(feature = "workload-api")]
mod jwt;
mod pick;
mod shown;
#[cfg(feature = "workload-api")]
mod upkeep;
#[cfg(feature = "workload-api")]
mod x509;

use std::sync::Arc;

use tokio::sync::watch;
#[cfg(feature = "workload-api")]
use tokio_stream::StreamExt;
#[cfg(feature = "workload-api")]
use tokio_stream::wrappers::WatchStream;

#[cfg(feature = "workload-api")]
use self::upkeep::TooLate;
#[cfg(feature = "workload-api")]
use crate::bundle::BundleSet;
use crate::snapshot::IdentitySnapshot;
#[cfg(feature = "workload-api")]
use crate::telemetry;

#[cfg(feature = "workload-api")]
pub use builder::SourceBuilder;
#[cfg(feature = "workload-api")]
pub use bundles::{BundleSource, BundleSourceBuilder};
pub use cell::SnapshotCell;
#[cfg(feature = "workload-api")]
pub use error::SourceError;
pub use files::{FileError, FileSource, FileSourceBuilder};
#[cfg(feature = "workload-api")]
pub use health::Health;
#[cfg(feature = "workload-api")]
pub use jwt::{JwtSource, JwtSourceBuilder, JwtSourceError};
pub use pick::{IdentityView, by_hint, by_id};
#[cfg(feature = "workload-api")]
pub use x509::{X509Source, X509SourceBuilder};

/// Something that always has a snapshot to show.
pub trait IdentitySource: Send + Sync + 'static {
    /// The latest snapshot. Never waits, never fails.
    fn snapshot(&self) -> Arc<IdentitySnapshot>;

    /// A receiver that wakes at each replacement and tells the generation, another number each time.
    /// Only [`snapshot`](Self::snapshot) says what it holds, and does so before the number is told. The
    /// receiver knows of what was published before: subscribe first and ask for the snapshot then, or
    /// one that comes in between is missed.
    fn subscribe(&self) -> watch::Receiver<u64>;

    /// The generation that was told last. Live connections compare it at each request.
    fn generation(&self) -> u64 {
        *self.subscribe().borrow()
    }
}

/// The snapshots of a source as a stream: that of now, and from then on the newest after each change.
/// It goes on for good; whoever is slow misses those in between.
///
/// ```
/// use spiffe_core::{X509Source, source};
/// use tokio_stream::StreamExt;
///
/// # async fn example(source: X509Source) {
/// let mut updates = source::updates(source);
/// while let Some(snapshot) = updates.next().await {
///     println!("{:?}", snapshot.svid());
/// }
/// # }
/// ```
#[cfg(feature = "workload-api")]
pub fn updates(
    source: impl IdentitySource,
) -> impl tokio_stream::Stream<Item = Arc<IdentitySnapshot>> + Send + Unpin {
    WatchStream::new(source.subscribe()).map(move |_| source.snapshot())
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

/// Publishes bundles, and tells whether there are any.
#[cfg(feature = "workload-api")]
fn publish_bundles(cell: &SnapshotCell, bundles: BundleSet, label: &'static str) -> bool {
    let any = bundles.iter().next().is_some();
    if cell.publish_news(IdentitySnapshot::new(Vec::new(), bundles)) {
        telemetry::source_shows(label, &cell.snapshot());
    }
    any
}

#[cfg(feature = "workload-api")]
fn no_bundle(late: TooLate) -> SourceError {
    SourceError::NoBundle {
        endpoint: late.endpoint,
        waited: late.waited,
        source: late.source,
    }
}
