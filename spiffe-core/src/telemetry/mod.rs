//! What happened, told once: whoever counts it stands here, or nobody where the feature `metrics` is
//! off.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
pub(crate) mod on;

mod skew;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::*;
#[cfg(feature = "metrics")]
pub(crate) use on::*;

pub(crate) use skew::own_clock_skew;
#[cfg(feature = "tls")]
pub(crate) use skew::{Lately, peer_clock_skew};

#[cfg(feature = "tls")]
use std::time::Duration;

use tracing::field::display;
use tracing::info;

#[cfg(feature = "tls")]
use crate::SpiffeId;
use crate::snapshot::IdentitySnapshot;
#[cfg(feature = "tls")]
use crate::verify::Role;

/// A source shows something new.
pub(crate) fn source_shows(source: &'static str, snapshot: &IdentitySnapshot) {
    let spiffe_id = snapshot.svid().map(|svid| display(svid.id()));
    info!(
        source,
        generation = snapshot.generation(),
        spiffe_id,
        "source updated"
    );
    count_snapshot(source, snapshot);
}

/// A handshake that is over.
#[cfg(feature = "tls")]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nobody counts"))]
pub(crate) struct Handshake<'a> {
    /// Our side.
    pub(crate) side: Role,
    pub(crate) outcome: &'static str,
    /// Empty where it succeeded.
    pub(crate) reason: &'static str,
    /// Who proved to be there, whether or not it was let in.
    pub(crate) peer: Option<&'a SpiffeId>,
    pub(crate) resumed: bool,
    pub(crate) took: Duration,
}

/// A side of a connection, as a word.
#[cfg(feature = "tls")]
pub(crate) fn side(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// The outcomes that are told.
#[cfg(any(feature = "tls", feature = "workload-api"))]
pub(crate) const OK: &str = "ok";
#[cfg(feature = "tls")]
pub(crate) const REFUSED: &str = "refused";
#[cfg(any(feature = "tls", feature = "workload-api"))]
pub(crate) const FAILED: &str = "failed";
