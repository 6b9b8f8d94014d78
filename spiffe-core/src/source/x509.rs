//! The source that the Workload API keeps up to date.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::builder::SourceBuilder;
use super::shown::Shown;
use super::upkeep::{Progress, Upkeep};
use super::{Health, IdentitySource, IdentityView, SourceError};
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::x509::{KeyId, X509Svid};

/// Identities from the Workload API, always the latest.
///
/// What comes is judged before it is shown: a renewal that fails, or that brings something a peer
/// would not believe, leaves the valid SVID in place, and so does an agent that goes away. Only
/// where the agent says that there is no identity any more is it withdrawn, and then at once.
///
/// Clones share one watch. It ends with the last of them.
#[derive(Clone)]
pub struct X509Source(Arc<Inner>);

struct Inner {
    shown: Arc<Shown>,
    /// What it is called where it is counted.
    label: &'static str,
    upkeep: Upkeep,
    passed_over: Arc<AtomicUsize>,
}

/// Settings of an [`X509Source`].
pub type X509SourceBuilder = SourceBuilder<X509Source>;

impl X509Source {
    /// A source of the API that `SPIFFE_ENDPOINT_SOCKET` names. Waits for the first identity, but
    /// no longer than 30 seconds.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no identity comes in time.
    pub async fn connect() -> Result<Self, SourceError> {
        Self::builder().connect().await
    }

    /// The same without waiting: until the first identity comes, handshakes that need one fail.
    /// [`ready`](Self::ready) waits for it.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect_lazy() -> Result<Self, SourceError> {
        Self::builder().connect_lazy()
    }

    /// A source with settings of its own.
    pub fn builder() -> X509SourceBuilder {
        SourceBuilder::new()
    }

    /// Waits until there is an identity, but no longer than the source was told to wait for its first
    /// one. At once where there is one already.
    ///
    /// # Errors
    ///
    /// Where no identity comes in time, or none will come.
    pub async fn ready(&self) -> Result<(), SourceError> {
        let passed_over = || self.0.passed_over.load(Ordering::Relaxed);
        let waiting = self.0.upkeep.ready(|late| match passed_over() {
            0 => SourceError::NoIdentity {
                endpoint: late.endpoint,
                waited: late.waited,
                source: late.source,
            },
            others => SourceError::NotPicked {
                endpoint: late.endpoint,
                waited: late.waited,
                others,
            },
        });
        waiting.await
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
        let snapshot = self.snapshot();
        Health {
            ready,
            stopped,
            generation: snapshot.generation(),
            updated_at,
            next_expiry: snapshot.svids().iter().map(X509Svid::not_after).min(),
            last_error: trouble,
        }
    }

    /// Distrusts the authorities with these keys from now on, and no others, for all clones; see
    /// [`BundleSet::distrusting`](crate::BundleSet::distrusting). Connections that last are judged again.
    ///
    /// The source's own SVIDs are shown as before, whoever signed them: their peers judge that.
    pub fn distrust(&self, authorities: impl IntoIterator<Item = KeyId>) {
        let authorities = authorities.into_iter().collect();
        self.0.shown.distrust(authorities, self.0.label);
    }

    /// The source seen by some of its identities, so that one source serves them all:
    /// `source.with_identity(by_hint("internal"))`.
    pub fn with_identity(
        &self,
        meant: impl Fn(&X509Svid) -> bool + Send + Sync + 'static,
    ) -> IdentityView<Self> {
        IdentityView::new(self.clone(), meant)
    }

    /// Ends the watch, for all clones, and waits until it is over. They keep their last snapshot.
    pub async fn shutdown(self) {
        self.0.upkeep.shutdown().await;
    }
}

impl X509SourceBuilder {
    /// Waits for the first identity.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no identity comes in time.
    pub async fn connect(self) -> Result<X509Source, SourceError> {
        let source = self.connect_lazy()?;
        source.ready().await?;
        Ok(source)
    }

    /// Does not wait for the first identity.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect_lazy(self) -> Result<X509Source, SourceError> {
        let client = self.client()?;
        let shown = Arc::new(Shown::new(IdentitySnapshot::default()));
        let passed_over = Arc::new(AtomicUsize::new(0));
        let (show, counted, pick) = (Arc::clone(&shown), Arc::clone(&passed_over), self.pick);
        let label = self.identities.label();
        let publish = move |snapshot: IdentitySnapshot| {
            let all = snapshot.svids().len();
            let snapshot = match &pick {
                Some(meant) => snapshot.with_only(|svid| meant(svid)),
                None => snapshot,
            };
            let ready = snapshot.svid().is_some();
            counted.store(all - snapshot.svids().len(), Ordering::Relaxed);
            if show.publish(snapshot) {
                telemetry::source_shows(label, &show.snapshot());
            }
            ready
        };
        let (settings, patience) = (self.settings, self.patience);
        let upkeep = self
            .identities
            .start(client, settings, patience, Box::new(publish));
        Ok(X509Source(Arc::new(Inner {
            shown,
            label,
            upkeep,
            passed_over,
        })))
    }
}

impl IdentitySource for X509Source {
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

impl fmt::Debug for X509Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Source")
            .field("cell", self.0.shown.cell())
            .finish_non_exhaustive()
    }
}
