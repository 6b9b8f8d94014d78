//! Counts go to the facade of the crate `metrics`.

use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "tls")]
use metrics::{Label, histogram};
use metrics::{counter, gauge};

use crate::metrics as names;
use crate::snapshot::IdentitySnapshot;
#[cfg(feature = "tls")]
use crate::verify::Role;
use crate::x509::X509Svid;

#[cfg(feature = "tls")]
pub(crate) fn handshake(it: &super::Handshake<'_>) {
    let side = super::side(it.side);
    let mut labels = vec![
        Label::from_static_parts("side", side),
        Label::from_static_parts("outcome", it.outcome),
        Label::from_static_parts("reason", it.reason),
        Label::from_static_parts("resumed", if it.resumed { "true" } else { "false" }),
        // Proven, so there are no more of them than bundles.
        Label::new(
            "trust_domain",
            it.peer
                .map(|peer| peer.trust_domain().to_string())
                .unwrap_or_default(),
        ),
    ];
    if names::are_peers_labelled() {
        let peer = it.peer.map(ToString::to_string).unwrap_or_default();
        labels.push(Label::new("peer", peer));
    }
    counter!(names::HANDSHAKES, labels).increment(1);
    histogram!(names::HANDSHAKE_DURATION, "side" => side, "outcome" => it.outcome)
        .record(it.took.as_secs_f64());
}

#[cfg(feature = "tls")]
pub(crate) fn judged_again(side: Role, outcome: &'static str, reason: &'static str) {
    let side = super::side(side);
    counter!(names::REJUDGEMENTS, "side" => side, "outcome" => outcome, "reason" => reason)
        .increment(1);
}

#[cfg(feature = "tls")]
pub(crate) fn connection_opened(side: Role) {
    gauge!(names::CONNECTIONS, "side" => super::side(side)).increment(1);
}

#[cfg(feature = "tls")]
pub(crate) fn connection_closed(side: Role, reason: &'static str) {
    let side = super::side(side);
    gauge!(names::CONNECTIONS, "side" => side).decrement(1);
    counter!(names::CONNECTIONS_CLOSED, "side" => side, "reason" => reason).increment(1);
}

/// Something new came.
pub(crate) fn source_updated(source: &'static str, at: SystemTime) {
    counter!(names::SOURCE_UPDATES, "source" => source).increment(1);
    gauge!(names::SOURCE_UPDATED, "source" => source).set(seconds(Some(at)));
}

/// What a source shows now.
pub(crate) fn count_snapshot(source: &'static str, snapshot: &IdentitySnapshot) {
    #[expect(clippy::cast_precision_loss, reason = "nobody gets that far")]
    gauge!(names::SOURCE_GENERATION, "source" => source).set(snapshot.generation() as f64);
    let issued = snapshot.svid().map(X509Svid::not_before);
    gauge!(names::SVID_ISSUED, "source" => source).set(seconds(issued));
    let ends = snapshot.svids().iter().map(X509Svid::not_after).min();
    gauge!(names::SVID_EXPIRES, "source" => source).set(seconds(ends));
}

/// Nothing new came, or something that was no good.
pub(crate) fn source_failed(source: &'static str, reason: &'static str) {
    counter!(names::SOURCE_FAILURES, "source" => source, "reason" => reason).increment(1);
}

#[cfg(feature = "workload-api")]
pub(crate) fn token_asked(outcome: &'static str) {
    counter!(names::JWT_REQUESTS, "outcome" => outcome).increment(1);
}

#[cfg(feature = "workload-api")]
pub(crate) fn token_fetched(outcome: &'static str) {
    counter!(names::JWT_FETCHES, "outcome" => outcome).increment(1);
}

/// Whoever starts a source or makes a configuration has set up the recorder before, as a rule.
pub(crate) fn describe_once() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(names::describe);
}

/// Seconds since 1970; 0 where there is no such time.
fn seconds(at: Option<SystemTime>) -> f64 {
    at.and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map_or(0.0, |since| since.as_secs_f64())
}
