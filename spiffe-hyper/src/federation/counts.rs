//! Fetches, counted for the facade of the crate `metrics`.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};
use spiffe_core::TrustDomain;
use spiffe_core::metrics as names;

use super::{FetchError, Fetched};

/// One that is over. The trust domain is one that we were told to ask, so there are not many.
pub(super) fn fetched(
    trust_domain: &TrustDomain,
    fetched: &Result<Fetched, FetchError>,
    now: SystemTime,
) {
    let outcome = match fetched {
        Ok(fetched) if fetched.replaced => "replaced",
        Ok(_) => "unchanged",
        Err(FetchError::Rollback { .. }) => "refused",
        Err(_) => "failed",
    };
    let trust_domain = trust_domain.to_string();
    counter!(names::BUNDLE_FETCHES, "trust_domain" => trust_domain.clone(), "outcome" => outcome)
        .increment(1);
    if fetched.is_ok() {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge!(names::BUNDLE_FETCHED, "trust_domain" => trust_domain).set(since.as_secs_f64());
    }
}
