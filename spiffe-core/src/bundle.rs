//! Trust bundles: whom to believe, per trust domain.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::TrustDomain;
use crate::x509::{Certificate, X509Error};

/// The X.509 authorities of one trust domain. Immutable, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    x509_authorities: Arc<[Certificate]>,
}

impl TrustBundle {
    /// The bundle of these authorities. It may be empty, and then nobody is believed.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, x509_authorities: Vec<Certificate>) -> Self {
        Self {
            trust_domain,
            x509_authorities: x509_authorities.into(),
        }
    }

    /// Reads certificates in DER that stand one after the other, as the Workload API sends them.
    ///
    /// # Errors
    ///
    /// Where one of them is malformed, or there is none.
    pub fn from_der(trust_domain: TrustDomain, der: &[u8]) -> Result<Self, X509Error> {
        let authorities = Certificate::many_from_der(der)?;
        if authorities.is_empty() {
            return Err(X509Error::NoCertificate);
        }
        Ok(Self::new(trust_domain, authorities))
    }

    /// Reads the certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// Where it is malformed or holds none.
    pub fn from_pem(trust_domain: TrustDomain, text: &[u8]) -> Result<Self, X509Error> {
        Ok(Self::new(trust_domain, Certificate::many_from_pem(text)?))
    }

    /// Whose bundle it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The certificates of its authorities.
    #[must_use]
    pub fn x509_authorities(&self) -> &[Certificate] {
        &self.x509_authorities
    }
}

/// Bundles by trust domain. Immutable: a change makes a new set, and the old one stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleSet(Arc<BTreeMap<TrustDomain, TrustBundle>>);

impl BundleSet {
    /// The bundle of `trust_domain`.
    #[must_use]
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(trust_domain)
    }

    /// The set with `bundle` in place of any other of its trust domain.
    #[must_use]
    pub fn with(&self, bundle: TrustBundle) -> Self {
        let mut bundles = BTreeMap::clone(&self.0);
        bundles.insert(bundle.trust_domain.clone(), bundle);
        Self(Arc::new(bundles))
    }

    /// The set without the bundle of `trust_domain`.
    #[must_use]
    pub fn without(&self, trust_domain: &TrustDomain) -> Self {
        let mut bundles = BTreeMap::clone(&self.0);
        bundles.remove(trust_domain);
        Self(Arc::new(bundles))
    }

    /// All bundles, in the order of their trust domains.
    pub fn iter(&self) -> impl Iterator<Item = &TrustBundle> {
        self.0.values()
    }
}

impl From<TrustBundle> for BundleSet {
    fn from(bundle: TrustBundle) -> Self {
        Self::default().with(bundle)
    }
}

impl FromIterator<TrustBundle> for BundleSet {
    fn from_iter<I: IntoIterator<Item = TrustBundle>>(bundles: I) -> Self {
        let by_domain = bundles
            .into_iter()
            .map(|bundle| (bundle.trust_domain.clone(), bundle));
        Self(Arc::new(by_domain.collect()))
    }
}
