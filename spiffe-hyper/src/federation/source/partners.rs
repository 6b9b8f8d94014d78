//! Whom we federate with, what is held of them, and what a source shows with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::{IdentitySnapshot, TrustBundle, TrustDomain};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::federation::{EndpointUrl, FetchError, Fetched, Held, Relationship};

/// All relationships, and the trust domains that are our own.
#[derive(Debug, Default)]
pub(super) struct Partners {
    by_domain: BTreeMap<TrustDomain, Partner>,
    /// Once our own, always our own: also while there is no identity.
    own: BTreeSet<TrustDomain>,
}

/// One relationship, and how it goes.
#[derive(Debug)]
pub(super) struct Partner {
    pub(super) relationship: Relationship,
    held: Option<Held>,
    /// Counts what was put in by hand, so that a fetch that began before does not undo it.
    version: u64,
    begun: u64,
    done: u64,
    /// Up to which fetch somebody does not want to wait.
    wanted: u64,
    fetched_at: Option<SystemTime>,
    next_fetch: Option<SystemTime>,
    trouble: Option<Arc<FetchError>>,
    unstored: Option<Arc<io::Error>>,
    shadowed: bool,
    /// Whether a source shows a bundle, this one or that of the source below.
    shown: bool,
    /// Wakes the task that fetches; also what tells one relationship from a later one.
    pub(super) nudge: Arc<Notify>,
    pub(super) task: Option<AbortHandle>,
}

/// How one relationship goes, for health checks, metrics and people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PartnerHealth {
    /// Whom it is with.
    pub trust_domain: TrustDomain,
    /// Where their bundle is.
    pub url: EndpointUrl,
    /// Whether there is a bundle.
    pub held: bool,
    /// The number of the bundle.
    pub sequence: Option<u64>,
    /// When the endpoint was last asked with success.
    pub fetched_at: Option<SystemTime>,
    /// When it is asked next; nothing while it is being asked.
    pub next_fetch: Option<SystemTime>,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<Arc<FetchError>>,
    /// Why the bundle is not in the folder that was told, if it is not: the next start would know
    /// nothing of it. It is tried again with each fetch.
    pub store_error: Option<Arc<io::Error>>,
    /// Whether the source below has a bundle of that trust domain itself, which stands in place of the
    /// fetched one.
    pub shadowed: bool,
}

/// What a fetch begins with.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) relationship: Relationship,
    pub(super) held: Option<Held>,
    version: u64,
}

impl Partners {
    pub(super) fn insert(&mut self, relationship: Relationship, held: Option<Held>) {
        let partner = Partner {
            held,
            version: 0,
            begun: 0,
            done: 0,
            wanted: 0,
            fetched_at: None,
            next_fetch: None,
            trouble: None,
            unstored: None,
            shadowed: false,
            shown: false,
            nudge: Arc::default(),
            task: None,
            relationship,
        };
        let domain = partner.relationship.trust_domain().clone();
        self.by_domain.insert(domain, partner);
    }

    pub(super) fn remove(&mut self, trust_domain: &TrustDomain) -> Option<Partner> {
        self.by_domain.remove(trust_domain)
    }

    pub(super) fn get(&self, trust_domain: &TrustDomain) -> Option<&Partner> {
        self.by_domain.get(trust_domain)
    }

    pub(super) fn get_mut(&mut self, trust_domain: &TrustDomain) -> Option<&mut Partner> {
        self.by_domain.get_mut(trust_domain)
    }

    pub(super) fn is_own(&self, trust_domain: &TrustDomain) -> bool {
        self.own.contains(trust_domain)
    }

    /// Notes which trust domains our identities are in.
    pub(super) fn learn(&mut self, base: &IdentitySnapshot) {
        let domains = base.svids().iter().map(|svid| svid.id().trust_domain());
        self.own.extend(domains);
    }

    /// What the source below shows, and what is held of trust domains that it says nothing of.
    ///
    /// Each trust domain has its one bundle: what the source below has is never replaced and nothing
    /// is put together (SPIFFE Federation section 4.2).
    pub(super) fn overlay(&mut self, base: &IdentitySnapshot) -> IdentitySnapshot {
        self.learn(base);
        // Of the base's own set, so that whom it distrusts stays distrusted.
        let mut all = base.bundles().clone();
        for (domain, partner) in &mut self.by_domain {
            let shadowed = base.bundles().get(domain).is_some() || self.own.contains(domain);
            if shadowed && !partner.shadowed {
                warn!(
                    trust_domain = %domain,
                    "the identity's own source has this bundle, and the fetched one is not used"
                );
            }
            partner.shadowed = shadowed;
            partner.shown = shadowed || partner.held.is_some();
            if let Some(held) = partner.held.as_ref().filter(|_| !shadowed) {
                all = all.with(held.bundle().clone());
            }
        }
        base.clone().with_bundles(all)
    }

    /// Whose bundle nobody has: neither we nor the source below.
    pub(super) fn missing(&self) -> Vec<TrustDomain> {
        let missing = self.by_domain.iter().filter(|(_, partner)| !partner.shown);
        missing.map(|(domain, _)| domain.clone()).collect()
    }

    pub(super) fn health(&self) -> Vec<PartnerHealth> {
        self.by_domain.values().map(Partner::health).collect()
    }
}

impl Partner {
    pub(super) fn bundle(&self) -> Option<&TrustBundle> {
        self.held.as_ref().map(Held::bundle)
    }

    /// A fetch begins.
    pub(super) fn begin(&mut self) -> Round {
        self.begun += 1;
        self.next_fetch = None;
        Round {
            relationship: self.relationship.clone(),
            held: self.held.clone(),
            version: self.version,
        }
    }

    /// A fetch has ended. Tells whether another bundle is held now.
    pub(super) fn land(
        &mut self,
        round: &Round,
        fetched: Result<Fetched, FetchError>,
        now: SystemTime,
    ) -> bool {
        match fetched {
            Ok(fetched) if round.version == self.version => {
                self.held = Some(fetched.held);
                self.fetched_at = Some(now);
                self.trouble = None;
                fetched.replaced
            }
            // Somebody has put a bundle in by hand meanwhile.
            Ok(_) => {
                self.trouble = None;
                false
            }
            Err(error) => {
                self.trouble = Some(Arc::new(error));
                false
            }
        }
    }

    /// A bundle is put in by hand, whatever its number.
    pub(super) fn set(&mut self, bundle: TrustBundle) {
        self.version += 1;
        self.held = Some(bundle.into());
    }

    /// All that follows on a fetch is done.
    pub(super) fn finish(&mut self) {
        self.done = self.begun;
    }

    /// What came of storing the bundle.
    pub(super) fn note_stored(&mut self, stored: io::Result<()>) {
        self.unstored = stored.err().map(Arc::new);
    }

    /// Whether the bundle should be stored and is not.
    pub(super) fn is_unstored(&self) -> bool {
        self.unstored.is_some()
    }

    pub(super) fn wait_until(&mut self, next: SystemTime) {
        self.next_fetch = Some(next);
    }

    /// Has the next fetch begin at once; its number is to wait for its end by.
    pub(super) fn hurry(&mut self) -> u64 {
        self.wanted = self.begun + 1;
        self.nudge.notify_one();
        self.wanted
    }

    /// Whether the next fetch is to begin at once.
    pub(super) fn is_wanted(&self) -> bool {
        self.begun < self.wanted
    }

    /// How that fetch ended, once it has.
    pub(super) fn outcome(&self, round: u64) -> Option<Result<(), Arc<FetchError>>> {
        let outcome = || self.trouble.clone().map_or(Ok(()), Err);
        (self.done >= round).then(outcome)
    }

    fn health(&self) -> PartnerHealth {
        PartnerHealth {
            trust_domain: self.relationship.trust_domain().clone(),
            url: self.relationship.url().clone(),
            held: self.held.is_some(),
            sequence: self.bundle().and_then(TrustBundle::sequence),
            fetched_at: self.fetched_at,
            next_fetch: self.next_fetch,
            last_error: self.trouble.clone(),
            store_error: self.unstored.clone(),
            shadowed: self.shadowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn partners(authorities: &[&TestAuthority]) -> Partners {
        let mut partners = Partners::default();
        for authority in authorities {
            let url = "https://h.test/".parse().unwrap();
            let relationship = Relationship::https_web(authority.trust_domain().clone(), url);
            partners.insert(relationship, Some(authority.bundle().into()));
        }
        partners
    }

    // conformance: FD-9+ FD-9- FD-14+ FD-14-
    #[test]
    fn a_fetched_bundle_stands_under_its_own_name_and_never_in_the_way_of_another() {
        let [ours, theirs, usurper] = ["a.test", "b.test", "a.test"].map(TestAuthority::new);
        let mut partners = partners(&[&usurper, &theirs]);
        let shown = partners.overlay(&ours.snapshot("/web"));
        let bundle = |shown: &IdentitySnapshot, of: &TestAuthority| {
            shown.bundles().get(of.trust_domain()).cloned()
        };
        assert_eq!(bundle(&shown, &ours), Some(ours.bundle()));
        assert_eq!(bundle(&shown, &theirs), Some(theirs.bundle()));
        assert_eq!(shown.svids().len(), 1);

        // Our own stays our own, also where the source has nothing to show for a while.
        let shown = partners.overlay(&IdentitySnapshot::default());
        assert_eq!(bundle(&shown, &ours), None);
        assert_eq!(bundle(&shown, &theirs), Some(theirs.bundle()));

        // What the source has of others, its word is for.
        let known = TestAuthority::new("b.test");
        let base = IdentitySnapshot::new(Vec::new(), known.bundle().into());
        let shown = partners.overlay(&base);
        assert_eq!(bundle(&shown, &theirs), Some(known.bundle()));
        let shadowed = partners.health().into_iter().map(|health| health.shadowed);
        assert_eq!(shadowed.collect::<Vec<_>>(), [true, true]);
    }

    #[test]
    fn a_fetch_that_began_before_does_not_undo_what_was_put_in_by_hand() {
        let (theirs, by_hand) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
        let mut partners = partners(&[&theirs]);
        let partner = partners.get_mut(theirs.trust_domain()).unwrap();
        let round = partner.begin();
        partner.set(by_hand.bundle());
        let fetched = |bundle: TrustBundle| {
            Ok(Fetched {
                held: bundle.into(),
                replaced: true,
                skipped: Vec::new(),
            })
        };
        let now = SystemTime::UNIX_EPOCH;
        assert!(!partner.land(&round, fetched(theirs.bundle()), now));
        assert_eq!(partner.bundle(), Some(&by_hand.bundle()));
        let round = partner.begin();
        assert!(partner.land(&round, fetched(theirs.bundle()), now));
        assert_eq!(partner.bundle(), Some(&theirs.bundle()));
    }
}
