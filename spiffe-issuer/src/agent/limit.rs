//! How often, and how much at a time, each user may ask: who floods the socket waits for himself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::domain::{Fault, Kind};

/// How much one user may ask.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Calls a second, in the long run.
    pub rate: u32,
    /// Calls at once, after a rest.
    pub burst: u32,
    /// Attestations that may be under way.
    pub at_once: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            rate: 50,
            burst: 200,
            at_once: 16,
        }
    }
}

/// The callers' accounts, by user.
#[derive(Debug)]
pub struct Limits {
    allowance: Allowance,
    users: Mutex<HashMap<u32, Account>>,
}

#[derive(Debug)]
struct Account {
    /// When all calls so far would be paid for at the steady rate. Earlier than now is as good as
    /// now: nobody saves up more than the burst.
    paid_at: Instant,
    at_once: Arc<Semaphore>,
}

/// The right to be attested now; ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// No calls so far.
    #[must_use]
    pub fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            users: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until this user may ask, but not for long.
    ///
    /// # Errors
    ///
    /// Where it would take longer.
    pub async fn turn(&self, uid: u32) -> Result<Turn, TooOften> {
        let (start, at_once) = self.reserve(uid, Instant::now())?;
        sleep_until(start).await;
        // Nobody closes it.
        let permit = at_once.acquire_owned().await.ok();
        Ok(Turn { _permit: permit })
    }

    /// Books a call: when it may begin.
    fn reserve(&self, uid: u32, now: Instant) -> Result<(Instant, Arc<Semaphore>), TooOften> {
        let step = Duration::from_secs(1) / self.allowance.rate.max(1);
        let saved = step * self.allowance.burst.saturating_sub(1);
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MANY_USERS {
            // Who has nothing to pay and nothing under way is as good as unknown.
            users.retain(|_, account| {
                account.paid_at > now || Arc::strong_count(&account.at_once) > 1
            });
        }
        let account = users.entry(uid).or_insert_with(|| Account {
            paid_at: now,
            at_once: Arc::new(Semaphore::new(self.allowance.at_once)),
        });
        let paid_at = account.paid_at.max(now);
        let start = paid_at.checked_sub(saved).unwrap_or(now).max(now);
        if start > now + LONGEST_WAIT {
            return Err(TooOften {
                retry_after: start - now,
            });
        }
        account.paid_at = paid_at + step;
        Ok((start, account.at_once.clone()))
    }
}

/// A user asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls by this user")]
pub struct TooOften {
    /// When it would be this user's turn again.
    pub retry_after: Duration,
}

impl Fault for TooOften {
    fn kind(&self) -> Kind {
        Kind::Exhausted
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.retry_after)
    }
}

/// Nobody is kept waiting longer: it is better to be told.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

const MANY_USERS: usize = 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SMALL: Allowance = Allowance {
        rate: 10,
        burst: 3,
        at_once: 2,
    };

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let limits = Limits::new(SMALL);
        let now = Instant::now();
        let waits: Vec<_> = (0..6)
            .map(|_| (limits.reserve(1, now).unwrap().0 - now).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);

        // A rest gives back what the rate gives, and never more than the burst.
        let later = now + Duration::from_secs(60);
        let waits: Vec<_> = (0..5)
            .map(|_| (limits.reserve(1, later).unwrap().0 - later).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn who_would_wait_long_is_told_instead_and_pays_nothing_for_it() {
        let limits = Limits::new(SMALL);
        let now = Instant::now();
        let taken = (0..100)
            .take_while(|_| limits.reserve(1, now).is_ok())
            .count();
        assert_eq!(taken, 23, "the burst and two seconds of the rate");
        for _ in 0..10 {
            let error = limits.reserve(1, now).unwrap_err();
            assert_eq!(error.retry_after, Duration::from_millis(2100));
        }
        assert_eq!(
            TooOften {
                retry_after: LONGEST_WAIT
            }
            .kind(),
            Kind::Exhausted
        );
    }

    #[tokio::test(start_paused = true)]
    async fn workload_api_flood_isolated() {
        let limits = Limits::new(SMALL);
        let begun = Instant::now();
        while limits.reserve(1, begun).is_ok() {}
        limits.turn(1).await.unwrap_err();
        limits.turn(2).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_the_next_when_one_is_done() {
        let limits = Limits::new(SMALL);
        let first = limits.turn(1).await.unwrap();
        let _second = limits.turn(1).await.unwrap();
        let mut third = Box::pin(limits.turn(1));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(limits.turn(2).now_or_never().is_some(), "another user");
        drop(first);
        third.await.unwrap();
    }

    #[test]
    fn users_who_rest_are_forgotten() {
        let limits = Limits::new(SMALL);
        let mut now = Instant::now();
        for uid in 0..10 * MANY_USERS as u32 {
            limits.reserve(uid, now).unwrap();
            now += Duration::from_millis(1);
        }
        assert!(limits.users.lock().unwrap().len() <= MANY_USERS + 1);
    }
}
