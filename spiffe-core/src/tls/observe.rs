//! A handshake as it is told: a span, and a number.

use std::time::Instant;

use tracing::field::{Empty, display};
use tracing::{Instrument, info_span};

use super::HandshakeError;
use crate::SpiffeId;
use crate::telemetry::{self, Handshake};
use crate::verify::Role;

/// Who is there in the end.
pub(super) struct Seen<'a> {
    pub(super) peer: Option<&'a SpiffeId>,
    pub(super) resumed: bool,
}

/// Does a handshake of ours in a span of its own, and counts it.
pub(super) async fn handshake<T>(
    side: Role,
    shake: impl Future<Output = Result<T, HandshakeError>>,
    seen: impl Fn(&T) -> Seen<'_>,
) -> Result<T, HandshakeError> {
    let span = info_span!(
        "handshake",
        side = telemetry::side(side),
        peer = Empty,
        resumed = Empty,
        outcome = Empty,
        reason = Empty
    );
    let begun = Instant::now();
    let result = shake.instrument(span.clone()).await;
    let (seen, outcome, reason) = match &result {
        Ok(done) => (seen(done), telemetry::OK, ""),
        Err(error) => {
            let seen = Seen {
                peer: error.peer(),
                resumed: false,
            };
            (seen, error.outcome(), error.reason())
        }
    };
    span.record("outcome", outcome);
    span.record("resumed", seen.resumed);
    if let Some(peer) = seen.peer {
        span.record("peer", display(peer));
    }
    if !reason.is_empty() {
        span.record("reason", reason);
    }
    telemetry::handshake(&Handshake {
        side,
        outcome,
        reason,
        peer: seen.peer,
        resumed: seen.resumed,
        took: begun.elapsed(),
    });
    result
}
