//! The source of those who verify others and have no identity of their own.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::builder::SourceBuilder;
use super::shown::Shown;
use super::upkeep::{Progress, Upkeep};
use super::{Health, IdentitySource, SourceError};
use crate::bundle::BundleSet;
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::x509::KeyId;

/// X.509 bundles from the Workload API, always the latest, without an SVID: for a program that
/// verifies others and has no identity, or has it from elsewhere (SPIFFE Workload API section 5.2.2).
///
/// Clones share one watch. It ends with the last of them.
#[derive(Clone)]
pub struct BundleSource(Arc<Inner>);

struct Inner {
    shown: Arc<Shown>,
    /// What it is called where it is counted.
    label: &'static str,
    upkeep: Upkeep,
}

/// Settings of a [`BundleSource`].
pub type BundleSourceBuilder = SourceBuilder<BundleSource>;

impl BundleSource {
    /// A source of the API that `SPIFFE_ENDPOINT_SOCKET` names. Waits for the first bundles, but no
    /// longer than 30 seconds.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no bundle comes in time.
    pub async fn connect() -> Result<Self, SourceError> {
        Self::builder().connect().await
    }

    /// A source with settings of its own.
    pub fn builder() -> BundleSourceBuilder {
        SourceBuilder::new()
    }

    /// The bundles of this moment.
    #[must_use]
    pub fn bundles(&self) -> BundleSet {
        self.0.shown.snapshot().bundles().clone()
    }

    /// Waits until there are bundles, but no longer than the source was told to wait for its first
    /// ones. At once where there are some already.
    ///
    /// # Errors
    ///
    /// Where no bundle comes in time, or none will come.
    pub async fn ready(&self) -> Result<(), SourceError> {
        self.0.upkeep.ready(super::no_bundle).await
    }

    /// How the source is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        let Progress {
            ready,
            stopped,
            updated_at,
            trouble,
        } = self.0.upkeep.progress();
        Health {
            ready,
            stopped,
            generation: self.snapshot().generation(),
            updated_at,
            next_expiry: None,
            last_error: trouble,
        }
    }

    /// Distrusts the X.509 authorities with these keys from now on, and no others, for all clones; see
    /// [`BundleSet::distrusting`]. Connections that last are judged again.
    pub fn distrust(&self, authorities: impl IntoIterator<Item = KeyId>) {
        let authorities = authorities.into_iter().collect();
        self.0.shown.distrust(authorities, self.0.label);
    }

    /// Ends the watch, for all clones, and waits until it is over. They keep their last snapshot.
    pub async fn shutdown(self) {
        self.0.upkeep.shutdown().await;
    }
}

impl BundleSourceBuilder {
    /// Waits for the first bundles.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no bundle comes in time.
    pub async fn connect(self) -> Result<BundleSource, SourceError> {
        let source = self.connect_lazy()?;
        source.ready().await?;
        Ok(source)
    }

    /// Does not wait for the first bundles; until then nobody is believed.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect_lazy(self) -> Result<BundleSource, SourceError> {
        let client = self.client()?;
        let shown = Arc::new(Shown::new(IdentitySnapshot::default()));
        let show = Arc::clone(&shown);
        let label = self.bundles.label();
        let publish = move |bundles: BundleSet| {
            let ready = bundles.iter().next().is_some();
            if show.publish(IdentitySnapshot::new(Vec::new(), bundles)) {
                telemetry::source_shows(label, &show.snapshot());
            }
            ready
        };
        let (settings, patience) = (self.settings, self.patience);
        let upkeep = self
            .bundles
            .start(client, settings, patience, Box::new(publish));
        Ok(BundleSource(Arc::new(Inner {
            shown,
            label,
            upkeep,
        })))
    }
}

impl IdentitySource for BundleSource {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.0.shown.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.shown.cell().subscribe()
    }

    fn generation(&self) -> u64 {
        self.0.shown.cell().generation()
    }
}

impl fmt::Debug for BundleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleSource")
            .field("cell", self.0.shown.cell())
            .finish_non_exhaustive()
    }
}
