//! A task that keeps something up to date, and what is to be told of how it goes.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::error;

use super::SourceError;
use crate::telemetry;
use crate::with_causes;
use crate::workload_api::{
    Endpoint, Feed, News, Settings, WorkloadApiClient, WorkloadApiError, follow,
};

/// A watch of the Workload API that runs until it is dropped or told to stop.
pub(crate) struct Upkeep {
    endpoint: Endpoint,
    patience: Duration,
    progress: watch::Receiver<Progress>,
    tasks: Mutex<JoinSet<()>>,
}

/// How far the watch has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub(super) ready: bool,
    pub(super) stopped: bool,
    pub(super) updated_at: Option<SystemTime>,
    pub(super) trouble: Option<Arc<WorkloadApiError>>,
}

/// Any feed that tells of this: what a builder holds of those who bring feeds of their own.
pub(crate) trait Origin<T>: Send + Sync {
    /// What it is called where it is counted.
    fn label(&self) -> &'static str;

    /// Starts [`Upkeep`] with it.
    fn start(
        &self,
        client: WorkloadApiClient,
        settings: Settings,
        patience: Duration,
        publish: Box<dyn FnMut(T) -> bool + Send>,
    ) -> Upkeep;
}

impl<F: Feed> Origin<F::State> for F {
    fn label(&self) -> &'static str {
        F::LABEL
    }

    fn start(
        &self,
        client: WorkloadApiClient,
        settings: Settings,
        patience: Duration,
        publish: Box<dyn FnMut(F::State) -> bool + Send>,
    ) -> Upkeep {
        Upkeep::start(self.clone(), client, settings, patience, publish)
    }
}

/// What was not there in time.
pub(super) struct TooLate {
    pub(super) endpoint: Endpoint,
    pub(super) waited: Duration,
    pub(super) source: Option<Arc<WorkloadApiError>>,
}

impl Upkeep {
    /// Starts the watch. `publish` is given what is known now and tells whether the source is ready
    /// with it. `patience` is how long [`ready`](Self::ready) waits.
    pub(super) fn start<F: Feed>(
        feed: F,
        client: WorkloadApiClient,
        settings: Settings,
        patience: Duration,
        mut publish: impl FnMut(F::State) -> bool + Send + 'static,
    ) -> Self {
        telemetry::describe_once();
        let endpoint = client.endpoint().clone();
        let (teller, progress) = watch::channel(Progress::default());
        let clock = Arc::clone(&settings.clock);
        let mut tasks = JoinSet::new();
        let place = endpoint.clone();
        tasks.spawn(async move {
            let tell = |news| match news {
                News::Update(state) => {
                    let (ready, now) = (publish(state), clock.now());
                    telemetry::source_updated(F::LABEL, now);
                    teller.send_modify(|progress| {
                        progress.ready = ready;
                        progress.updated_at = Some(now);
                        progress.trouble = None;
                    });
                }
                News::Trouble(error) => {
                    telemetry::source_failed(F::LABEL, error.reason());
                    teller.send_modify(|progress| progress.trouble = Some(Arc::new(error)));
                }
            };
            let error = follow(feed, client, settings, tell).await;
            telemetry::source_failed(F::LABEL, error.reason());
            error!(endpoint = %place, what = F::WHAT, error = %with_causes(&error), "watch of the agent stopped for good");
            teller.send_modify(|progress| {
                progress.stopped = true;
                progress.trouble = Some(Arc::new(error));
            });
        });
        Self {
            endpoint,
            patience,
            progress,
            tasks: Mutex::new(tasks),
        }
    }

    /// Waits until the source is ready, but no longer than it was told to. `too_late` says what was
    /// missing.
    pub(super) async fn ready(
        &self,
        too_late: impl FnOnce(TooLate) -> SourceError,
    ) -> Result<(), SourceError> {
        let mut heard = self.progress.clone();
        let settled = heard.wait_for(|progress| progress.ready || progress.stopped);
        let progress = match timeout(self.patience, settled).await {
            Ok(Ok(progress)) => Ok(progress.clone()),
            Ok(Err(_)) => return Err(SourceError::Shutdown),
            Err(_) => Err(self.progress()),
        };
        let endpoint = self.endpoint.clone();
        match progress {
            Ok(Progress { ready: true, .. }) => Ok(()),
            Ok(Progress {
                trouble: Some(source),
                ..
            }) => Err(SourceError::Refused { endpoint, source }),
            Ok(Progress { trouble, .. }) | Err(Progress { trouble, .. }) => {
                Err(too_late(TooLate {
                    endpoint,
                    waited: self.patience,
                    source: trouble,
                }))
            }
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let mut progress = self.progress.borrow().clone();
        // Whoever shut it down took the other end away.
        progress.stopped |= self.progress.has_changed().is_err();
        progress
    }

    /// Ends the watch and waits until it is over.
    pub(super) async fn shutdown(&self) {
        let mut tasks = {
            // A poisoned lock still holds the tasks, and they are to end all the same.
            let mut held = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            mem::take(&mut *held)
        };
        tasks.shutdown().await;
    }
}
