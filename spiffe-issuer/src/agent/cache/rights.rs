//! What one workload may have at one moment: the whole of it, never a difference.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::{BundleSet, TrustBundle, TrustDomain, X509Svid};

use super::svids::Svids;
use crate::domain::Entry;

/// The identities and bundles of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Rights {
    /// Those identities that can be had now; the oldest entry's is the default.
    pub identities: Vec<Identity>,
    /// How many identities are not signed yet.
    pub awaited: usize,
    /// How many identities the server would not sign when it was last asked.
    pub refused: usize,
    /// The bundle of the agent's own trust domain, once it is known.
    pub bundle: Option<TrustBundle>,
    /// The bundles of those foreign trust domains that the entries federate with.
    pub foreign: Vec<TrustBundle>,
}

/// One identity of a workload.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The entry it follows from.
    pub entry: Arc<Entry>,
    /// The SVID.
    pub svid: X509Svid,
}

impl Rights {
    /// What follows from these entries, which all match and of which the oldest comes first.
    pub(super) fn of(
        entries: &[Arc<Entry>],
        svids: &Svids,
        bundles: &BundleSet,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Self {
        let mut rights = Self {
            identities: Vec::new(),
            awaited: 0,
            refused: 0,
            bundle: bundles.get(trust_domain).cloned(),
            foreign: Vec::new(),
        };
        let mut foreign = HashSet::new();
        for entry in told_apart(entries) {
            foreign.extend(&entry.body.federates_with);
            match svids.find(entry, now) {
                Some(svid) => rights.identities.push(Identity {
                    entry: entry.clone(),
                    svid: svid.clone(),
                }),
                None if svids.is_refused(entry) => rights.refused += 1,
                None => rights.awaited += 1,
            }
        }
        let is_asked_for = |bundle: &&TrustBundle| {
            bundle.trust_domain() != trust_domain && foreign.contains(bundle.trust_domain())
        };
        rights.foreign = bundles.iter().filter(is_asked_for).cloned().collect();
        rights
    }

    /// Whether any entry is meant for this workload, signed or not.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.identities.len() + self.awaited + self.refused > 0
    }
}

/// The entries of the Workload API; of those that share a hint only the oldest, so that a workload
/// can tell its identities apart.
fn told_apart(entries: &[Arc<Entry>]) -> impl Iterator<Item = &Arc<Entry>> {
    let mut hints = HashSet::new();
    entries
        .iter()
        .filter(|entry| !entry.body.store_svid)
        .filter(move |entry| match entry.body.hint.as_str() {
            "" => true,
            hint => hints.insert(hint),
        })
}

impl PartialEq for Identity {
    /// Whether a workload would be told the same.
    fn eq(&self, other: &Self) -> bool {
        self.svid.chain() == other.svid.chain() && self.entry.body.hint == other.entry.body.hint
    }
}
