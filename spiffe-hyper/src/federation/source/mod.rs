//! The source that adds bundles of other trust domains to another source.

mod error;
mod partners;
mod shared;
mod store;

use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spiffe_core::source::SnapshotCell;
use spiffe_core::{IdentitySnapshot, IdentitySource, TrustBundle, TrustDomain};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use error::FederationError;
pub use partners::PartnerHealth;

use super::held::Order;
use super::{BundleClient, Held, Relationship};
use shared::Shared;
use store::Store;

/// A source, and on top of it the bundles of those we federate with, always the newest.
///
/// It shows what the source below shows, and under the name of each other trust domain what the bundle
/// endpoint of that serves. Connections that last are judged again when one of these changes.
///
/// * What the source below has a bundle of itself, our own trust domain before all, a fetched one
///   never replaces.
/// * A fetch that fails, or that brings an older bundle than there was, changes nothing, and the next
///   one comes at its usual time.
/// * Where a relationship [`end`](Self::end)s, nobody of that trust domain is believed any more, unless
///   the source below has its bundle.
///
/// Clones share the same tasks. They end with the last of them.
#[derive(Clone)]
pub struct FederatedSource(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Nothing in its place once it was shut down.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// Settings of a [`FederatedSource`].
#[must_use]
pub struct FederatedSourceBuilder {
    base: Arc<dyn IdentitySource>,
    relationships: Vec<Relationship>,
    client: BundleClient,
    directory: Option<PathBuf>,
}

impl FederatedSourceBuilder {
    /// Federates with this trust domain.
    pub fn relationship(mut self, relationship: Relationship) -> Self {
        self.relationships.push(relationship);
        self
    }

    /// The client that bundles are fetched with; its clock is the source's.
    pub fn client(mut self, client: BundleClient) -> Self {
        self.client = client;
        self
    }

    /// Keeps the bundles in this folder, so that the next start begins with what was held at the end of
    /// this one. Nobody else may write there: what is read from it is believed. Where a bundle cannot be
    /// stored, [`PartnerHealth::store_error`] says so.
    ///
    /// The files are read at the start and whenever a relationship begins, and whoever calls waits for
    /// that: let it be a folder of this machine.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Begins to fetch, and does not wait for it: an endpoint that does not answer holds up nobody.
    /// Where somebody has to wait, there is [`ready`](FederatedSource::ready).
    ///
    /// # Errors
    ///
    /// Where a relationship cannot be, or the folder cannot be had.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<FederatedSource, FederationError> {
        let store = self.directory.map(|path| {
            Store::open(path.clone()).map_err(|source| FederationError::Directory { path, source })
        });
        let shared = Arc::new(Shared {
            cell: SnapshotCell::new(IdentitySnapshot::clone(&self.base.snapshot())),
            base: self.base,
            client: self.client,
            store: store.transpose()?,
            partners: Mutex::default(),
            turned: watch::Sender::default(),
        });
        let source = FederatedSource(Arc::new(Inner {
            shared: Arc::clone(&shared),
            tasks: Mutex::new(Some(JoinSet::new())),
        }));
        for relationship in self.relationships {
            source.federate(relationship)?;
        }
        source.spawn(|tasks| tasks.spawn(shared.follow()))?;
        Ok(source)
    }
}

impl FederatedSource {
    /// Settings of a source on top of `base`.
    pub fn builder(base: impl IdentitySource) -> FederatedSourceBuilder {
        FederatedSourceBuilder {
            base: Arc::new(base),
            relationships: Vec::new(),
            client: BundleClient::new(),
            directory: None,
        }
    }

    /// Federates with one more trust domain from now on. What was stored of it is read here.
    ///
    /// # Errors
    ///
    /// Where that is our own, is federated with already, or its endpoint serves itself and nothing is
    /// told or stored to believe it by.
    pub fn federate(&self, relationship: Relationship) -> Result<(), FederationError> {
        let shared = &self.0.shared;
        let domain = relationship.trust_domain().clone();
        let stored = shared.store.as_ref().and_then(|store| store.load(&domain));
        let held = newest(stored, relationship.first_bundle().cloned());
        if relationship.serves_itself() && held.is_none() {
            return Err(FederationError::NoBootstrap(domain));
        }
        if self.tasks().is_none() {
            return Err(FederationError::Shutdown);
        }
        let mut partners = shared.partners();
        partners.learn(&shared.base.snapshot());
        if partners.is_own(&domain) {
            return Err(FederationError::OwnTrustDomain(domain));
        }
        if partners.get(&domain).is_some() {
            return Err(FederationError::AlreadyFederated(domain));
        }
        partners.insert(relationship, held.map(Held::from));
        shared.publish(&mut partners);
        let Some(partner) = partners.get_mut(&domain) else {
            return Err(FederationError::NotFederated(domain));
        };
        let keeping = Arc::clone(shared).keep(domain, Arc::clone(&partner.nudge));
        partner.task = Some(self.spawn(|tasks| tasks.spawn(keeping))?);
        Ok(())
    }

    /// Ends the relationship with a trust domain: none of its members is believed from now on, and
    /// connections with them end (SPIFFE Federation section 6.3). What was stored of it is removed.
    ///
    /// Where the source below has a bundle of that trust domain itself ([`PartnerHealth::shadowed`]),
    /// that one goes on to be believed: to end it, end it there.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub async fn end(&self, trust_domain: &TrustDomain) -> Result<(), FederationError> {
        let shared = &self.0.shared;
        {
            let mut partners = shared.partners();
            let ended = partners.remove(trust_domain);
            let ended = ended.ok_or_else(|| FederationError::NotFederated(trust_domain.clone()))?;
            if let Some(task) = ended.task {
                task.abort();
            }
            shared.publish(&mut partners);
        }
        shared.turned.send_replace(());
        Arc::clone(shared).settle(trust_domain.clone()).await;
        Ok(())
    }

    /// Holds this bundle of a trust domain that is federated with, whatever its number: for an
    /// administrator who had it by another way, or who wants an older one back.
    ///
    /// # Errors
    ///
    /// Where that trust domain is not federated with.
    pub async fn set(&self, bundle: TrustBundle) -> Result<(), FederationError> {
        let shared = &self.0.shared;
        let domain = bundle.trust_domain().clone();
        {
            let mut partners = shared.partners();
            let partner = partners.get_mut(&domain);
            let partner = partner.ok_or_else(|| FederationError::NotFederated(domain.clone()))?;
            partner.set(bundle);
            shared.publish(&mut partners);
        }
        shared.turned.send_replace(());
        Arc::clone(shared).settle(domain).await;
        Ok(())
    }

    /// Fetches the bundle of a trust domain now, and waits until that is done.
    ///
    /// # Errors
    ///
    /// Where that trust domain is not federated with, or the fetch failed.
    pub async fn refresh(&self, trust_domain: &TrustDomain) -> Result<(), FederationError> {
        let shared = &self.0.shared;
        let not_federated = || FederationError::NotFederated(trust_domain.clone());
        let mut turns = shared.turned.subscribe();
        let round = {
            let mut partners = shared.partners();
            let partner = partners.get_mut(trust_domain);
            partner.ok_or_else(not_federated)?.hurry()
        };
        loop {
            if self.tasks().is_none() {
                return Err(FederationError::Shutdown);
            }
            let outcome = {
                let partners = shared.partners();
                let partner = partners.get(trust_domain).ok_or_else(not_federated)?;
                partner.outcome(round)
            };
            if let Some(outcome) = outcome {
                return outcome.map_err(FederationError::Fetch);
            }
            // The other end is ours, so it is there.
            let _ = turns.changed().await;
        }
    }

    /// Waits until there is a bundle of every trust domain that is federated with, fetched or from the
    /// source below, but no longer than `limit`.
    ///
    /// A first bundle that [`bootstrap`](Relationship::bootstrap) gave counts, and one that was kept in
    /// the directory: it does not say that any endpoint was reached. [`refresh`](Self::refresh) does.
    ///
    /// # Errors
    ///
    /// Where one is missing by then, or the source was shut down. It goes on otherwise;
    /// [`health`](Self::health) tells what was wrong.
    pub async fn ready(&self, limit: Duration) -> Result<(), FederationError> {
        let shared = &self.0.shared;
        let mut turns = shared.turned.subscribe();
        let all_there = async {
            while !shared.partners().missing().is_empty() {
                if self.tasks().is_none() {
                    return Err(FederationError::Shutdown);
                }
                // The other end is ours, so it is there.
                let _ = turns.changed().await;
            }
            Ok(())
        };
        let missing = || FederationError::NotReady {
            waited: limit,
            missing: shared.partners().missing(),
        };
        timeout(limit, all_there)
            .await
            .unwrap_or_else(|_| Err(missing()))
    }

    /// How each relationship goes, in the order of their trust domains.
    #[must_use]
    pub fn health(&self) -> Vec<PartnerHealth> {
        self.0.shared.partners().health()
    }

    /// Ends all fetching, for all clones, and waits until it is over. They keep their last snapshot.
    pub async fn shutdown(self) {
        let tasks = mem::take(&mut *self.tasks());
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
        self.0.shared.turned.send_replace(());
    }

    fn spawn<T>(&self, spawn: impl FnOnce(&mut JoinSet<()>) -> T) -> Result<T, FederationError> {
        let mut tasks = self.tasks();
        let tasks = tasks.as_mut().ok_or(FederationError::Shutdown)?;
        // What has ended need not be held.
        while tasks.try_join_next().is_some() {}
        Ok(spawn(tasks))
    }

    /// A poisoned lock still holds the tasks.
    fn tasks(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was stored, unless what was told is newer by its number.
fn newest(stored: Option<TrustBundle>, told: Option<TrustBundle>) -> Option<TrustBundle> {
    match (stored, told) {
        (Some(stored), Some(told)) => {
            let is_numbered = told.sequence() > stored.sequence();
            let is_newer = is_numbered && Order::of(&stored, &told) == Order::Newer;
            Some(if is_newer { told } else { stored })
        }
        (stored, told) => stored.or(told),
    }
}

impl IdentitySource for FederatedSource {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.0.shared.cell.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.shared.cell.subscribe()
    }

    fn generation(&self) -> u64 {
        self.0.shared.cell.generation()
    }
}

impl fmt::Debug for FederatedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FederatedSource")
            .field("cell", &self.0.shared.cell)
            .field("partners", &self.health())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FederatedSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FederatedSourceBuilder")
            .field("relationships", &self.relationships)
            .field("client", &self.client)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
