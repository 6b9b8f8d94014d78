//! Federation: with whom we exchange bundles, and how that goes.
//!
//! A relationship stands in the configuration or was made by a call; both are one list, and what the
//! configuration says of a trust domain counts there.

pub mod endpoint;
mod fetch;
mod pages;
pub mod refresh;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use spiffe_core::clock::Clock;
use spiffe_core::{TrustDomain, with_causes};
use spiffe_hyper::federation::BundleClient;
use tokio::sync::Notify;
use tracing::{debug, info};

use super::store::{DataStore, FetchStatus, StoreError};
use crate::domain::{Bundle, Fault, Kind, Page, Paged, Relationship};

pub use fetch::FetchFault;
use fetch::Fetches;

/// Those we federate with.
pub struct Federation {
    trust_domain: TrustDomain,
    store: Arc<dyn DataStore>,
    configured: BTreeMap<TrustDomain, Relationship>,
    fetches: Fetches,
    /// Tells the worker that fetches that the list has changed.
    changed: Notify,
}

/// A relationship, and how it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// What was agreed.
    pub relationship: Relationship,
    /// Whether it stands in the configuration, and can be changed only there.
    pub configured: bool,
    /// How fetching its bundle goes.
    pub status: FetchStatus,
}

impl Federation {
    /// The relationships of the configuration, and those in the store.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        configured: Vec<Relationship>,
        store: Arc<dyn DataStore>,
        client: BundleClient,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let configured = configured.into_iter();
        Self {
            fetches: Fetches::new(client, store.clone(), clock),
            configured: configured.map(|r| (r.trust_domain.clone(), r)).collect(),
            trust_domain,
            store,
            changed: Notify::new(),
        }
    }

    /// A page of the relationships: those of the configuration first.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn list(&self, page: &Page) -> Result<Paged<Partner>, FederationError> {
        let configured = self.configured.values();
        let (mut items, rest) = pages::first(configured, page);
        let mut partners: Vec<_> = items.drain(..).map(|known| self.of_file(known)).collect();
        let next = match rest {
            pages::Rest::Later(cursor) => Some(cursor),
            pages::Rest::Stored(page) => {
                let stored = self.store.list_relationships(&page).await?;
                let kept = stored.items.into_iter();
                let kept = kept.filter(|s| !self.is_configured(&s.relationship.trust_domain));
                partners.extend(kept.map(|stored| Partner {
                    relationship: stored.relationship,
                    configured: false,
                    status: stored.status,
                }));
                stored.next
            }
        };
        Ok(Paged {
            items: partners,
            next,
        })
    }

    /// The relationship with a trust domain.
    ///
    /// # Errors
    ///
    /// Where there is none, or the store fails.
    pub async fn find(&self, with: &TrustDomain) -> Result<Partner, FederationError> {
        let found = self.look_up(with).await?;
        found.ok_or(FederationError::Absent)
    }

    /// What is held of a trust domain.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn bundle(&self, of: &TrustDomain) -> Result<Option<Bundle>, FederationError> {
        Ok(self.store.find_bundle(of).await?)
    }

    /// Federates with one more trust domain. A bundle that comes with it takes the place of any there
    /// is.
    ///
    /// # Errors
    ///
    /// Where it is our own, there is a relationship with it, or the store fails.
    pub async fn create(
        &self,
        relationship: &Relationship,
        bundle: Option<Bundle>,
    ) -> Result<(), FederationError> {
        let with = &relationship.trust_domain;
        if *with == self.trust_domain {
            return Err(FederationError::Own);
        }
        if self.is_configured(with) {
            return Err(FederationError::Exists(with.clone()));
        }
        match self.store.create_relationship(relationship, bundle).await {
            Ok(()) => debug!(trust_domain = %with, "Federation relationship created"),
            Err(StoreError::Exists) => return Err(FederationError::Exists(with.clone())),
            Err(error) => return Err(error.into()),
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Changes a relationship as `change` says. Its bundle is fetched anew then.
    ///
    /// # Errors
    ///
    /// Where there is none, it stands in the configuration, `change` fails, or the store does.
    pub async fn update<E: From<FederationError>>(
        &self,
        with: &TrustDomain,
        change: impl FnOnce(&Relationship) -> Result<(Relationship, Option<Bundle>), E>,
    ) -> Result<(), E> {
        self.refuse_configured(with)?;
        let found = self.store.find_relationship(with).await;
        let found = found.map_err(FederationError::from)?;
        let found = found.ok_or(FederationError::NotFound)?;
        let (changed, bundle) = change(&found.relationship)?;
        match self.store.replace_relationship(&changed, bundle).await {
            Ok(()) => debug!(trust_domain = %with, "Federation relationship updated"),
            Err(StoreError::NotFound) => return Err(FederationError::NotFound.into()),
            Err(error) => return Err(FederationError::from(error).into()),
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Ends a relationship. The bundle stays, for entries may federate with it.
    ///
    /// # Errors
    ///
    /// Where there is none, it stands in the configuration, or the store fails.
    pub async fn delete(&self, with: &TrustDomain) -> Result<(), FederationError> {
        self.refuse_configured(with)?;
        if !self.store.delete_relationship(with).await? {
            return Err(FederationError::Gone);
        }
        debug!(trust_domain = %with, "Federation relationship deleted");
        self.changed.notify_one();
        Ok(())
    }

    /// Fetches a bundle now, and waits until that is done.
    ///
    /// # Errors
    ///
    /// Where there is no relationship with that trust domain, or the fetch fails.
    pub async fn refresh(&self, with: &TrustDomain) -> Result<(), FederationError> {
        let found = self.look_up(with).await?;
        let partner = found.ok_or_else(|| FederationError::NoPartner(with.clone()))?;
        let fetched = self.fetches.fetch(&partner).await;
        fetched.map_err(FederationError::Refresh)
    }

    async fn look_up(&self, with: &TrustDomain) -> Result<Option<Partner>, FederationError> {
        if let Some(relationship) = self.configured.get(with) {
            return Ok(Some(self.of_file(relationship)));
        }
        let found = self.store.find_relationship(with).await?;
        Ok(found.map(|stored| Partner {
            relationship: stored.relationship,
            configured: false,
            status: stored.status,
        }))
    }

    fn of_file(&self, relationship: &Relationship) -> Partner {
        Partner {
            relationship: relationship.clone(),
            configured: true,
            status: self.fetches.of_configured(&relationship.trust_domain),
        }
    }

    fn is_configured(&self, with: &TrustDomain) -> bool {
        self.configured.contains_key(with)
    }

    fn refuse_configured(&self, with: &TrustDomain) -> Result<(), FederationError> {
        match self.is_configured(with) {
            true => Err(FederationError::Configured(with.clone())),
            false => Ok(()),
        }
    }

    /// Tells which trust domains are and are no longer fetched from, in words that operators look for.
    fn tell_managed(before: &[TrustDomain], now: &[TrustDomain]) {
        for trust_domain in now.iter().filter(|known| !before.contains(known)) {
            info!(%trust_domain, "Trust domain is now managed");
        }
        for trust_domain in before.iter().filter(|known| !now.contains(known)) {
            info!(%trust_domain, "Trust domain no longer managed");
        }
    }
}

/// Why nothing came of a relationship. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// There is none to be told.
    #[error("federation relationship does not exist")]
    Absent,
    /// It stands in the configuration.
    #[error(
        "the federation relationship with \"{0}\" stands in the configuration of the server, and can \
         be changed only there"
    )]
    Configured(TrustDomain),
    /// There is one already.
    #[error("failed to create federation relationship: there is one with \"{0}\" already")]
    Exists(TrustDomain),
    /// There is none to be deleted.
    #[error("federation relationship not found")]
    Gone,
    /// There is none by which a bundle could be fetched.
    #[error("no relationship with trust domain \"{0}\"")]
    NoPartner(TrustDomain),
    /// There is none to be changed.
    #[error("failed to update federation relationship: there is none with this trust domain")]
    NotFound,
    /// It would be with ourselves.
    #[error("unable to create federation relationship for server trust domain")]
    Own,
    /// The bundle could not be fetched.
    #[error("failed to refresh bundle")]
    Refresh(#[source] FetchFault),
    /// The store failed.
    #[error("the federation relationship could not be read or written")]
    Store(#[from] StoreError),
}

impl Fault for FederationError {
    fn kind(&self) -> Kind {
        match self {
            Self::Absent | Self::Gone | Self::NoPartner(_) | Self::NotFound => Kind::NotFound,
            Self::Configured(_) => Kind::NotReady,
            Self::Exists(_) => Kind::AlreadyExists,
            Self::Own => Kind::Invalid,
            Self::Refresh(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }

    /// Whoever asks for a fetch has to know what is wrong with the endpoint, which is not ours.
    fn told(&self) -> Option<String> {
        matches!(self, Self::Refresh(fault) if !fault.is_ours()).then(|| with_causes(self))
    }
}
