//! The identities and the bundles of one moment: taken together, replaced together.

use crate::bundle::BundleSet;
use crate::x509::{Crl, X509Svid};

/// What a source knows at one moment. Immutable.
///
/// There may be no SVID in it: for a verifier that has bundles only, and for an identity that was
/// withdrawn. Nothing is presented then, and a handshake that needs a certificate fails.
#[derive(Debug, Clone, Default)]
pub struct IdentitySnapshot {
    svids: Vec<X509Svid>,
    bundles: BundleSet,
    crls: Vec<Crl>,
    generation: u64,
}

impl IdentitySnapshot {
    /// A snapshot of these SVIDs, the default one first, and these bundles.
    #[must_use]
    pub fn new(svids: Vec<X509Svid>, bundles: BundleSet) -> Self {
        Self {
            svids,
            bundles,
            crls: Vec::new(),
            generation: 0,
        }
    }

    /// The snapshot with these revocation lists.
    #[must_use]
    pub fn with_crls(self, crls: Vec<Crl>) -> Self {
        Self { crls, ..self }
    }

    /// The snapshot with these bundles instead of its own, and with whom they distrust: where only a
    /// bundle is to be another one, begin with [`bundles`](Self::bundles) and change those.
    #[must_use]
    pub fn with_bundles(self, bundles: BundleSet) -> Self {
        Self { bundles, ..self }
    }

    /// The snapshot with only those of its SVIDs that are meant, in their order.
    #[must_use]
    pub fn with_only(mut self, meant: impl Fn(&X509Svid) -> bool) -> Self {
        self.svids.retain(meant);
        self
    }

    /// The snapshot without any SVID. Peers can still be verified.
    #[must_use]
    pub fn without_svids(self) -> Self {
        self.with_only(|_| false)
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

    /// The revocation lists that came along. No peer is judged by them.
    #[must_use]
    pub fn crls(&self) -> &[Crl] {
        &self.crls
    }

    /// Which snapshot of its source this is; counts from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether both hold the same, of whatever generation they are.
    #[cfg(feature = "source")]
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        // A key is that of its leaf, and so is an ID.
        let same = |(one, two): (&X509Svid, &X509Svid)| {
            one.chain() == two.chain() && one.hint() == two.hint()
        };
        self.svids.len() == other.svids.len()
            && self.svids.iter().zip(&other.svids).all(same)
            && self.bundles == other.bundles
            && self.crls == other.crls
    }

    #[cfg(feature = "source")]
    pub(crate) fn at_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }
}
