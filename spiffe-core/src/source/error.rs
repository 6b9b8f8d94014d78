//! Why there is no source, or none that is ready.

use std::sync::Arc;
use std::time::Duration;

use crate::workload_api::{Endpoint, EndpointError, WorkloadApiError};

/// Why there is no source, or none that is ready.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is not known where the Workload API is.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No bundle came in time.
    #[error(
        "no trust bundle from {endpoint} within {waited:?}: check that the agent runs and listens \
         there, and that it may serve bundles to this workload{}",
        silence(source.as_deref())
    )]
    NoBundle {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// How long.
        waited: Duration,
        /// What went wrong last.
        source: Option<Arc<WorkloadApiError>>,
    },
    /// No identity came in time.
    #[error(
        "no identity from {endpoint} within {waited:?}: check that the agent runs and listens there, \
         and that a registration entry matches this workload{}",
        silence(source.as_deref())
    )]
    NoIdentity {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// How long.
        waited: Duration,
        /// What went wrong last.
        source: Option<Arc<WorkloadApiError>>,
    },
    /// Identities came, and not the one that the source was made for.
    #[error(
        "{endpoint} serves {others} identities within {waited:?}, and none that this source was told \
         to pick: check the hint and the ID of the registration entries"
    )]
    NotPicked {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// How long.
        waited: Duration,
        /// How many there are.
        others: usize,
    },
    /// No other answer will come, so it is not asked again. The cause tells why: who listens there does not
    /// understand the question; the workload that was asked about is gone; or it is a process, and the
    /// agent is on another machine.
    #[error(
        "{endpoint} is not asked again: check that an agent listens there, and whom it is asked about"
    )]
    Refused {
        /// Where it was asked for.
        endpoint: Endpoint,
        /// What it answered, or why it was not asked.
        source: Arc<WorkloadApiError>,
    },
    /// The source was shut down.
    #[error("the source was shut down")]
    Shutdown,
}

/// What stands in place of a cause where nothing was heard.
fn silence(heard: Option<&WorkloadApiError>) -> &'static str {
    match heard {
        Some(_) => "",
        None => "; it has not answered",
    }
}
