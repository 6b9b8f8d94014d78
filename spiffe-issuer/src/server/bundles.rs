//! Trust bundles: our own, and those of foreign trust domains.

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::TrustDomain;
use spiffe_core::x509::Certificate;

use super::store::{BundleStore, DataStore, StoreError, StoredBundle};
use crate::domain::{Fault, Kind, Page, Paged};

pub use super::store::TokenAuthority;

/// The bundles that this server knows.
pub struct Bundles {
    trust_domain: TrustDomain,
    store: Arc<dyn BundleStore>,
}

/// A bundle as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// The certificates that its members' certificates chain to, and which of them are tainted.
    pub x509_authorities: Vec<(Certificate, bool)>,
    /// The keys that its members' JWT-SVIDs are signed with.
    pub jwt_authorities: Vec<TokenAuthority>,
    /// The keys that its members' WIT-SVIDs are signed with.
    pub wit_authorities: Vec<TokenAuthority>,
    /// How long to wait before looking for a newer one; zero where nothing is said.
    pub refresh_hint: Duration,
    /// How often it was changed.
    pub sequence_number: u64,
}

impl Bundles {
    /// The bundles that this store holds.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, store: Arc<dyn DataStore>) -> Self {
        Self {
            trust_domain,
            store,
        }
    }

    /// Our own bundle.
    ///
    /// # Errors
    ///
    /// Where no authority was made yet, or the store fails.
    pub async fn own(&self) -> Result<Bundle, BundlesError> {
        let found = self.store.find_bundle(&self.trust_domain).await?;
        found.map(Bundle::from).ok_or(BundlesError::NotFound)
    }

    /// The bundle of a foreign trust domain.
    ///
    /// # Errors
    ///
    /// Where it is our own trust domain, there is none, or the store fails.
    pub async fn foreign(&self, of: &TrustDomain) -> Result<Bundle, BundlesError> {
        if *of == self.trust_domain {
            return Err(BundlesError::Own(of.clone()));
        }
        let found = self.store.find_bundle(of).await?;
        found.map(Bundle::from).ok_or(BundlesError::NotFound)
    }

    /// A page of the bundles of foreign trust domains.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn list_foreign(&self, page: &Page) -> Result<Paged<Bundle>, BundlesError> {
        let Paged { items, next } = self.store.list_bundles(page).await?;
        let foreign = items
            .into_iter()
            .filter(|b| b.trust_domain != self.trust_domain);
        Ok(Paged {
            items: foreign.map(Bundle::from).collect(),
            next,
        })
    }

    /// How many bundles there are, our own among them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn count(&self) -> Result<u64, BundlesError> {
        Ok(self.store.count_bundles().await?)
    }
}

impl From<StoredBundle> for Bundle {
    fn from(stored: StoredBundle) -> Self {
        let authorities = stored.x509_authorities.into_iter();
        Self {
            trust_domain: stored.trust_domain,
            x509_authorities: authorities.map(|a| (a.certificate, a.tainted)).collect(),
            jwt_authorities: stored.jwt_authorities,
            wit_authorities: stored.wit_authorities,
            refresh_hint: stored.refresh_hint,
            sequence_number: stored.sequence_number,
        }
    }
}

/// Why a bundle is not told. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum BundlesError {
    /// There is none.
    #[error("bundle not found")]
    NotFound,
    /// It is our own trust domain, where a foreign one was meant.
    #[error("getting a federated bundle for the server's own trust domain ({0}) is not allowed")]
    Own(TrustDomain),
    /// The store failed.
    #[error("the bundle could not be read")]
    Store(#[from] StoreError),
}

impl Fault for BundlesError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Own(_) => Kind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }
}
