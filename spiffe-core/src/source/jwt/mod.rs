//! The source of tokens, and of the bundles that those of others are verified with.

mod cache;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use tracing::warn;

use self::cache::{Cache, Key, Landed, Plan};
use super::builder::SourceBuilder;
use super::upkeep::{Progress, Upkeep};
use super::{Health, IdentitySource, SnapshotCell, SourceError};
use crate::SpiffeId;
use crate::bundle::BundleSet;
use crate::clock::Clock;
use crate::jwt::JwtSvid;
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::verify::{self, JwtRules, VerifiedJwt, VerifyJwtError};
use crate::with_causes;
use crate::workload_api::{Feed, JwtBundles, WhenDenied, WorkloadApiClient, WorkloadApiError};

/// JWT-SVIDs from the Workload API, and the bundles to verify those of others with.
///
/// A token is fetched when it is asked for and kept for who asks next, per identity and audience.
/// From half of its life on it is given while the next one is fetched, and it goes on being given
/// until it ends where that fails. Of those who ask for the same at the same time one asks the API.
/// Where the API says that there is no identity for this workload any more, the token is given no
/// longer.
///
/// As an [`IdentitySource`] it has no SVID; its snapshots hold the bundles, which are watched.
///
/// Clones share tokens and watch. They end with the last of them.
#[derive(Clone)]
pub struct JwtSource(Arc<Inner>);

struct Inner {
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    when_denied: WhenDenied,
    rules: JwtRules,
    cell: Arc<SnapshotCell>,
    upkeep: Upkeep,
    cache: Arc<Mutex<Cache>>,
    // Nothing once the source was shut down.
    fetches: Mutex<Option<JoinSet<()>>>,
}

/// Settings of a [`JwtSource`].
pub type JwtSourceBuilder = SourceBuilder<JwtSource>;

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JwtSourceError {
    /// The Workload API gave none.
    #[error("no JWT-SVID")]
    Fetch(#[source] Arc<WorkloadApiError>),
    /// No audience was named, or one with an empty name.
    #[error("a token needs an audience: name at least one, and none with an empty name")]
    NoAudience,
    /// The source was shut down.
    #[error("the source was shut down")]
    Shutdown,
}

impl JwtSource {
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
    pub fn builder() -> JwtSourceBuilder {
        SourceBuilder::new()
    }

    /// A token of the default identity for this audience.
    ///
    /// # Errors
    ///
    /// Where there is no valid one and none can be had.
    pub async fn svid(
        &self,
        audience: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<JwtSvid, JwtSourceError> {
        self.ask(None, audience.into_iter().map(Into::into).collect())
            .await
    }

    /// A token of this identity, for this audience.
    ///
    /// # Errors
    ///
    /// As for [`svid`](Self::svid).
    pub async fn svid_of(
        &self,
        id: &SpiffeId,
        audience: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<JwtSvid, JwtSourceError> {
        let audience = audience.into_iter().map(Into::into).collect();
        self.ask(Some(id.clone()), audience).await
    }

    /// Verifies a token of another with the bundles of this moment. `audience` are the names that the
    /// caller goes by.
    ///
    /// # Errors
    ///
    /// As for [`verify::jwt`](crate::verify::jwt()).
    pub fn verify(
        &self,
        token: &str,
        audience: &[impl AsRef<str>],
    ) -> Result<VerifiedJwt, VerifyJwtError> {
        let snapshot = self.snapshot();
        let now = self.0.clock.now();
        verify::jwt(token, snapshot.bundles(), audience, now, &self.0.rules)
    }

    /// The bundles of this moment.
    #[must_use]
    pub fn bundles(&self) -> BundleSet {
        self.snapshot().bundles().clone()
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

    /// How the watch of the bundles is doing.
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

    /// Ends the watch and all fetches, for all clones, and waits until they are over. Bundles and
    /// valid tokens go on being given.
    pub async fn shutdown(self) {
        let fetches = held(&self.0.fetches).take();
        if let Some(mut fetches) = fetches {
            fetches.shutdown().await;
        }
        self.0.upkeep.shutdown().await;
    }

    async fn ask(
        &self,
        id: Option<SpiffeId>,
        audience: BTreeSet<String>,
    ) -> Result<JwtSvid, JwtSourceError> {
        if audience.is_empty() || audience.contains("") {
            return Err(JwtSourceError::NoAudience);
        }
        let key = Key { id, audience };
        let plan = held(&self.0.cache).ask(&key, self.0.clock.now());
        telemetry::token_asked(match &plan {
            Plan::Fetch(..) => "miss",
            Plan::Give(_) => "hit",
            Plan::GiveAndRenew(..) => "refresh",
            Plan::Join(_) => "joined",
        });
        let mut flight = match plan {
            Plan::Give(svid) => return Ok(svid),
            Plan::GiveAndRenew(svid, teller) => {
                self.fetch(key, teller);
                return Ok(svid);
            }
            Plan::Fetch(teller, flight) => {
                self.fetch(key, teller);
                flight
            }
            Plan::Join(flight) => flight,
        };
        let landed = flight.wait_for(Option::is_some).await;
        // Whoever would have told is gone only with the source.
        let landed = landed.map_err(|_| JwtSourceError::Shutdown)?.clone();
        landed.unwrap_or(Err(JwtSourceError::Shutdown))
    }

    /// Fetches in a task of its own: who asked may stop waiting, and others wait for the same.
    fn fetch(&self, key: Key, teller: watch::Sender<Option<Landed>>) {
        let mut fetches = held(&self.0.fetches);
        let Some(fetches) = &mut *fetches else {
            return;
        };
        while fetches.try_join_next().is_some() {}
        let fetch = Fetch {
            client: self.0.client.clone(),
            clock: Arc::clone(&self.0.clock),
            when_denied: self.0.when_denied,
            cache: Arc::clone(&self.0.cache),
        };
        fetches.spawn(fetch.run(key, teller));
    }
}

/// What a fetch needs of its source, which may be gone before it is over.
struct Fetch {
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    when_denied: WhenDenied,
    cache: Arc<Mutex<Cache>>,
}

impl Fetch {
    async fn run(self, key: Key, teller: watch::Sender<Option<Landed>>) {
        let audience = key.audience.iter().map(String::as_str);
        let fetched = self.client.fetch_jwt_svid(audience, key.id.as_ref()).await;
        let withdraw = match &fetched {
            Ok(_) => {
                telemetry::token_fetched(telemetry::OK);
                false
            }
            Err(error) => {
                telemetry::token_fetched(telemetry::FAILED);
                warn!(endpoint = %self.client.endpoint(), error = %with_causes(error), "no JWT-SVID");
                is_denied(error) && self.when_denied == WhenDenied::Withdraw
            }
        };
        let landed = fetched.map_err(|error| JwtSourceError::Fetch(Arc::new(error)));
        let now = self.clock.now();
        held(&self.cache).land(&key, &landed, withdraw, now, fastrand::u64(..));
        teller.send_replace(Some(landed));
    }
}

fn is_denied(error: &WorkloadApiError) -> bool {
    matches!(error, WorkloadApiError::Refused(status) if status.code() == Code::PermissionDenied)
}

/// A poisoned lock still holds what it held: nothing in here is left half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JwtSourceBuilder {
    /// What is asked of the tokens of others where the standard leaves a choice.
    pub fn rules(mut self, rules: JwtRules) -> Self {
        self.rules = rules;
        self
    }

    /// Waits for the first bundles.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no bundle comes in time.
    pub async fn connect(self) -> Result<JwtSource, SourceError> {
        let source = self.connect_lazy()?;
        source.ready().await?;
        Ok(source)
    }

    /// Does not wait for the first bundles; until then no token is believed. Tokens of one's own can
    /// be had without them.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect_lazy(self) -> Result<JwtSource, SourceError> {
        let client = self.client()?;
        let cell = Arc::new(SnapshotCell::new(IdentitySnapshot::default()));
        let shown = Arc::clone(&cell);
        Ok(JwtSource(Arc::new(Inner {
            client: client.clone(),
            clock: Arc::clone(&self.settings.clock),
            when_denied: self.settings.when_denied,
            rules: self.rules,
            cell,
            cache: Arc::new(Mutex::new(Cache::new(self.settings.waits))),
            fetches: Mutex::new(Some(JoinSet::new())),
            upkeep: Upkeep::start(
                JwtBundles,
                client,
                self.settings,
                self.patience,
                move |bundles| super::publish_bundles(&shown, bundles, JwtBundles::LABEL),
            ),
        })))
    }
}

impl IdentitySource for JwtSource {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.0.cell.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.cell.subscribe()
    }

    fn generation(&self) -> u64 {
        self.0.cell.generation()
    }
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSource")
            .field("cell", &self.0.cell)
            .finish_non_exhaustive()
    }
}
