//! One fetch of a bundle: from the store to the endpoint, and what came of it back to the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use spiffe_core::clock::Clock;
use spiffe_core::{BundleSet, SpiffeId, TrustBundle, TrustDomain, with_causes};
use spiffe_hyper::federation::{
    BundleClient, EndpointUrl, FetchError, Fetched, Held, Relationship as Asked, UrlError,
};
use tracing::{debug, error, info};

use super::{Partner, schedule};
use crate::domain::{Bundle, EndpointProfile, Relationship};
use crate::server::store::{DataStore, FetchStatus, Put, StoreError};

/// Fetches bundles. What is held is in the store; only what endpoints said about newer ones, and how it
/// goes with relationships of the configuration, is remembered here.
pub(super) struct Fetches {
    client: BundleClient,
    store: Arc<dyn DataStore>,
    clock: Arc<dyn Clock>,
    remembered: Mutex<BTreeMap<TrustDomain, Remembered>>,
    of_configured: Mutex<BTreeMap<TrustDomain, FetchStatus>>,
}

/// A bundle that was fetched, with the words of its endpoint to ask for a newer one by. They count as
/// long as it is what the store holds.
struct Remembered {
    stored: Bundle,
    held: Held,
}

/// What there is before a fetch.
struct Before {
    stored: Option<Bundle>,
    held: Option<Held>,
    believed: BundleSet,
}

impl Fetches {
    pub(super) fn new(
        client: BundleClient,
        store: Arc<dyn DataStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            client: client.clock(clock.clone()),
            store,
            clock,
            remembered: Mutex::default(),
            of_configured: Mutex::default(),
        }
    }

    /// How it goes with a relationship of the configuration.
    pub(super) fn of_configured(&self, with: &TrustDomain) -> FetchStatus {
        let statuses = lock(&self.of_configured);
        statuses.get(with).cloned().unwrap_or_default()
    }

    /// Fetches a partner's bundle and keeps what comes of it, the failure too. What was held is held
    /// still where it fails.
    pub(super) async fn fetch(&self, partner: &Partner) -> Result<(), FetchFault> {
        let relationship = &partner.relationship;
        let before = self.before(relationship).await?;
        let fetched = match asked(relationship) {
            Ok(asked) => {
                let held = before.held.as_ref();
                let fetched = self.client.fetch(&asked, held, &before.believed).await;
                fetched.map_err(FetchFault::from)
            }
            Err(fault) => Err(fault),
        };
        match fetched {
            Ok(fetched) => self.succeeded(partner, before, fetched).await,
            Err(fault) => {
                let trust_domain = &relationship.trust_domain;
                error!(%trust_domain, error = %with_causes(&fault), "Error updating bundle");
                self.failed(partner, &before, &fault).await?;
                Err(fault)
            }
        }
    }

    async fn before(&self, relationship: &Relationship) -> Result<Before, StoreError> {
        let domain = &relationship.trust_domain;
        let stored = self.store.find_bundle(domain).await?;
        let held = stored.as_ref().map(|stored| {
            let remembered = lock(&self.remembered);
            match remembered.get(domain) {
                Some(known) if known.stored == *stored => known.held.clone(),
                _ => Held::from(stored.trust_bundle()),
            }
        });
        let mut believed = BundleSet::default();
        if let EndpointProfile::HttpsSpiffe(endpoint) = &relationship.profile
            && let Some(bundle) = self.bundle_for(endpoint).await?
        {
            believed = believed.with(bundle);
        }
        Ok(Before {
            stored,
            held,
            believed,
        })
    }

    /// What an endpoint with this ID is believed by.
    async fn bundle_for(&self, endpoint: &SpiffeId) -> Result<Option<TrustBundle>, StoreError> {
        let found = self.store.find_bundle(&endpoint.trust_domain()).await?;
        Ok(found.map(|bundle| bundle.trust_bundle()))
    }

    async fn succeeded(
        &self,
        partner: &Partner,
        before: Before,
        fetched: Fetched,
    ) -> Result<(), FetchFault> {
        let now = self.clock.now();
        let published = fetched.held.bundle();
        let status = FetchStatus {
            tried_at: Some(now),
            succeeded_at: Some(now),
            failure: None,
            next_at: after(now, schedule::next(Some(published))),
        };
        let new = Bundle::from(published);
        let replaces = fetched.replaced && before.stored.as_ref() != Some(&new);
        let stored = match before.stored {
            Some(stored) if !replaces => stored,
            _ => new.clone(),
        };
        self.record(partner, replaces.then_some(new), status)
            .await?;
        let trust_domain = published.trust_domain().clone();
        if replaces {
            info!(%trust_domain, "Bundle refreshed");
        }
        let held = fetched.held;
        lock(&self.remembered).insert(trust_domain, Remembered { stored, held });
        Ok(())
    }

    async fn failed(
        &self,
        partner: &Partner,
        before: &Before,
        fault: &FetchFault,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let held = before.held.as_ref().map(Held::bundle);
        let status = FetchStatus {
            tried_at: Some(now),
            succeeded_at: partner.status.succeeded_at,
            failure: Some(with_causes(fault)),
            next_at: after(now, schedule::next(held)),
        };
        self.record(partner, None, status).await
    }

    async fn record(
        &self,
        partner: &Partner,
        bundle: Option<Bundle>,
        status: FetchStatus,
    ) -> Result<(), StoreError> {
        let by = &partner.relationship;
        if partner.configured {
            if let Some(bundle) = bundle {
                self.store.put_bundle(bundle, Put::Newer).await?;
            }
            lock(&self.of_configured).insert(by.trust_domain.clone(), status);
            return Ok(());
        }
        match self.store.record_fetch(by, bundle, status).await {
            // What it was fetched for is no more, or is another one: that is fetched by itself.
            Err(StoreError::Conflict | StoreError::NotFound) => {
                debug!(trust_domain = %by.trust_domain, "a relationship changed during a fetch");
                Ok(())
            }
            recorded => recorded,
        }
    }
}

/// The relationship as the client knows it.
fn asked(relationship: &Relationship) -> Result<Asked, FetchFault> {
    let url: EndpointUrl = relationship.bundle_endpoint_url.parse()?;
    let domain = relationship.trust_domain.clone();
    Ok(match &relationship.profile {
        EndpointProfile::HttpsSpiffe(endpoint) => {
            Asked::https_spiffe(domain, url, endpoint.clone())
        }
        EndpointProfile::HttpsWeb => Asked::https_web(domain, url),
    })
}

fn after(now: SystemTime, pause: Duration) -> Option<SystemTime> {
    now.checked_add(pause)
}

/// A poisoned lock still holds what was remembered.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a bundle was not fetched, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// The endpoint does not serve it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store failed.
    #[error("the bundle could not be read or written")]
    Store(#[from] StoreError),
    /// The URL is none; a newer version of this program may have written it.
    #[error("the URL of the endpoint cannot be read")]
    Url(#[from] UrlError),
}

impl FetchFault {
    /// Whether it is something of ours that failed.
    pub(super) fn is_ours(&self) -> bool {
        // That the bundle is older than the one held is told by the store too.
        matches!(self, Self::Store(error) if !matches!(error, StoreError::Rollback { .. }))
    }
}
