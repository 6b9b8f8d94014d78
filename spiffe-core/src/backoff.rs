//! How long to wait before trying again. Pure: a seed goes in, durations come out.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is drawn between nothing and a ceiling, and the
/// ceiling doubles from one wait to the next. Many that failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// A backoff whose first wait is at most `min`, and none is longer than `max`, nor than a day: no
    /// clock overflows with that. Equal seeds give equal waits.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        let max = max.min(DAY);
        let min = min.min(max);
        Self {
            min,
            max,
            ceiling: min,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// How long to wait this time.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and nobody iterates over it"
    )]
    pub fn next(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(self.random.f64());
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        wait
    }

    /// It went well: the next wait is a first one again.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn the_ceiling_doubles_to_the_most_and_falls_back() {
        let mut backoff = Backoff::new(MIN, MAX, 1);
        for ceiling in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(backoff.ceiling, Duration::from_millis(ceiling));
            backoff.next();
        }
        backoff.reset();
        assert_eq!(backoff.ceiling, MIN);
    }

    #[test]
    fn no_wait_is_longer_than_its_ceiling_whatever_the_seed() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            for attempt in 0..100 {
                let ceiling = MIN.saturating_mul(1 << attempt.min(20)).min(MAX);
                let wait = backoff.next();
                assert!(wait <= ceiling, "seed {seed}, attempt {attempt}: {wait:?}");
            }
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let firsts = (0..1_000).map(|seed| Backoff::new(MIN, MAX, seed).next());
        let (low, high): (Vec<_>, Vec<_>) = firsts.partition(|wait| *wait < MIN / 2);
        assert!(low.len() > 300 && high.len() > 300, "{}", low.len());
    }

    #[test]
    fn extremes_do_not_overflow() {
        for (min, max) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
            (MAX, MIN),
        ] {
            let mut backoff = Backoff::new(min, max, 7);
            for _ in 0..80 {
                let wait = backoff.next();
                assert!(wait <= max && wait <= DAY, "{wait:?}");
                // What whoever waits until then asks of a clock.
                assert!(SystemClock.now().checked_add(wait).is_some());
            }
        }
    }
}
