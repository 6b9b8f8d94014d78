//! How often one address may call: token buckets, and patience.
//!
//! A caller that is a little too fast waits, as SPIRE's agents expect: refused at once, they halve
//! their batches and give up bootstrapping after a minute. A caller that would wait too long is
//! told when to come again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::domain::{Fault, Kind};

/// What a bucket is for. Calls of one sort share the bucket of their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Limit {
    /// Attestations, which may cost us asking others.
    Attestation,
    /// Keys that servers below this one publish.
    Publishing,
    /// Signatures.
    Signing,
    /// What agents tell about themselves.
    Status,
}

impl Limit {
    /// How many calls a second, and how many at once after a second of rest.
    const fn rate(self) -> u32 {
        match self {
            Self::Attestation => 1,
            Self::Publishing | Self::Signing => 500,
            Self::Status => 10,
        }
    }
}

/// Which limits are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// The one on attestations.
    pub attestation: bool,
    /// The one on signatures.
    pub signing: bool,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            attestation: true,
            signing: true,
        }
    }
}

/// The buckets of all addresses.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: RateLimits,
    buckets: Mutex<Buckets>,
}

impl Limiter {
    pub(super) fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            buckets: Mutex::default(),
        }
    }

    /// Takes `cost` tokens from the bucket of an address, waiting for them if it must, but no
    /// longer than a caller with this much `patience` would.
    pub(super) async fn pay(
        &self,
        limit: Limit,
        from: IpAddr,
        cost: u32,
        patience: Duration,
    ) -> Result<(), TooOften> {
        if !self.is_on(limit) {
            return Ok(());
        }
        let patience = patience.min(MAX_WAIT);
        let wait = {
            // Nothing in here panics halfway, so a poisoned lock still guards whole buckets.
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.take(limit, from.to_canonical(), cost, patience, Instant::now())?
        };
        sleep(wait).await;
        Ok(())
    }

    fn is_on(&self, limit: Limit) -> bool {
        match limit {
            Limit::Attestation => self.limits.attestation,
            Limit::Signing => self.limits.signing,
            Limit::Publishing | Limit::Status => true,
        }
    }
}

/// For each bucket that is not full, when it will be.
#[derive(Debug, Default)]
struct Buckets {
    full_at: HashMap<(Limit, IpAddr), Instant>,
    sweep_above: usize,
}

impl Buckets {
    /// Takes tokens and tells how long to wait for them; takes none where that is too long.
    fn take(
        &mut self,
        limit: Limit,
        from: IpAddr,
        cost: u32,
        patience: Duration,
        now: Instant,
    ) -> Result<Duration, TooOften> {
        self.sweep(now);
        let full_at = self.full_at.get(&(limit, from)).copied();
        let refill = Duration::from_secs(1) / limit.rate() * cost;
        let full_at = full_at.map_or(now, |at| at.max(now)) + refill;
        // A full bucket holds what comes in one second.
        let wait = (full_at - now).saturating_sub(Duration::from_secs(1));
        if wait > patience {
            return Err(TooOften { wait });
        }
        self.full_at.insert((limit, from), full_at);
        Ok(wait)
    }

    /// Forgets the buckets that are full again. Done when their number has doubled, so that it
    /// costs each call next to nothing, and the number stays that of the addresses of one moment.
    fn sweep(&mut self, now: Instant) {
        if self.full_at.len() <= self.sweep_above {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        self.sweep_above = (2 * self.full_at.len()).max(MIN_SWEEP);
    }
}

/// An address called too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests from this address; come again in {wait:?}")]
pub(super) struct TooOften {
    wait: Duration,
}

impl Fault for TooOften {
    fn kind(&self) -> Kind {
        Kind::Exhausted
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.wait)
    }
}

/// The longest that a call is kept waiting.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// So few buckets are not worth looking through.
const MIN_SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const PATIENT: Duration = Duration::from_secs(60);

    async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
        let begun = Instant::now();
        let done = work.await;
        (done, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn attestations_come_one_a_second_and_the_fourth_at_once_is_refused() {
        let limiter = Limiter::new(RateLimits::default());
        let now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let mut buckets = limiter.buckets.lock().unwrap();
            waits.push(buckets.take(Limit::Attestation, HERE, 1, MAX_WAIT, now));
        }
        let second = Duration::from_secs(1);
        let refused = TooOften { wait: 3 * second };
        assert_eq!(
            waits,
            [Ok(Duration::ZERO), Ok(second), Ok(2 * second), Err(refused)]
        );
        assert_eq!(refused.kind(), Kind::Exhausted);
        assert_eq!(refused.retry_after(), Some(3 * second));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_no_longer_than_the_caller_would() {
        let limiter = Limiter::new(RateLimits::default());
        let pay = |patience| limiter.pay(Limit::Attestation, HERE, 1, patience);
        let short = Duration::from_millis(500);
        assert_eq!(timed(pay(short)).await, (Ok(()), Duration::ZERO));
        let (refused, waited) = timed(pay(short)).await;
        assert_eq!((refused.is_err(), waited), (true, Duration::ZERO));
        // Refused calls cost nothing: the next one waits one second, not two.
        let waited = timed(pay(PATIENT)).await;
        assert_eq!(waited, (Ok(()), Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_certificate_of_a_batch_counts() {
        let limiter = Limiter::new(RateLimits::default());
        let pay = |cost| limiter.pay(Limit::Signing, HERE, cost, PATIENT);
        for (cost, wait) in [(500, 0), (250, 500), (500, 1000)] {
            let waited = timed(pay(cost)).await;
            assert_eq!(waited, (Ok(()), Duration::from_millis(wait)), "{cost}");
        }
        assert!(pay(100_000).await.is_err());
        assert!(pay(u32::MAX).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_and_sorts_of_calls_do_not_share_a_bucket() {
        let limiter = Limiter::new(RateLimits::default());
        let there = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        for (limit, from, wait) in [
            (Limit::Attestation, HERE, 0),
            (Limit::Attestation, there, 0),
            (Limit::Signing, HERE, 0),
            (Limit::Attestation, mapped, 1),
        ] {
            let waited = timed(limiter.pay(limit, from, 1, PATIENT)).await;
            assert_eq!(waited, (Ok(()), Duration::from_secs(wait)), "{limit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_can_be_switched_off() {
        let limiter = Limiter::new(RateLimits {
            attestation: false,
            signing: true,
        });
        for _ in 0..10 {
            let waited = timed(limiter.pay(Limit::Attestation, HERE, 1, PATIENT)).await;
            assert_eq!(waited, (Ok(()), Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_went_away_are_forgotten() {
        let mut buckets = Buckets::default();
        let flood = |buckets: &mut Buckets, from: u32| {
            for n in 0..10_000 {
                let address = IpAddr::V4(Ipv4Addr::from(from + n));
                let taken = buckets.take(Limit::Status, address, 1, MAX_WAIT, Instant::now());
                assert!(taken.is_ok());
            }
        };
        for round in 0..5 {
            flood(&mut buckets, round * 10_000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(buckets.full_at.len() <= 20_000, "{}", buckets.full_at.len());
    }
}
