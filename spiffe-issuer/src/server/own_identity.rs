//! The server's own identity: an X509-SVID from its own authority, renewed at half its life with a
//! new key that never leaves memory, and the bundles that its callers are verified with.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::source::SnapshotCell;
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey, X509Error};
use spiffe_core::{
    BundleSet, IdentitySnapshot, IdentitySource, TrustBundle, TrustDomain, X509Svid,
};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::ca::{Authorities, CaError, Leaf};
use super::store::{BundleStore, StoreError, StoredBundle};
use crate::domain::{AuthorityId, AuthorityKind, Fault, Kind};
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};

/// Whose identity it is, and whom it verifies.
#[derive(Debug, Clone)]
pub struct OwnIdentityConfig {
    /// The trust domain of this server.
    pub trust_domain: TrustDomain,
    /// How long an SVID of the server lives.
    pub lifetime: Duration,
    /// Foreign trust domains that some callers are from: those of administrators.
    pub foreign: BTreeSet<TrustDomain>,
}

/// Keeps the server's identity fresh.
pub struct OwnIdentity {
    config: OwnIdentityConfig,
    authorities: Arc<Authorities>,
    store: Arc<dyn BundleStore>,
    clock: Arc<dyn Clock>,
    svid: X509Svid,
    renew_at: SystemTime,
    bundles: Vec<StoredBundle>,
    cell: Arc<SnapshotCell>,
}

impl OwnIdentity {
    /// Gets the first SVID. Listeners can be opened once this returns.
    ///
    /// # Errors
    ///
    /// Where nothing can be signed, or the bundles cannot be read.
    pub async fn start(
        config: OwnIdentityConfig,
        authorities: Arc<Authorities>,
        store: Arc<dyn BundleStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OwnIdentityError> {
        let bundles = read_bundles(&config, &*store).await?;
        let (svid, renew_at) = new_svid(&config, &authorities, clock.now()).await?;
        let first = snapshot(&svid, &bundles);
        Ok(Self {
            config,
            authorities,
            store,
            clock,
            svid,
            renew_at,
            bundles,
            cell: Arc::new(SnapshotCell::new(first)),
        })
    }

    /// Where listeners take the identity from, at each handshake.
    #[must_use]
    pub fn source(&self) -> Arc<dyn IdentitySource> {
        Arc::<SnapshotCell>::clone(&self.cell)
    }

    /// Looks every few seconds whether the SVID is due, or a bundle has changed.
    ///
    /// # Errors
    ///
    /// None: a failure is tried again, and until then all stays as it is.
    pub async fn run(mut self, mut part: Part, stop: Shutdown) -> Result<(), TaskError> {
        loop {
            match self.tick().await {
                Ok(()) => part.succeeded(),
                Err(failure) => {
                    part.failed(&failure);
                    let failure: &dyn Error = &failure;
                    error!(error = failure, "Could not rotate server SVID");
                }
            }
            let next = self.clock.now() + LOOK_EVERY;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep_until(&*self.clock, next) => {}
            }
        }
    }

    /// Does what is due now, for those who bring their own clock.
    ///
    /// # Errors
    ///
    /// Where signing or reading fails. What is published then is what was there before, but for a
    /// part that did not fail.
    pub async fn tick(&mut self) -> Result<(), OwnIdentityError> {
        let now = self.clock.now();
        let bundles = read_bundles(&self.config, &*self.store).await;
        let tainted = self.is_tainted(bundles.as_deref().unwrap_or(&self.bundles));
        if tainted {
            warn!(
                "Server SVID signed using a tainted authority, forcing rotation of the Server SVID"
            );
        }
        // Bundles also change where signing fails, and other way round.
        let renewed = match tainted || now >= self.renew_at {
            true => Some(new_svid(&self.config, &self.authorities, now).await),
            false => None,
        };
        let mut changed = false;
        if let Some(Ok((svid, renew_at))) = &renewed {
            (self.svid, self.renew_at, changed) = (svid.clone(), *renew_at, true);
            info!(
                spiffe_id = %self.svid.id(),
                expires_at = ?self.svid.not_after(),
                "Server SVID rotated"
            );
        }
        if let Ok(bundles) = &bundles
            && *bundles != self.bundles
        {
            self.bundles.clone_from(bundles);
            changed = true;
        }
        if changed {
            self.cell.publish(snapshot(&self.svid, &self.bundles));
        }
        renewed.transpose()?;
        bundles.map(drop)
    }

    /// Whether somebody who signed our SVID is tainted, and signing anew would bring one that is not.
    fn is_tainted(&self, bundles: &[StoredBundle]) -> bool {
        let mut own = bundles.iter();
        let own = own.find(|bundle| bundle.trust_domain == self.config.trust_domain);
        let is_tainted = |id: &AuthorityId| {
            own.and_then(|own| own.taint_of(AuthorityKind::X509, id)) == Some(true)
        };
        let states = self.authorities.x509_states();
        let Some(active) = states.first() else {
            return false;
        };
        let again = [Some(&active.id), active.upstream.as_ref()];
        issuers(&self.svid).any(|id| is_tainted(&id))
            && !again.into_iter().flatten().any(is_tainted)
    }
}

/// The authorities that a chain names as its issuers.
fn issuers(svid: &X509Svid) -> impl Iterator<Item = AuthorityId> {
    let issuers = svid
        .chain()
        .iter()
        .filter_map(Certificate::authority_key_id);
    issuers.map(AuthorityId::from_key_id)
}

/// A new key, its SVID, and when that has lived half its life.
async fn new_svid(
    config: &OwnIdentityConfig,
    authorities: &Authorities,
    now: SystemTime,
) -> Result<(X509Svid, SystemTime), OwnIdentityError> {
    let key = spawn_blocking(|| PrivateKey::generate(KeyKind::EcP256)).await;
    let key = key.map_err(|_| OwnIdentityError::Stopped)??;
    let public_key = key.public_key().clone();
    let leaf = Leaf::server(&config.trust_domain, public_key, config.lifetime)?;
    let svid = X509Svid::new(authorities.issue(leaf, now).await?, key)?;
    let life = svid.not_after().duration_since(now).unwrap_or_default();
    Ok((svid, now + life / 2))
}

/// Our own bundle, and those of foreign administrators as far as they are here.
async fn read_bundles(
    config: &OwnIdentityConfig,
    store: &dyn BundleStore,
) -> Result<Vec<StoredBundle>, OwnIdentityError> {
    let mut bundles = Vec::new();
    for trust_domain in std::iter::once(&config.trust_domain).chain(&config.foreign) {
        bundles.extend(store.find_bundle(trust_domain).await?);
    }
    Ok(bundles)
}

fn snapshot(svid: &X509Svid, bundles: &[StoredBundle]) -> IdentitySnapshot {
    let bundles = bundles.iter().fold(BundleSet::default(), |set, bundle| {
        let authorities = bundle.x509_authorities.iter();
        let certificates = authorities.map(|authority| authority.certificate.clone());
        set.with(TrustBundle::new(
            bundle.trust_domain.clone(),
            certificates.collect(),
        ))
    });
    IdentitySnapshot::new(vec![svid.clone()], bundles)
}

impl fmt::Debug for OwnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnIdentity")
            .field("svid", &self.svid)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// Why the server's identity was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum OwnIdentityError {
    /// Signing failed.
    #[error("signing the server's SVID")]
    Ca(#[from] CaError),
    /// The task that makes keys was stopped.
    #[error("the work was stopped")]
    Stopped,
    /// The bundles cannot be read.
    #[error("reading the bundles that callers are verified with")]
    Store(#[from] StoreError),
    /// No key could be made, or what was signed is no SVID.
    #[error("making the server's SVID")]
    X509(#[from] X509Error),
}

impl Fault for OwnIdentityError {
    fn kind(&self) -> Kind {
        match self {
            Self::Ca(error) => error.kind(),
            Self::Stopped => Kind::Unavailable,
            Self::Store(error) => error.kind(),
            Self::X509(_) => Kind::Internal,
        }
    }
}

/// How often to look what is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
