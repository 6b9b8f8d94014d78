//! A time of day that moves with tokio's clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::clock::Clock;

/// A clock tied to tokio's: with tokio's time paused, sleeping moves the time of day as well.
#[derive(Debug, Clone, Copy)]
pub struct TestClock {
    epoch: SystemTime,
    started: Instant,
}

impl TestClock {
    /// A clock that shows `epoch` now.
    ///
    /// # Panics
    ///
    /// With tokio's time paused, outside a tokio runtime.
    #[must_use]
    pub fn at(epoch: SystemTime) -> Self {
        Self {
            epoch,
            started: Instant::now(),
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        self.epoch + self.started.elapsed()
    }

    // Nobody steps it, so a sleep is one jump.
    fn longest_nap(&self) -> Duration {
        Duration::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::sleep_until;

    #[tokio::test(start_paused = true)]
    async fn a_year_passes_in_no_time() {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH);
        let year = Duration::from_secs(365 * 24 * 3600);
        sleep_until(&clock, SystemTime::UNIX_EPOCH + year).await;
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + year);
    }
}
