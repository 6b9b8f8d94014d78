//! Trust bundles: our own, and those of foreign trust domains.

use std::sync::Arc;

use spiffe_core::TrustDomain;

use super::store::{DataStore, Put, StoreError};
use crate::domain::{AuthorityList, Bundle, Dissolve, Fault, Kind, Page, Paged, TokenAuthority};

/// The bundles that this server knows.
pub struct Bundles {
    trust_domain: TrustDomain,
    store: Arc<dyn DataStore>,
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
        found.ok_or(BundlesError::NotFound)
    }

    /// Adds authorities to our own bundle, and returns it as it is then.
    ///
    /// # Errors
    ///
    /// Where there are none, or the store fails.
    pub async fn append(&self, authorities: &AuthorityList) -> Result<Bundle, BundlesError> {
        if authorities.is_empty() {
            return Err(BundlesError::NothingToAppend);
        }
        let appended = self
            .store
            .append_authorities(&self.trust_domain, authorities);
        appended.await.map_err(BundlesError::Append)
    }

    /// The bundle of a foreign trust domain.
    ///
    /// # Errors
    ///
    /// Where it is our own trust domain, there is none, or the store fails.
    pub async fn foreign(&self, of: &TrustDomain) -> Result<Bundle, BundlesError> {
        self.refuse_own(of, "getting")?;
        let found = self.store.find_bundle(of).await?;
        found.ok_or(BundlesError::NotFound)
    }

    /// A page of the bundles of foreign trust domains.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn list_foreign(&self, page: &Page) -> Result<Paged<Bundle>, BundlesError> {
        let Paged { mut items, next } = self.store.list_bundles(page).await?;
        items.retain(|bundle| bundle.trust_domain != self.trust_domain);
        Ok(Paged { items, next })
    }

    /// Makes a key of JWT-SVIDs known that a server below this one signs with, and returns all there are.
    ///
    /// # Errors
    ///
    /// Where another key has its ID, or the store fails.
    pub async fn publish_jwt(
        &self,
        key: TokenAuthority,
    ) -> Result<Vec<TokenAuthority>, BundlesError> {
        let list = AuthorityList {
            jwt: vec![key],
            ..AuthorityList::default()
        };
        let bundle = self
            .store
            .append_authorities(&self.trust_domain, &list)
            .await;
        match bundle {
            Ok(bundle) => Ok(bundle.jwt_authorities),
            Err(error @ StoreError::KeyIdTaken(_)) => Err(BundlesError::Publish(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// How many bundles there are, our own among them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn count(&self) -> Result<u64, BundlesError> {
        Ok(self.store.count_bundles().await?)
    }

    /// Takes in the bundle of a foreign trust domain of which there is none yet.
    ///
    /// # Errors
    ///
    /// Where there is one, it is our own trust domain, or the store fails.
    pub async fn create(&self, bundle: Bundle) -> Result<Bundle, BundlesError> {
        self.refuse_own(&bundle.trust_domain, "creating")?;
        self.put(bundle, Put::Create).await
    }

    /// Takes in the bundle of a foreign trust domain, in the place of any there is, also of one that is
    /// newer by its number: an administrator means it.
    ///
    /// # Errors
    ///
    /// Where it is our own trust domain, or the store fails.
    pub async fn set(&self, bundle: Bundle) -> Result<Bundle, BundlesError> {
        self.refuse_own(&bundle.trust_domain, "setting")?;
        self.put(bundle, Put::Set).await
    }

    /// Changes the bundle of a foreign trust domain as `change` says.
    ///
    /// # Errors
    ///
    /// Where there is none, it is our own trust domain, `change` fails, or the store does.
    pub async fn update<E: From<BundlesError>>(
        &self,
        of: &TrustDomain,
        change: impl FnOnce(&Bundle) -> Result<Bundle, E>,
    ) -> Result<Bundle, E> {
        self.refuse_own(of, "updating")?;
        let found = self.store.find_bundle(of).await;
        let found = found.map_err(BundlesError::from)?;
        let changed = change(&found.ok_or(BundlesError::NotFound)?)?;
        Ok(self.put(changed, Put::Replace).await?)
    }

    /// Forgets the bundle of a foreign trust domain.
    ///
    /// # Errors
    ///
    /// Where there is none, entries federate with it and `how` does not say what becomes of them, it
    /// is our own trust domain, or the store fails.
    pub async fn delete(&self, of: &TrustDomain, how: Dissolve) -> Result<(), BundlesError> {
        if *of == self.trust_domain {
            return Err(BundlesError::OwnRemoved);
        }
        match self.store.delete_bundle(of, how).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(BundlesError::NotFound),
            Err(StoreError::InUse(entries)) => Err(BundlesError::InUse(entries)),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, bundle: Bundle, how: Put) -> Result<Bundle, BundlesError> {
        match self.store.put_bundle(bundle.clone(), how).await {
            Ok(()) => Ok(bundle),
            Err(StoreError::Exists) => Err(BundlesError::Exists),
            Err(StoreError::NotFound) => Err(BundlesError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    fn refuse_own(&self, of: &TrustDomain, doing: &'static str) -> Result<(), BundlesError> {
        match *of == self.trust_domain {
            true => Err(BundlesError::Own(doing)),
            false => Ok(()),
        }
    }
}

/// Why nothing came of a bundle. The texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum BundlesError {
    /// Authorities cannot be added.
    #[error("failed to append bundle")]
    Append(#[source] StoreError),
    /// There is one already.
    #[error("bundle already exists")]
    Exists,
    /// Entries federate with it.
    #[error(
        "failed to delete federated bundle: cannot delete bundle; federated with {0} registration \
         entries"
    )]
    InUse(u64),
    /// There is none.
    #[error("bundle not found")]
    NotFound,
    /// No authority was given.
    #[error("no authorities to append")]
    NothingToAppend,
    /// It is our own trust domain, where a foreign one was meant.
    #[error("{0} a federated bundle for the server's own trust domain is not allowed")]
    Own(&'static str),
    /// It is our own bundle that was to be forgotten.
    #[error("removing the bundle for the server trust domain is not allowed")]
    OwnRemoved,
    /// A key cannot be published.
    #[error("failed to publish JWT key")]
    Publish(#[source] StoreError),
    /// The store failed.
    #[error("the bundle could not be read or written")]
    Store(#[from] StoreError),
}

impl Fault for BundlesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Append(error) | Self::Store(error) => error.kind(),
            Self::Exists => Kind::AlreadyExists,
            Self::InUse(_) => Kind::NotReady,
            Self::NotFound => Kind::NotFound,
            Self::NothingToAppend | Self::Own(_) | Self::OwnRemoved => Kind::Invalid,
            Self::Publish(error) => error.kind(),
        }
    }
}
