//! The identities and the bundles of one moment: taken together, replaced together.

use crate::bundle::BundleSet;
use crate::x509::X509Svid;

/// What a source knows at one moment. Immutable.
///
/// There may be no SVID in it: for a verifier that has bundles only, and for an identity that was
/// withdrawn. Nothing is presented then, and a handshake that needs a certificate fails.
#[derive(Debug, Clone, Default)]
pub struct IdentitySnapshot {
    svids: Vec<X509Svid>,
    bundles: BundleSet,
    generation: u64,
}

impl IdentitySnapshot {
    /// A snapshot of these SVIDs, the default one first, and these bundles.
    #[must_use]
    pub fn new(svids: Vec<X509Svid>, bundles: BundleSet) -> Self {
        Self {
            svids,
            bundles,
            generation: 0,
        }
    }

    /// The default SVID: the first one (SPIFFE Workload API section 8).
    #[must_use]
    pub fn svid(&self) -> Option<&X509Svid> {
        self.svids.first()
    }

    /// All SVIDs, the default one first.
    #[must_use]
    pub fn svids(&self) -> &[X509Svid] {
        &self.svids
    }

    /// The bundles to verify peers with.
    #[must_use]
    pub fn bundles(&self) -> &BundleSet {
        &self.bundles
    }

    /// Which snapshot of its source this is; counts from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    #[cfg(feature = "source")]
    pub(crate) fn at_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }
}
