//! When the bundle of another trust domain is asked for again.

use std::time::Duration;

use spiffe_core::TrustBundle;

/// How long to wait until a bundle is fetched again, by what is held of it: four times within the
/// interval that its publisher tells, so that a failure or two do no harm. Whether the last fetch
/// succeeded does not matter: an endpoint in trouble is left in peace (SPIFFE Federation section 6.2).
///
/// Where nothing is held nobody of that trust domain is believed, so it is tried every minute.
pub(super) fn next(held: Option<&TrustBundle>) -> Duration {
    let Some(bundle) = held else {
        return SHORTEST;
    };
    let interval = match bundle.refresh_hint() {
        None => return UNTOLD,
        Some(Duration::ZERO) => by_lifetime(bundle),
        Some(hint) => hint,
    };
    interval.clamp(SHORTEST, LONGEST) / ATTEMPTS
}

/// A tenth of the time that the authority lives that lives the shortest.
fn by_lifetime(bundle: &TrustBundle) -> Duration {
    let roots = bundle.x509_authorities().iter();
    let lives = roots.filter_map(|root| root.not_after().duration_since(root.not_before()).ok());
    lives.min().unwrap_or_default() / 10
}

/// The interval where the publisher tells none.
const UNTOLD: Duration = Duration::from_secs(300);
/// How often it is asked for within one interval.
const ATTEMPTS: u32 = 4;
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    #[test]
    fn the_hint_counts_in_quarters_and_within_bounds() {
        // Its root lives as long as its maker says; a hint of zero leaves it at that.
        let bundle = TestAuthority::new("b.test").bundle();
        let life = by_lifetime(&bundle).clamp(SHORTEST, LONGEST).as_secs();
        for (hint, seconds) in [
            (None, 300),
            (Some(300), 75),
            (Some(3600), 900),
            (Some(60), 15),
            (Some(1), 15),
            (Some(0), life / 4),
            (Some(u64::MAX), 6 * 3600),
        ] {
            let hint = hint.map(Duration::from_secs);
            let bundle = bundle.clone().with_refresh_hint(hint);
            assert_eq!(next(Some(&bundle)).as_secs(), seconds, "{hint:?}");
        }
        assert_eq!(next(None).as_secs(), 60, "nothing is held");
        let empty = bundle.with_x509_authorities(Vec::new());
        let empty = empty.with_refresh_hint(Some(Duration::ZERO));
        assert_eq!(next(Some(&empty)).as_secs(), 15, "no authority lives");
    }
}
