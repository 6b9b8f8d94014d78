//! When to ask again.

use std::time::Duration;

/// How long to wait until a bundle is asked for again: as long as its publisher would have it, within
/// bounds, and five minutes where nothing is said (SPIFFE Trust Domain and Bundle section 6.1).
///
/// After a failure it is no shorter (SPIFFE Federation section 6.2). `lot` is drawn from 0 to 1, and
/// moves it by up to a tenth either way, so that many do not ask at one moment.
pub(super) fn next(hint: Option<Duration>, lot: f64) -> Duration {
    let interval = hint.unwrap_or(UNTOLD).clamp(SHORTEST, LONGEST);
    interval.mul_f64(0.9 + 0.2 * lot.clamp(0.0, 1.0))
}

/// The interval where the bundle names none.
pub(super) const UNTOLD: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    // conformance: FD-5+ FD-5- TB-24+ TB-24-
    #[test]
    fn the_hint_counts_within_bounds_and_without_one_it_is_five_minutes() {
        for (hint, seconds) in [
            (None, 300),
            (Some(60), 60),
            (Some(3600), 3600),
            (Some(0), 30),
            (Some(1), 30),
            (Some(u64::MAX), 24 * 3600),
        ] {
            let hint = hint.map(Duration::from_secs);
            assert_eq!(next(hint, 0.5), Duration::from_secs(seconds), "{hint:?}");
            for (lot, tenths) in [(0.0, 9), (1.0, 11), (7.0, 11)] {
                let moved = next(hint, lot).as_secs_f64();
                let expected =
                    Duration::from_secs(seconds).as_secs_f64() * f64::from(tenths) / 10.0;
                assert!((moved - expected).abs() < 0.01, "{hint:?} by {lot}");
            }
        }
    }
}
