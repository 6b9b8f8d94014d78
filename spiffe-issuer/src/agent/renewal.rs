//! When a certificate is to be renewed: at about half its life, or earlier where the operator wants
//! more time in hand.

use std::time::{Duration, SystemTime};

/// The rule for all certificates of this agent, its own and those of workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Renewal {
    /// `availability_target`: how long a certificate shall still be good when the server goes away.
    pub availability_target: Option<Duration>,
}

impl Renewal {
    /// When a certificate of this life is to be renewed.
    ///
    /// `luck`, from 0 to 1, is drawn once for each certificate. It spreads those that were issued
    /// together, and drawing anew at every look would pull them all to the early end again.
    #[must_use]
    pub fn time(&self, not_before: SystemTime, not_after: SystemTime, luck: f64) -> SystemTime {
        let life = not_after.duration_since(not_before).unwrap_or_default();
        let left_at_half = life.mul_f64(0.5 + SPREAD * (luck - 0.5));
        let left = match self.availability_target {
            Some(target) if life > target + LEAST_USE => {
                left_at_half.max(target + TARGET_SPREAD.mul_f64(luck))
            }
            _ => left_at_half,
        };
        not_after - left
    }

    /// The same for a certificate that has just come. One that is due already, because it is short or
    /// our clock is ahead of the server's, gets some use first: the next one would be no better.
    #[must_use]
    pub fn time_of_new(
        &self,
        not_before: SystemTime,
        not_after: SystemTime,
        now: SystemTime,
        luck: f64,
    ) -> SystemTime {
        let left = not_after.duration_since(now).unwrap_or_default();
        let soonest = now + (left / 2).min(LEAST_PAUSE);
        self.time(not_before, not_after, luck).max(soonest)
    }

    /// Whether the operator's target cannot be had with certificates of this life.
    #[must_use]
    pub fn target_is_too_long_for(&self, life: Duration) -> bool {
        self.availability_target
            .is_some_and(|target| life <= target + LEAST_USE)
    }
}

/// Half-life ± 10 % of it.
const SPREAD: f64 = 0.1;

const TARGET_SPREAD: Duration = Duration::from_secs(10 * 60);

/// So much time lies between two renewals, or half of what is left where that is less.
const LEAST_PAUSE: Duration = Duration::from_secs(30);

/// A certificate is used for so long at least, or it would be renewed for ever.
const LEAST_USE: Duration = Duration::from_secs(12 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(60 * 60);

    #[test]
    fn half_life_with_a_tenth_of_it_either_way() {
        let start = SystemTime::UNIX_EPOCH;
        for (luck, after) in [(0.0, 33 * MINUTE), (0.5, 30 * MINUTE), (1.0, 27 * MINUTE)] {
            let time = Renewal::default().time(start, start + HOUR, luck);
            let off = time
                .duration_since(start + after)
                .unwrap_or_else(|e| e.duration());
            assert!(off < Duration::from_millis(1), "luck {luck}: {time:?}");
        }
    }

    #[test]
    fn a_target_pulls_renewal_forward_where_life_allows() {
        let renewal = Renewal {
            availability_target: Some(24 * HOUR),
        };
        let start = SystemTime::UNIX_EPOCH;
        for (life, luck, after) in [
            // A day must be left, and twelve hours are used.
            (40 * HOUR, 0.0, 16 * HOUR),
            (40 * HOUR, 1.0, 16 * HOUR - 10 * MINUTE),
            // Half its life is more than the target.
            (100 * HOUR, 0.5, 50 * HOUR),
            // Too short for the target.
            (36 * HOUR, 0.5, 18 * HOUR),
        ] {
            let time = renewal.time(start, start + life, luck);
            let off = time
                .duration_since(start + after)
                .unwrap_or_else(|e| e.duration());
            assert!(off < Duration::from_millis(1), "{life:?} {luck}: {time:?}");
        }
        assert!(renewal.target_is_too_long_for(36 * HOUR));
        assert!(!renewal.target_is_too_long_for(37 * HOUR));
    }

    #[test]
    fn what_is_due_when_it_comes_gets_some_use_first() {
        let start = SystemTime::UNIX_EPOCH;
        let second = Duration::from_secs(1);
        for (life, now, after) in [
            // In time; the server dates back by ten seconds.
            (HOUR, 10 * second, 30 * MINUTE),
            // Our clock is ahead, by half an hour or nearly an hour.
            (HOUR, 45 * MINUTE, 45 * MINUTE + 30 * second),
            (HOUR, HOUR - 10 * second, HOUR - 5 * second),
            // A life of ten seconds.
            (20 * second, 10 * second, 15 * second),
            // Over.
            (HOUR, 2 * HOUR, 2 * HOUR),
        ] {
            let (end, now) = (start + life, start + now);
            let time = Renewal::default().time_of_new(start, end, now, 0.5);
            assert_eq!(time, start + after, "{life:?}");
        }
    }

    #[test]
    fn a_certificate_that_ends_before_it_begins_is_due() {
        let start = SystemTime::UNIX_EPOCH + HOUR;
        let end = SystemTime::UNIX_EPOCH;
        assert_eq!(Renewal::default().time(start, end, 0.5), end);
    }
}
