//! Clocks that differ: told before anybody looks for the reason of refusals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::x509::Certificate;

/// Says so where a certificate of our own is a few minutes away from being valid: then clocks differ, or
/// whoever shows it does not renew it. No more often than once a minute.
pub(crate) fn own_clock_skew(certificate: &Certificate, now: SystemTime) {
    static TOLD: Lately = Lately::never();
    clock_skew(certificate, now, &TOLD, |_| true);
}

/// The same for that of a peer, where it is `proven` but for the time. What strangers show says nothing of
/// clocks, and is not to take the line of those who can be believed.
#[cfg(feature = "tls")]
pub(crate) fn peer_clock_skew(
    certificate: &Certificate,
    now: SystemTime,
    proven: impl FnOnce(SystemTime) -> bool,
) {
    static TOLD: Lately = Lately::never();
    clock_skew(certificate, now, &TOLD, proven);
}

fn clock_skew(
    certificate: &Certificate,
    now: SystemTime,
    told: &Lately,
    proven: impl FnOnce(SystemTime) -> bool,
) {
    let Some(skew) = Skew::of(certificate, now) else {
        return;
    };
    let valid = match skew {
        Skew::Ahead(_) => certificate.not_before(),
        Skew::Behind(_) => certificate.not_after(),
    };
    // The proof costs something, so it is the last that is asked for.
    if !told.is_due(now) || !proven(valid) || !told.may_tell(now) {
        return;
    }
    let spiffe_id = certificate.spiffe_id().ok();
    let spiffe_id = spiffe_id.as_ref().map(tracing::field::display);
    match skew {
        Skew::Ahead(by) => warn!(
            spiffe_id,
            seconds = by.as_secs(),
            "a certificate is not valid yet: the clock of this machine is behind that of whoever signed it"
        ),
        Skew::Behind(by) => warn!(
            spiffe_id,
            seconds = by.as_secs(),
            "a certificate ended a moment ago: the clock of this machine is ahead, or it was not renewed"
        ),
    }
}

/// How far a certificate is from being valid.
#[derive(Debug, PartialEq, Eq)]
enum Skew {
    /// It begins so much later.
    Ahead(Duration),
    /// It ended so much earlier.
    Behind(Duration),
}

impl Skew {
    fn of(certificate: &Certificate, now: SystemTime) -> Option<Self> {
        let few = |by: &Duration| !by.is_zero() && *by <= FEW_MINUTES;
        let ahead = certificate.not_before().duration_since(now).ok();
        let behind = now.duration_since(certificate.not_after()).ok();
        ahead
            .filter(few)
            .map(Self::Ahead)
            .or_else(|| behind.filter(few).map(Self::Behind))
    }
}

/// When it was last told, in seconds since 1970; by whatever clock there is.
pub(crate) struct Lately(AtomicU64);

impl Lately {
    pub(crate) const fn never() -> Self {
        Self(AtomicU64::new(0))
    }

    fn is_due(&self, now: SystemTime) -> bool {
        self.due(now).is_some()
    }

    /// Tells whether it is to be told now, and then not again for a minute.
    pub(crate) fn may_tell(&self, now: SystemTime) -> bool {
        // Of several at once one tells.
        self.due(now).is_some_and(|(last, now)| {
            self.0
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        })
    }

    fn due(&self, now: SystemTime) -> Option<(u64, u64)> {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let last = self.0.load(Ordering::Relaxed);
        (now.abs_diff(last) >= EVERY.as_secs()).then_some((last, now))
    }
}

/// Certificates that are further away from being valid are none that a clock explains.
const FEW_MINUTES: Duration = Duration::from_secs(10 * 60);
/// How often it is told at the most.
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_a_minute_whichever_way_the_clock_goes() {
        let lately = Lately::never();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, told) in [
            (1000, true),
            (1000, false),
            (1059, false),
            (1060, true),
            (500, true),
        ] {
            assert_eq!(lately.may_tell(at(seconds)), told, "{seconds}");
        }
    }
}
