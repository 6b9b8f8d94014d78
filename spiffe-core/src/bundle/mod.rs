//! Trust bundles: whom to believe, per trust domain.

mod document;
mod entry;
mod error;
mod map;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use document::Loaded;
pub use error::{BundleMapError, DocumentError, KeyFlaw, Skipped, WriteError};

use crate::TrustDomain;
use crate::jwt::Jwk;
use crate::x509::{Certificate, KeyId, X509Error};

/// The authorities of one trust domain (SPIFFE Trust Domain and Bundle section 3). Immutable, cheap
/// to clone.
///
/// The name of the trust domain and what it is believed by are one value, so that no authority can
/// vouch for another trust domain than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    x509_authorities: Arc<[Certificate]>,
    jwt_authorities: Arc<[Jwk]>,
    #[cfg(feature = "incubating-wit")]
    wit_authorities: Arc<[Jwk]>,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
}

impl TrustBundle {
    /// The bundle of these X.509 authorities and of nothing else. It may be empty, and then nobody
    /// is believed.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, x509_authorities: Vec<Certificate>) -> Self {
        Self {
            trust_domain,
            x509_authorities: x509_authorities.into(),
            jwt_authorities: Arc::default(),
            #[cfg(feature = "incubating-wit")]
            wit_authorities: Arc::default(),
            sequence: None,
            refresh_hint: None,
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

    /// The certificates of its authorities as PEM blocks, as [`from_pem`](Self::from_pem) reads them. For
    /// its keys and numbers too there is [`to_document`](Self::to_document).
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.x509_authorities
            .iter()
            .map(Certificate::to_pem)
            .collect()
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

    /// The keys that sign its JWT-SVIDs.
    #[must_use]
    pub fn jwt_authorities(&self) -> &[Jwk] {
        &self.jwt_authorities
    }

    /// The keys that sign its WIT-SVIDs.
    #[cfg(feature = "incubating-wit")]
    #[must_use]
    pub fn wit_authorities(&self) -> &[Jwk] {
        &self.wit_authorities
    }

    /// The number of this state of the bundle; a later state has a higher one (SPIFFE Trust Domain
    /// and Bundle section 4.1.1).
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How often its publisher would have one ask for news (SPIFFE Trust Domain and Bundle section
    /// 4.1.2). It is a wish, and as long or short as the publisher likes.
    #[must_use]
    pub fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }

    /// The bundle with these X.509 authorities instead of its own.
    #[must_use]
    pub fn with_x509_authorities(self, authorities: Vec<Certificate>) -> Self {
        Self {
            x509_authorities: authorities.into(),
            ..self
        }
    }

    /// The bundle with these keys for JWT-SVIDs instead of its own.
    ///
    /// A key without an ID verifies tokens that name no key, and is not published.
    #[must_use]
    pub fn with_jwt_authorities(self, authorities: Vec<Jwk>) -> Self {
        Self {
            jwt_authorities: authorities.into(),
            ..self
        }
    }

    /// The bundle with these keys for WIT-SVIDs instead of its own.
    #[cfg(feature = "incubating-wit")]
    #[must_use]
    pub fn with_wit_authorities(self, authorities: Vec<Jwk>) -> Self {
        Self {
            wit_authorities: authorities.into(),
            ..self
        }
    }

    /// The bundle with this sequence number.
    #[must_use]
    pub fn with_sequence(self, sequence: Option<u64>) -> Self {
        Self { sequence, ..self }
    }

    /// The bundle with this refresh hint; parts of a second are not published.
    #[must_use]
    pub fn with_refresh_hint(self, refresh_hint: Option<Duration>) -> Self {
        Self {
            refresh_hint,
            ..self
        }
    }
}

/// Bundles by trust domain. Immutable: a change makes a new set, and the old one stays as it was.
///
/// With them goes whom to distrust all the same. A set that is made of another one's bundles, as by
/// `collect`, is a new one and distrusts nobody: to change a set, change that one
/// ([`with`](Self::with), [`without`](Self::without)), or take the list along
/// ([`distrusting`](Self::distrusting) what the other has [`distrusted`](Self::distrusted)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleSet {
    bundles: Arc<BTreeMap<TrustDomain, TrustBundle>>,
    distrusted: Arc<BTreeSet<KeyId>>,
}

impl BundleSet {
    /// The bundle of `trust_domain`.
    #[must_use]
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        self.bundles.get(trust_domain)
    }

    /// The set with `bundle` in place of any other of its trust domain.
    #[must_use]
    pub fn with(&self, bundle: TrustBundle) -> Self {
        let mut bundles = BTreeMap::clone(&self.bundles);
        bundles.insert(bundle.trust_domain.clone(), bundle);
        self.of(bundles)
    }

    /// The set without the bundle of `trust_domain`.
    #[must_use]
    pub fn without(&self, trust_domain: &TrustDomain) -> Self {
        let mut bundles = BTreeMap::clone(&self.bundles);
        bundles.remove(trust_domain);
        self.of(bundles)
    }

    fn of(&self, bundles: BTreeMap<TrustDomain, TrustBundle>) -> Self {
        Self {
            bundles: Arc::new(bundles),
            distrusted: Arc::clone(&self.distrusted),
        }
    }

    /// The set that distrusts the authorities with these keys, and no others. No chain is believed in
    /// which one of them has signed anything, or is the key of any certificate: also that of an
    /// intermediate which peers send along, and which no bundle names.
    ///
    /// For a key that was stolen, or that SPIRE calls tainted, while what it signed is replaced: the
    /// Workload API does not tell which ones are.
    #[must_use]
    pub fn distrusting(&self, authorities: impl IntoIterator<Item = KeyId>) -> Self {
        Self {
            bundles: Arc::clone(&self.bundles),
            distrusted: Arc::new(authorities.into_iter().collect()),
        }
    }

    /// The keys of the authorities that are distrusted.
    pub fn distrusted(&self) -> impl Iterator<Item = &KeyId> {
        self.distrusted.iter()
    }

    /// The key for which this certificate is not to be believed.
    pub(crate) fn distrusts(&self, certificate: &Certificate) -> Option<&KeyId> {
        self.distrusted().find(|key| key.is_of(certificate))
    }

    /// All bundles, in the order of their trust domains.
    pub fn iter(&self) -> impl Iterator<Item = &TrustBundle> {
        self.bundles.values()
    }
}

/// A new set, which distrusts nobody.
impl From<TrustBundle> for BundleSet {
    fn from(bundle: TrustBundle) -> Self {
        Self::default().with(bundle)
    }
}

/// A new set, which distrusts nobody, also where the bundles are those of a set that does.
impl FromIterator<TrustBundle> for BundleSet {
    fn from_iter<I: IntoIterator<Item = TrustBundle>>(bundles: I) -> Self {
        let by_domain = bundles
            .into_iter()
            .map(|bundle| (bundle.trust_domain.clone(), bundle));
        Self::default().of(by_domain.collect())
    }
}
