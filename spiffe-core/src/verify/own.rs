//! Whether others would believe what we are about to present.

use std::time::{Duration, SystemTime};

use super::{Role, VerifyError, x509_peer};
use crate::bundle::BundleSet;
use crate::x509::X509Svid;

/// Judges an SVID of our own as a peer would, before it is shown to anybody.
///
/// # Errors
///
/// What a peer would say.
pub(crate) fn own_svid(
    svid: &X509Svid,
    bundles: &BundleSet,
    now: SystemTime,
) -> Result<(), VerifyError> {
    let chain: Vec<_> = svid.chain().iter().map(|c| c.der().clone()).collect();
    // The clock of who signed may be ahead of ours.
    let begins = svid.chain().iter().map(|c| c.not_before()).max();
    let now = begins
        .filter(|begins| *begins <= now + CLOCK_SKEW)
        .map_or(now, |begins| begins.max(now));
    // It may be meant for one of the roles only.
    x509_peer(&chain, bundles, Role::Server, now)
        .or_else(|_| x509_peer(&chain, bundles, Role::Client, now))
        .map(|_| ())
}

/// How far the clock of who signed may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
