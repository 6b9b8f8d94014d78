//! Where signing happens: beside the reactor, so many at a time as there are cores to spare, and no
//! more in line than can be done while somebody still waits for it.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, TryAcquireError};
use tokio::task::spawn_blocking;

use super::CaError;

/// Runs blocking work on a bounded number of threads, from a bounded line.
#[derive(Debug, Clone)]
pub(super) struct SigningPool {
    line: Arc<Semaphore>,
    threads: Arc<Semaphore>,
}

impl SigningPool {
    /// A pool that leaves one core to those who are not signing.
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self::sized(cores.saturating_sub(1).max(1), LINE)
    }

    fn sized(threads: usize, line: usize) -> Self {
        Self {
            line: Arc::new(Semaphore::new(line)),
            threads: Arc::new(Semaphore::new(threads)),
        }
    }

    /// Runs work that makes this many signatures. It is done also when nobody waits any longer.
    ///
    /// # Errors
    ///
    /// [`CaError::Busy`] at once where the line is full.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        signatures: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CaError> {
        let cost = u32::try_from(signatures).unwrap_or(u32::MAX);
        let line = Arc::clone(&self.line);
        let place = line
            .try_acquire_many_owned(cost)
            .map_err(|error| match error {
                TryAcquireError::Closed => CaError::Stopped,
                TryAcquireError::NoPermits => CaError::Busy,
            })?;
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        let thread = thread.map_err(|_| CaError::Stopped)?;
        let done = spawn_blocking(move || {
            // Held until the work is done, not until its caller has gone.
            let _held = (place, thread);
            work()
        });
        done.await.map_err(|_| CaError::Stopped)
    }
}

/// How many signatures may be under way or waiting: a second or two of work for P-256 on one core.
const LINE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn work_is_done_and_its_result_handed_back() {
        assert!(matches!(SigningPool::new().run(1, || 7).await, Ok(7)));
    }

    #[tokio::test]
    async fn a_full_line_is_refused_at_once_and_takes_work_again_later() {
        let pool = SigningPool::sized(1, 4);
        let (release, held) = mpsc::channel::<()>();
        let mut first = JoinSet::new();
        first.spawn({
            let pool = pool.clone();
            async move { pool.run(3, move || held.recv()).await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(pool.run(2, || ()).await, Err(CaError::Busy)));
        drop(release);
        assert!(first.join_next().await.unwrap().unwrap().is_ok());
        assert!(pool.run(4, || ()).await.is_ok());
        assert!(matches!(pool.run(5, || ()).await, Err(CaError::Busy)));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_frees_its_place() {
        let pool = SigningPool::sized(1, 1);
        let panicked = pool.run(1, || panic!("as the test wants")).await;
        assert!(matches!(panicked, Err::<(), _>(CaError::Stopped)));
        assert!(pool.run(1, || ()).await.is_ok());
    }
}
