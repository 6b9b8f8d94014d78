//! Where the time of day comes from.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A source of the time of day.
///
/// Only the edges hold a clock. Code that decides takes `now: SystemTime` as an argument.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> SystemTime;

    /// How long to sleep at the most before the time is asked again. A real clock can be stepped
    /// and a machine can be suspended; looking once a minute bounds what either can delay.
    fn longest_nap(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Sleeps until the clock shows `deadline`. Cancel-safe.
#[cfg(feature = "source")]
pub async fn sleep_until(clock: &dyn Clock, deadline: SystemTime) {
    while let Ok(left) = deadline.duration_since(clock.now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(clock.longest_nap())).await;
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the machine"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
