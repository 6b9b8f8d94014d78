//! Settings that all sources of the Workload API share.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::SourceError;
use super::pick::Pick;
use super::upkeep::Origin;
use crate::bundle::BundleSet;
use crate::clock::{Clock, SystemClock};
use crate::snapshot::IdentitySnapshot;
use crate::verify::JwtRules;
#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
use crate::workload_api::Feed;
use crate::workload_api::{
    Endpoint, Limits, Settings, WhenDenied, WorkloadApiClient, X509Bundles, X509Identities,
};
use crate::x509::X509Svid;

/// Settings of a source of the kind `S`.
#[must_use]
pub struct SourceBuilder<S> {
    endpoint: Option<Endpoint>,
    /// Whether it stays where it is: the way to it may be secured.
    is_bound: bool,
    limits: Limits,
    pub(super) patience: Duration,
    pub(super) pick: Option<Pick>,
    /// What is followed, by the sources of each.
    pub(super) identities: Arc<dyn Origin<IdentitySnapshot>>,
    pub(super) bundles: Arc<dyn Origin<BundleSet>>,
    pub(super) rules: JwtRules,
    pub(super) settings: Settings,
    kind: PhantomData<fn() -> S>,
}

impl<S> SourceBuilder<S> {
    pub(super) fn new() -> Self {
        Self {
            endpoint: None,
            is_bound: false,
            limits: Limits::default(),
            patience: INITIAL_TIMEOUT,
            pick: None,
            identities: Arc::new(X509Identities),
            bundles: Arc::new(X509Bundles),
            rules: JwtRules::default(),
            settings: Settings::new(Arc::new(SystemClock)),
            kind: PhantomData,
        }
    }

    /// Where the API is. Without it, the environment is asked. It has no effect where the settings come
    /// from a client, of the Delegated Identity API or the Broker API: its sources ask where it does.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        if !self.is_bound {
            self.endpoint = Some(endpoint);
        }
        self
    }

    /// How long to wait until the source is ready; 30 seconds without it.
    pub fn initial_timeout(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// How much is read of what the API sends.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long to wait before the API is asked again: at most `min` the first time, then more and
    /// more up to `max`, drawn by lot. Half a second and 30 seconds without it.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.settings.waits = (min, max);
        self
    }

    /// What to do when the API says that there is nothing for this workload any more; it is withdrawn
    /// at once without it.
    pub fn when_denied(mut self, when_denied: WhenDenied) -> Self {
        self.settings.when_denied = when_denied;
        self
    }

    /// Where the time of day comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    pub(super) fn client(&self) -> Result<WorkloadApiClient, SourceError> {
        let endpoint = self.endpoint.clone().map_or_else(Endpoint::from_env, Ok)?;
        Ok(WorkloadApiClient::new(endpoint)
            .with_limits(self.limits)
            .with_clock(Arc::clone(&self.settings.clock)))
    }
}

#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
impl<S> SourceBuilder<S> {
    /// Settings of a source that asks through this client.
    fn of(client: &WorkloadApiClient) -> Self {
        let settings = Self::new()
            .endpoint(client.endpoint().clone())
            .limits(*client.limits())
            .clock(Arc::clone(client.clock()));
        Self {
            is_bound: true,
            ..settings
        }
    }
}

#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
impl SourceBuilder<super::X509Source> {
    /// Settings of a source that shows what this feed tells.
    pub(crate) fn following(
        client: &WorkloadApiClient,
        feed: impl Feed<State = IdentitySnapshot>,
    ) -> Self {
        Self {
            identities: Arc::new(feed),
            ..Self::of(client)
        }
    }
}

#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
impl SourceBuilder<super::BundleSource> {
    /// Settings of a source that shows what this feed tells.
    pub(crate) fn following(
        client: &WorkloadApiClient,
        feed: impl Feed<State = BundleSet>,
    ) -> Self {
        Self {
            bundles: Arc::new(feed),
            ..Self::of(client)
        }
    }
}

impl SourceBuilder<super::X509Source> {
    /// Which of the SVIDs the source shows: those for which `meant` holds, and no others. Without
    /// it they are all there, and the first one is the default one; see [`by_hint`](super::by_hint) and
    /// [`by_id`](super::by_id).
    pub fn identity(mut self, meant: impl Fn(&X509Svid) -> bool + Send + Sync + 'static) -> Self {
        self.pick = Some(Arc::new(meant));
        self
    }
}

impl<S> Clone for SourceBuilder<S> {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            is_bound: self.is_bound,
            limits: self.limits,
            patience: self.patience,
            pick: self.pick.clone(),
            identities: Arc::clone(&self.identities),
            bundles: Arc::clone(&self.bundles),
            rules: self.rules.clone(),
            settings: self.settings.clone(),
            kind: PhantomData,
        }
    }
}

impl<S> fmt::Debug for SourceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder")
            .field("endpoint", &self.endpoint)
            .field("limits", &self.limits)
            .field("initial_timeout", &self.patience)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

const INITIAL_TIMEOUT: Duration = Duration::from_secs(30);
