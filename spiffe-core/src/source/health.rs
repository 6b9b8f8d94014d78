//! How a source is doing.

use std::sync::Arc;
use std::time::SystemTime;

use crate::workload_api::WorkloadApiError;

/// How a source is doing at one moment, for health checks and metrics.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Health {
    /// Whether it has what it was made for. A source that was ready once and is not any more had its
    /// identity withdrawn.
    pub ready: bool,
    /// Whether it has given up, or was shut down: what it shows will not change any more.
    pub stopped: bool,
    /// The snapshot that it shows.
    pub generation: u64,
    /// When the last message came that was of use, even if it said nothing new; age is counted from
    /// here.
    pub updated_at: Option<SystemTime>,
    /// When the first of its SVIDs ends.
    pub next_expiry: Option<SystemTime>,
    /// What went wrong since the last good message, if anything.
    pub last_error: Option<Arc<WorkloadApiError>>,
}
