//! Workload attestation: what a process of this machine is.
//!
//! Every configured attestor looks at the process; what they find is put together. All that an
//! attestor goes by must be written by the kernel or by root: never by the workload itself.

mod process;
pub mod unix;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

pub use process::{Image, ProcessError, ProcessRef};

use crate::domain::{Fault, Kind, SelectorError, SelectorSet};

/// Finds selectors of a process.
#[async_trait]
pub trait WorkloadAttestor: Send + Sync + 'static {
    /// What it finds. An empty set says that the process is nothing this attestor knows, which is
    /// another thing than not having been able to look.
    ///
    /// # Errors
    ///
    /// Where it could not look.
    async fn attest(&self, process: &ProcessRef) -> Result<SelectorSet, WorkloadError>;
}

/// All attestors of an agent, run side by side.
pub struct WorkloadAttestors {
    attestors: Vec<(&'static str, Arc<dyn WorkloadAttestor>)>,
    deadline: Duration,
}

/// What was found about a process, at one moment.
#[derive(Debug, Clone)]
pub struct Found {
    /// The selectors of all attestors that could look.
    pub selectors: SelectorSet,
    /// The attestors that could not. If the selectors match nothing, that is no answer.
    pub failed: Vec<&'static str>,
    image: Option<Image>,
}

impl WorkloadAttestors {
    /// These attestors, each with its name.
    #[must_use]
    pub fn new(attestors: Vec<(&'static str, Arc<dyn WorkloadAttestor>)>) -> Self {
        Self {
            attestors,
            deadline: DEADLINE,
        }
    }

    /// Asks all attestors. Those that have not answered by the deadline count as failed.
    ///
    /// # Errors
    ///
    /// Where none could look, or the process ended or became another program meanwhile.
    pub async fn attest(&self, process: &ProcessRef) -> Result<Found, WorkloadError> {
        let deadline = Instant::now() + self.deadline;
        let image = process.image()?;
        let asked = self.attestors.iter().map(async |(name, attestor)| {
            let answer = timeout_at(deadline, attestor.attest(process)).await;
            (*name, answer.unwrap_or(Err(WorkloadError::Deadline)))
        });
        let found = gather(join_all(asked).await, image)?;
        found.check(process)?;
        Ok(found)
    }
}

impl Found {
    /// Makes sure that this still stands: that the process lives and runs the program that was
    /// looked at.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub fn check(&self, process: &ProcessRef) -> Result<(), WorkloadError> {
        process.check()?;
        if process.image()? != self.image {
            return Err(WorkloadError::Replaced { pid: process.pid() });
        }
        Ok(())
    }
}

/// Puts the answers together. Each failure is logged here, because only one of them can be the
/// answer.
fn gather(
    answers: Vec<(&'static str, Result<SelectorSet, WorkloadError>)>,
    image: Option<Image>,
) -> Result<Found, WorkloadError> {
    let mut found = Found {
        selectors: SelectorSet::new(),
        failed: Vec::new(),
        image,
    };
    let mut why = None;
    let asked = answers.len();
    for (name, answer) in answers {
        match answer {
            Ok(selectors) => found.selectors.extend(selectors),
            Err(error) => {
                tracing::warn!(
                    attestor = name,
                    error = &error as &dyn std::error::Error,
                    "Workload attestor failed"
                );
                found.failed.push(name);
                why = Some(error);
            }
        }
    }
    match why {
        Some(why) if found.failed.len() == asked => Err(why),
        _ => Ok(found),
    }
}

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// It took too long.
    #[error("not attested in time")]
    Deadline,
    /// The program it runs could not be hashed.
    #[error("hashing the program of process {pid}")]
    Hash {
        /// Whose program.
        pid: i32,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The process itself could not be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process became another program.
    #[error("process {pid} runs another program now")]
    Replaced {
        /// Whose program.
        pid: i32,
    },
    /// What was found cannot be a selector.
    #[error("a selector cannot be made")]
    Selector(#[from] SelectorError),
    /// The task that looked was stopped.
    #[error("the look was stopped")]
    Stopped,
}

impl Fault for WorkloadError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn told(&self) -> Option<String> {
        Some("workload attestation failed".to_owned())
    }
}

/// A client waits for an identity no longer than this.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
