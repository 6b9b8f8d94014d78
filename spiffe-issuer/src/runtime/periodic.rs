//! Work that comes round again.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use spiffe_core::clock::{Clock, sleep_until};

use super::health::Part;
use super::supervisor::{Shutdown, TaskError};

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The pause after a success.
    pub interval: Duration,
    /// The pause after a first failure, from which further ones grow.
    pub retry: Duration,
    /// By which part of it a pause may be shorter or longer, from 0 to 1.
    pub jitter: f64,
}

impl Pace {
    /// Once per `interval`, a tenth more or less, and after failures ever more rarely.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            retry: interval,
            jitter: 0.1,
        }
    }

    /// The pause after so many failures in a row. `luck` is from 0 to 1.
    fn pause(&self, failures: i32, luck: f64) -> Duration {
        let pause = match failures {
            0 => self.interval,
            _ => self.retry.mul_f64(GROWTH.powi(failures - 1).min(LONGEST)),
        };
        pause.mul_f64(1.0 + self.jitter * (2.0 * luck - 1.0))
    }
}

/// Does `work` at once and then again and again until told to stop, and tells `part` how it went.
///
/// A failure is logged and tried again; this ends only when `stop` says so. `work` is dropped
/// where it stands then, so it has to leave nothing half done at an `.await`.
pub async fn every<F>(
    pace: Pace,
    clock: &dyn Clock,
    mut part: Part,
    stop: &Shutdown,
    mut work: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), TaskError>>,
{
    let mut failures = 0_i32;
    while let Some(outcome) = stop.run_until_cancelled(work()).await {
        match outcome {
            Ok(()) => {
                failures = 0;
                part.succeeded();
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                part.failed(&error);
                let error: &(dyn StdError + 'static) = &*error;
                tracing::warn!(
                    task = part.name(),
                    failures,
                    error,
                    "Task failed and tries again"
                );
            }
        }
        let next = clock.now() + pace.pause(failures, fastrand::f64());
        if stop
            .run_until_cancelled(sleep_until(clock, next))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// By how much each pause after a failure is longer than the one before it.
const GROWTH: f64 = 1.5;

/// How many times the first pause the longest is.
const LONGEST: f64 = 24.0;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use tokio::time::Instant;

    use super::super::health::Health;
    use super::*;

    /// The time of day moves with tokio's, which is paused here.
    #[derive(Debug)]
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + self.0.elapsed()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_with_failures_up_to_a_bound() {
        let pace = Pace {
            interval: 60 * SECOND,
            retry: 2 * SECOND,
            jitter: 0.1,
        };
        for (failures, luck, pause) in [
            (0, 0.5, 60.0),
            (0, 0.0, 54.0),
            (0, 1.0, 66.0),
            (1, 0.5, 2.0),
            (2, 0.5, 3.0),
            (3, 0.5, 4.5),
            (9, 0.5, 48.0),
            (i32::MAX, 0.5, 48.0),
            (i32::MAX, 1.0, 52.8),
        ] {
            assert_eq!(
                pace.pause(failures, luck),
                Duration::from_secs_f64(pause),
                "{failures} {luck}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_and_told_and_the_end_is_when_it_is_told_to_stop() {
        let clock = TestClock(Instant::now());
        let health = Health::new();
        let stop = Shutdown::new();
        let begun = Instant::now();
        let runs = Arc::new(Mutex::new(Vec::new()));
        let pace = Pace {
            jitter: 0.0,
            ..Pace::new(10 * SECOND)
        };
        every(pace, &clock, health.part("sync"), &stop, || {
            let (runs, stop, health) = (runs.clone(), stop.clone(), health.clone());
            async move {
                let ready = health.report().is_ready();
                runs.lock()
                    .unwrap()
                    .push((begun.elapsed().as_secs(), ready));
                match runs.lock().unwrap().len() {
                    2 | 3 => Err("no route".into()),
                    5 => {
                        stop.cancel();
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        })
        .await;
        assert_eq!(
            *runs.lock().unwrap(),
            [(0, false), (10, true), (20, false), (35, false), (45, true)]
        );
        assert_eq!(begun.elapsed(), 45 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_does_not_keep_the_task_from_stopping() {
        let clock = TestClock(Instant::now());
        let stop = Shutdown::new();
        stop.cancel();
        let part = Health::new().part("sync");
        every(Pace::new(SECOND), &clock, part, &stop, std::future::pending).await;
    }
}
