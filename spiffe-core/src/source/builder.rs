//! Settings that all sources of the Workload API share.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::SourceError;
use super::pick::Pick;
use crate::clock::{Clock, SystemClock};
use crate::verify::JwtRules;
use crate::workload_api::{Endpoint, Limits, Settings, WhenDenied, WorkloadApiClient};
use crate::x509::X509Svid;

/// Settings of a source of the kind `S`.
#[must_use]
pub struct SourceBuilder<S> {
    endpoint: Option<Endpoint>,
    limits: Limits,
    pub(super) patience: Duration,
    pub(super) pick: Option<Pick>,
    pub(super) rules: JwtRules,
    pub(super) settings: Settings,
    kind: PhantomData<fn() -> S>,
}

impl<S> SourceBuilder<S> {
    pub(super) fn new() -> Self {
        Self {
            endpoint: None,
            limits: Limits::default(),
            patience: INITIAL_TIMEOUT,
            pick: None,
            rules: JwtRules::default(),
            settings: Settings::new(Arc::new(SystemClock)),
            kind: PhantomData,
        }
    }

    /// Where the API is. Without it, the environment is asked.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
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
            limits: self.limits,
            patience: self.patience,
            pick: self.pick.clone(),
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
