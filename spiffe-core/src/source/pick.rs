//! One source, many identities: views that show some of its SVIDs and all of its bundles.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::IdentitySource;
use crate::SpiffeId;
use crate::snapshot::IdentitySnapshot;
use crate::x509::X509Svid;

pub(super) type Pick = Arc<dyn Fn(&X509Svid) -> bool + Send + Sync>;

/// Picks SVIDs with this hint (SPIFFE Workload API section 8).
pub fn by_hint(hint: &str) -> impl Fn(&X509Svid) -> bool + Clone + Send + Sync + 'static {
    let hint: Arc<str> = hint.into();
    move |svid| svid.hint() == &*hint
}

/// Picks SVIDs of this ID.
pub fn by_id(id: SpiffeId) -> impl Fn(&X509Svid) -> bool + Clone + Send + Sync + 'static {
    move |svid| *svid.id() == id
}

/// A source seen by one of its identities: it shows those SVIDs that are meant, and all bundles.
///
/// While the source has no such SVID, the view has none either: never another one instead. Cheap to
/// clone.
#[derive(Clone)]
pub struct IdentityView<S> {
    source: S,
    meant: Pick,
    // What was made of the source's snapshot. It goes with that very snapshot and no other.
    made: Arc<ArcSwapOption<Made>>,
}

struct Made {
    from: Arc<IdentitySnapshot>,
    shown: Arc<IdentitySnapshot>,
}

impl<S: IdentitySource> IdentityView<S> {
    /// A view of `source` by the SVIDs for which `meant` holds; see [`by_hint`] and [`by_id`].
    pub fn new(source: S, meant: impl Fn(&X509Svid) -> bool + Send + Sync + 'static) -> Self {
        Self {
            source,
            meant: Arc::new(meant),
            made: Arc::default(),
        }
    }
}

impl<S: IdentitySource> IdentitySource for IdentityView<S> {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        let from = self.source.snapshot();
        if let Some(made) = &*self.made.load()
            && Arc::ptr_eq(&made.from, &from)
        {
            return Arc::clone(&made.shown);
        }
        let shown = Arc::new(IdentitySnapshot::clone(&from).with_only(|svid| (self.meant)(svid)));
        self.made.store(Some(Arc::new(Made {
            from,
            shown: Arc::clone(&shown),
        })));
        shown
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.source.subscribe()
    }

    fn generation(&self) -> u64 {
        self.source.generation()
    }
}

impl<S: fmt::Debug> fmt::Debug for IdentityView<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityView")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
