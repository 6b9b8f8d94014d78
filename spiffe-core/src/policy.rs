//! Policies that change while connections last.
//!
//! An authorizer is asked at each handshake. For connections that last, it is asked again whenever
//! something [`changed`]: a [`Policy`] says so by itself, and whoever writes an authorizer with a
//! changing mind says so in its place.
//!
//! ```
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::policy::Policy;
//! use spiffe_core::spiffe_id;
//!
//! let policy = Policy::new(member_of("prod.example".parse()?));
//! let of_the_server = policy.clone();     // goes to source.server(..)
//! // Connections of all the others end.
//! policy.replace(exactly(spiffe_id!("spiffe://prod.example/ops")));
//! # drop(of_the_server);
//! # Ok::<(), spiffe_core::IdError>(())
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::SpiffeId;
use crate::authorizer::{Authorizer, Denied};
use crate::verify::Peer;

/// An authorizer that can be replaced by another while it is in use. Cheap to clone; all clones are
/// one policy.
#[derive(Clone)]
pub struct Policy {
    now: Arc<ArcSwap<Arc<dyn Authorizer>>>,
}

impl Policy {
    /// A policy that begins with this authorizer.
    #[must_use]
    pub fn new(allow: impl Authorizer) -> Self {
        Self {
            now: Arc::new(ArcSwap::from_pointee(Arc::new(allow))),
        }
    }

    /// Lets this authorizer decide from now on, about connections that last too.
    pub fn replace(&self, allow: impl Authorizer) {
        self.now.store(Arc::new(Arc::new(allow)));
        changed();
    }
}

impl Authorizer for Policy {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        self.now.load().authorize(peer)
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        self.now.load().authorize_id(id)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").finish_non_exhaustive()
    }
}

/// Says that some authorizer of this process may decide otherwise than before, so that connections
/// that last are judged again.
///
/// One word for the whole process, so it comes through however authorizers are combined. Where it
/// changes nothing, it costs each connection one more question to its authorizer.
pub fn changed() {
    // Counted before it is told: who is woken finds the count.
    EPOCH.fetch_add(1, Ordering::AcqRel);
    CHANGES.send_replace(());
}

/// How often policies have changed.
#[cfg(feature = "tls")]
pub(crate) fn epoch() -> u64 {
    EPOCH.load(Ordering::Acquire)
}

/// Wakes at each change from now on.
#[cfg(feature = "tls")]
pub(crate) fn subscribe() -> watch::Receiver<()> {
    CHANGES.subscribe()
}

static EPOCH: AtomicU64 = AtomicU64::new(0);
static CHANGES: LazyLock<watch::Sender<()>> = LazyLock::new(watch::Sender::default);
