//! The source that the Workload API keeps up to date.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::error;

use super::{IdentitySource, SnapshotCell};
use crate::clock::{Clock, SystemClock};
use crate::snapshot::IdentitySnapshot;
use crate::workload_api::{
    Endpoint, EndpointError, News, WorkloadApiClient, WorkloadApiError, follow,
};

/// Identities from the Workload API, always the latest.
///
/// What comes is judged before it is shown: a renewal that fails, or that brings something a peer
/// would not believe, leaves the valid SVID in place, and so does an agent that goes away. Only
/// where the agent says that there is no identity any more is it withdrawn, and then at once.
///
/// Clones share one watch. It ends with the last of them.
#[derive(Clone)]
pub struct X509Source {
    cell: Arc<SnapshotCell>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

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

    /// A source with settings of its own.
    pub fn builder() -> X509SourceBuilder {
        X509SourceBuilder {
            endpoint: None,
            initial_timeout: INITIAL_TIMEOUT,
            clock: Arc::new(SystemClock),
        }
    }

    /// Ends the watch, for all clones, and waits until it is over. They keep their last snapshot.
    pub async fn shutdown(self) {
        let mut tasks = {
            // A poisoned lock still holds the tasks, and they are to end all the same.
            let mut held = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            mem::take(&mut *held)
        };
        tasks.shutdown().await;
    }
}

impl IdentitySource for X509Source {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.cell.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.cell.subscribe()
    }

    fn generation(&self) -> u64 {
        self.cell.generation()
    }
}

impl fmt::Debug for X509Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Source")
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`X509Source`].
#[derive(Debug, Clone)]
#[must_use]
pub struct X509SourceBuilder {
    endpoint: Option<Endpoint>,
    initial_timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl X509SourceBuilder {
    /// Where the API is. Without it, the environment is asked.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// How long to wait for the first identity; 30 seconds without it.
    pub fn initial_timeout(mut self, limit: Duration) -> Self {
        self.initial_timeout = limit;
        self
    }

    /// Where the time of day comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Waits for the first identity.
    ///
    /// # Errors
    ///
    /// Where there is no endpoint, or no identity comes in time.
    pub async fn connect(self) -> Result<X509Source, SourceError> {
        let endpoint = self.endpoint.map_or_else(Endpoint::from_env, Ok)?;
        let client = WorkloadApiClient::new(endpoint.clone()).with_clock(Arc::clone(&self.clock));
        let cell = Arc::new(SnapshotCell::new(IdentitySnapshot::default()));
        let progress = watch::Sender::new(Progress::default());
        let mut heard = progress.subscribe();

        let mut tasks = JoinSet::new();
        tasks.spawn(keep(client, self.clock, Arc::clone(&cell), progress));
        let source = X509Source {
            cell,
            tasks: Arc::new(Mutex::new(tasks)),
        };

        let settled = timeout(self.initial_timeout, heard.wait_for(Progress::is_settled));
        let settled = settled.await.is_ok();
        let progress = heard.borrow().clone();
        match progress {
            Progress { ready: true, .. } => Ok(source),
            Progress {
                trouble: Some(source),
                ..
            } if settled => Err(SourceError::Refused { endpoint, source }),
            Progress { trouble, .. } => Err(SourceError::NoIdentity {
                endpoint,
                waited: self.initial_timeout,
                source: trouble,
            }),
        }
    }
}

/// How far the watch has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    ready: bool,
    stopped: bool,
    trouble: Option<Arc<WorkloadApiError>>,
}

impl Progress {
    fn is_settled(&self) -> bool {
        self.ready || self.stopped
    }
}

/// Keeps the cell up to date until it cannot be helped.
async fn keep(
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    cell: Arc<SnapshotCell>,
    progress: watch::Sender<Progress>,
) {
    let endpoint = client.endpoint().clone();
    let tell = |news| match news {
        News::Snapshot(snapshot) => {
            let ready = snapshot.svid().is_some();
            cell.publish(snapshot);
            progress.send_modify(|progress| progress.ready |= ready);
        }
        News::Trouble(error) => {
            progress.send_modify(|progress| progress.trouble = Some(Arc::new(error)));
        }
    };
    let error = follow(client, clock, fastrand::u64(..), tell).await;
    error!(%endpoint, %error, "Workload API watch stopped for good");
    progress.send_modify(|progress| {
        progress.stopped = true;
        progress.trouble = Some(Arc::new(error));
    });
}

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is not known where the Workload API is.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No identity came in time.
    #[error(
        "no identity from {endpoint} within {waited:?}: check that the agent runs and listens there, \
         and that a registration entry matches this workload; {}",
        last_error(source.as_deref())
    )]
    NoIdentity {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// How long.
        waited: Duration,
        /// What went wrong last.
        source: Option<Arc<WorkloadApiError>>,
    },
    /// The Workload API does not understand the question, so it is not asked again.
    #[error("{endpoint} serves no identities: check that an agent listens there; {source}")]
    Refused {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// What it answered.
        source: Arc<WorkloadApiError>,
    },
}

fn last_error(trouble: Option<&WorkloadApiError>) -> String {
    trouble.map_or_else(
        || "it has not answered".to_owned(),
        |error| format!("the last error was: {error}"),
    )
}

const INITIAL_TIMEOUT: Duration = Duration::from_secs(30);
