//! Whom to federate with, and how their bundle is had.

use spiffe_core::{BundleSet, SpiffeId, TrustBundle, TrustDomain};

use super::held::Held;
use super::{EndpointUrl, FetchError};

/// What is agreed with another trust domain: its name, the URL of its bundle endpoint, and how the
/// server there proves who it is (SPIFFE Federation section 5.1).
///
/// The name is never taken from the URL nor from what comes from there.
#[derive(Debug, Clone)]
pub struct Relationship {
    trust_domain: TrustDomain,
    url: EndpointUrl,
    profile: Profile,
}

/// How the server of a bundle endpoint proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// By an X.509-SVID of this ID (SPIFFE Federation section 5.2.2).
    HttpsSpiffe {
        /// The ID of the endpoint.
        endpoint: SpiffeId,
        /// What the endpoint is believed by at first, where it is in the trust domain that it serves
        /// the bundle of.
        bootstrap: Option<TrustBundle>,
    },
    /// By a certificate of a web authority for the host of the URL (SPIFFE Federation section 5.2.1).
    HttpsWeb,
}

impl Relationship {
    /// With the profile `https_web`: the server has a certificate of a web authority.
    #[must_use]
    pub fn https_web(trust_domain: TrustDomain, url: EndpointUrl) -> Self {
        Self {
            trust_domain,
            url,
            profile: Profile::HttpsWeb,
        }
    }

    /// With the profile `https_spiffe`: the server has an X.509-SVID of the ID `endpoint`.
    ///
    /// It is believed by the newest bundle of *its* trust domain. Where that is the one it serves the
    /// bundle of, the first one is to be told by [`bootstrap`](Self::bootstrap).
    #[must_use]
    pub fn https_spiffe(trust_domain: TrustDomain, url: EndpointUrl, endpoint: SpiffeId) -> Self {
        let profile = Profile::HttpsSpiffe {
            endpoint,
            bootstrap: None,
        };
        Self {
            trust_domain,
            url,
            profile,
        }
    }

    /// The bundle by which an endpoint that serves its own trust domain's is believed the first time
    /// (SPIFFE Federation section 5.2.2.2). It comes by a way that is trusted already:
    /// [`TrustBundle::from_document`] reads it.
    ///
    /// # Errors
    ///
    /// Where it is of another trust domain, or the endpoint does not serve that of its own.
    pub fn bootstrap(mut self, bundle: TrustBundle) -> Result<Self, RelationshipError> {
        if *bundle.trust_domain() != self.trust_domain {
            return Err(RelationshipError::ForeignBootstrap {
                trust_domain: self.trust_domain,
                bundle: bundle.trust_domain().clone(),
            });
        }
        let serves_itself = self.serves_itself();
        match &mut self.profile {
            Profile::HttpsSpiffe { bootstrap, .. } if serves_itself => *bootstrap = Some(bundle),
            _ => return Err(RelationshipError::NotSelfServing(self.trust_domain)),
        }
        Ok(self)
    }

    /// Whose bundle it is about.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Where the bundle is had from.
    #[must_use]
    pub fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// How the server there proves who it is.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The ID of the endpoint, in the profile `https_spiffe`.
    #[must_use]
    pub fn endpoint_id(&self) -> Option<&SpiffeId> {
        match &self.profile {
            Profile::HttpsSpiffe { endpoint, .. } => Some(endpoint),
            Profile::HttpsWeb => None,
        }
    }

    /// Whether the endpoint has an ID in the trust domain that it serves the bundle of.
    #[must_use]
    pub fn serves_itself(&self) -> bool {
        self.endpoint_id()
            .is_some_and(|id| id.is_member_of(&self.trust_domain))
    }

    pub(super) fn first_bundle(&self) -> Option<&TrustBundle> {
        match &self.profile {
            Profile::HttpsSpiffe { bootstrap, .. } => bootstrap.as_ref(),
            Profile::HttpsWeb => None,
        }
    }

    /// Whom to believe that the server is who it should be. An endpoint that serves its own trust
    /// domain's bundle is believed by the newest one of those (section 5.2.2.4); any other by what is
    /// known of its trust domain otherwise.
    pub(super) fn trust(
        &self,
        held: Option<&Held>,
        believed: &BundleSet,
    ) -> Result<Trust, FetchError> {
        let Some(endpoint) = self.endpoint_id() else {
            return Ok(Trust::Web);
        };
        let bundle = if self.serves_itself() {
            held.map(Held::bundle).or(self.first_bundle())
        } else {
            believed.get(&endpoint.trust_domain())
        };
        let bundle = bundle.ok_or_else(|| FetchError::NoTrust(endpoint.clone()))?;
        // Whom the source below distrusts is distrusted here as well.
        let bundles = BundleSet::from(bundle.clone());
        Ok(Trust::Spiffe {
            endpoint: endpoint.clone(),
            bundles: bundles.distrusting(believed.distrusted().cloned()),
        })
    }
}

/// By what a server is believed in one fetch.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    Spiffe {
        endpoint: SpiffeId,
        bundles: BundleSet,
    },
    Web,
}

/// Why a relationship cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelationshipError {
    /// The first bundle is that of another trust domain.
    #[error("the first bundle for {trust_domain} is that of {bundle}")]
    ForeignBootstrap {
        /// Whom the relationship is with.
        trust_domain: TrustDomain,
        /// Whose bundle it is.
        bundle: TrustDomain,
    },
    /// The endpoint is not believed by the bundle that it serves.
    #[error(
        "the endpoint of {0} has no ID in that trust domain, so the bundle of {0} does not prove \
         who it is: federate with the endpoint's own trust domain instead"
    )]
    NotSelfServing(TrustDomain),
}

#[cfg(test)]
mod tests {
    use spiffe_core::spiffe_id;
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn url() -> EndpointUrl {
        "https://h.test/".parse().unwrap()
    }

    // conformance: FD-13+ FD-17+ FD-28+ FD-35+ FD-35- FD-36+ FD-37+ FD-37- FD-47+
    #[test]
    fn an_endpoint_is_believed_by_its_own_trust_domains_bundle_only() {
        let (ours, theirs) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
        let domain = theirs.trust_domain().clone();
        let both: BundleSet = [ours.bundle(), theirs.bundle()].into_iter().collect();

        let web = Relationship::https_web(domain.clone(), url());
        assert!(matches!(
            web.trust(None, &BundleSet::default()),
            Ok(Trust::Web)
        ));

        let of_itself = spiffe_id!("spiffe://b.test/bundles");
        let by_itself = Relationship::https_spiffe(domain.clone(), url(), of_itself.clone());
        let untold = by_itself.trust(None, &both);
        assert!(matches!(untold, Err(FetchError::NoTrust(id)) if id == of_itself));
        let told = by_itself.bootstrap(theirs.bundle()).unwrap();
        for held in [
            None,
            Some(Held::from(TestAuthority::new("b.test").bundle())),
        ] {
            let newest = held
                .as_ref()
                .map_or(theirs.bundle(), |held| held.bundle().clone());
            let Ok(Trust::Spiffe { bundles, .. }) = told.trust(held.as_ref(), &both) else {
                panic!("there is a bundle");
            };
            assert_eq!(bundles, newest.into());
        }

        let of_ours = spiffe_id!("spiffe://a.test/bundles");
        let by_ours = Relationship::https_spiffe(domain, url(), of_ours.clone());
        let Ok(Trust::Spiffe { bundles, endpoint }) = by_ours.trust(None, &both) else {
            panic!("there is a bundle");
        };
        assert_eq!((bundles, endpoint), (ours.bundle().into(), of_ours.clone()));
        let held = Held::from(theirs.bundle());
        let theirs_alone = theirs.bundle().into();
        let unknown = by_ours.trust(Some(&held), &theirs_alone);
        assert!(matches!(unknown, Err(FetchError::NoTrust(id)) if id == of_ours));
    }

    // conformance: FD-13- FD-36- FD-37- FD-47-
    #[test]
    fn what_cannot_be_is_refused_when_it_is_told() {
        let (ours, theirs) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
        let (a, b) = (ours.trust_domain().clone(), theirs.trust_domain().clone());
        let id = |text: &'static str| SpiffeId::from_static(text);

        let foreign = Relationship::https_spiffe(b.clone(), url(), id("spiffe://b.test/e"))
            .bootstrap(ours.bundle());
        assert_eq!(
            foreign.unwrap_err(),
            RelationshipError::ForeignBootstrap {
                trust_domain: b.clone(),
                bundle: a,
            }
        );
        for not_of_itself in [
            Relationship::https_spiffe(b.clone(), url(), id("spiffe://a.test/e")),
            Relationship::https_web(b.clone(), url()),
        ] {
            let refused = not_of_itself.bootstrap(theirs.bundle()).unwrap_err();
            assert_eq!(refused, RelationshipError::NotSelfServing(b.clone()));
        }
        // The name of the trust domain is an argument that there is no way around, and none is empty.
        assert!("".parse::<TrustDomain>().is_err());
        // PEM is no bundle document.
        let pem = ours.bundle().x509_authorities()[0].to_pem();
        assert!(TrustBundle::from_document(b, pem.as_bytes()).is_err());
    }
}
