//! What is counted, for the facade of the crate [`metrics`](https://docs.rs/metrics) (feature
//! `metrics`).
//!
//! Set up a recorder, and the numbers come by themselves; where there is none they cost a look, and
//! with each handshake a small list of labels that nobody reads. The labels that each has are told
//! here and in `docs/observability.md`. Their values are few: outcomes, reasons, sides, sources, and
//! trust domains that have proven themselves. SPIFFE IDs are not among them, unless [`label_peers`] is
//! told so.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Handshakes that are over. Labels: `side` (ours), `outcome` (`ok`, `refused` by us, `failed`),
/// `reason`, `resumed`, `trust_domain` (of a peer that proved it), and `peer` where that is asked for.
pub const HANDSHAKES: &str = "spiffe_handshakes_total";
/// How long they took. Labels: `side`, `outcome`.
pub const HANDSHAKE_DURATION: &str = "spiffe_handshake_duration_seconds";
/// Connections that are open. Label: `side`.
pub const CONNECTIONS: &str = "spiffe_connections";
/// Connections that are over. Labels: `side`, `reason`: `closed` by either end; `parted` before the
/// peer's certificate ended; or the reason that the peer was in good standing no more.
pub const CONNECTIONS_CLOSED: &str = "spiffe_connections_closed_total";
/// How often peers of connections were judged again. Labels: `side`, `outcome` (`ok`, `refused`),
/// `reason`.
pub const REJUDGEMENTS: &str = "spiffe_rejudgements_total";
/// What came to a source and changed something. Label: `source` (`x509`, `x509_bundles`,
/// `jwt_bundles`, `files`; of those who speak for others `delegated_x509`, `delegated_bundles`,
/// `brokered_x509`, `brokered_bundles`).
pub const SOURCE_UPDATES: &str = "spiffe_source_updates_total";
/// What went wrong with a source. Labels: `source`, `reason`.
pub const SOURCE_FAILURES: &str = "spiffe_source_failures_total";
/// When something came last, in seconds since 1970. Label: `source`.
pub const SOURCE_UPDATED: &str = "spiffe_source_updated_timestamp_seconds";
/// Which snapshot a source shows. Label: `source`.
pub const SOURCE_GENERATION: &str = "spiffe_source_generation";
/// When the default SVID was issued, in seconds since 1970; 0 where there is none. Its age is the
/// time of now less this. Label: `source`.
pub const SVID_ISSUED: &str = "spiffe_svid_issued_timestamp_seconds";
/// When the first of the SVIDs ends, in seconds since 1970; 0 where there is none. Label: `source`.
pub const SVID_EXPIRES: &str = "spiffe_svid_expires_timestamp_seconds";
/// How often a JWT-SVID was asked for. Label: `outcome`: `hit` (there was one), `miss` (it was
/// fetched), `joined` (somebody else was fetching it), `refresh` (there was one, and the next is
/// fetched).
pub const JWT_REQUESTS: &str = "spiffe_jwt_svid_requests_total";
/// JWT-SVIDs that were fetched. Label: `outcome` (`ok`, `failed`).
pub const JWT_FETCHES: &str = "spiffe_jwt_svid_fetches_total";
/// Calls that a layer of `spiffe-tower` refused, or ended. Label: `reason`: `denied` (by a policy),
/// `ended` (the good standing of the connection's peer), `unproven` (nobody proved who calls).
pub const CALLS_REFUSED: &str = "spiffe_calls_refused_total";
/// Bundles that `spiffe-hyper` asked bundle endpoints for. Labels: `trust_domain` (whose bundle),
/// `outcome` (`replaced`, `unchanged`, `refused` as older, `failed`).
pub const BUNDLE_FETCHES: &str = "spiffe_bundle_fetches_total";
/// When a bundle endpoint last answered with a bundle that was not refused, in seconds since 1970.
/// Label: `trust_domain`.
pub const BUNDLE_FETCHED: &str = "spiffe_bundle_fetched_timestamp_seconds";

/// Tells the recorder what each of them means. The first source or TLS configuration does so too:
/// call it where the recorder is set up later than that.
pub fn describe() {
    for (name, text) in [
        (HANDSHAKES, "TLS handshakes that are over"),
        (
            CONNECTIONS_CLOSED,
            "connections with a SPIFFE peer that are over",
        ),
        (
            REJUDGEMENTS,
            "how often peers of connections were judged again",
        ),
        (
            SOURCE_UPDATES,
            "updates that a source of identities or bundles got",
        ),
        (
            SOURCE_FAILURES,
            "what went wrong with a source of identities or bundles",
        ),
        (JWT_REQUESTS, "how often a JWT-SVID was asked for"),
        (JWT_FETCHES, "JWT-SVIDs fetched from the Workload API"),
        (CALLS_REFUSED, "calls that were refused or ended"),
        (
            BUNDLE_FETCHES,
            "how often bundle endpoints of others were asked",
        ),
    ] {
        describe_counter!(name, Unit::Count, text);
    }
    for (name, unit, text) in [
        (
            CONNECTIONS,
            Unit::Count,
            "connections with a SPIFFE peer that are open",
        ),
        (
            SOURCE_UPDATED,
            Unit::Seconds,
            "when a source got its last update, since 1970",
        ),
        (
            SOURCE_GENERATION,
            Unit::Count,
            "which snapshot a source shows",
        ),
        (
            SVID_ISSUED,
            Unit::Seconds,
            "when the default SVID was issued, since 1970",
        ),
        (
            SVID_EXPIRES,
            Unit::Seconds,
            "when the first of the SVIDs ends, since 1970",
        ),
        (
            BUNDLE_FETCHED,
            Unit::Seconds,
            "when a bundle endpoint was last asked with success, since 1970",
        ),
    ] {
        describe_gauge!(name, unit, text);
    }
    describe_histogram!(
        HANDSHAKE_DURATION,
        Unit::Seconds,
        "how long TLS handshakes took"
    );
}

/// Whether [`HANDSHAKES`] tells the peers' SPIFFE IDs as well, in the label `peer`. There may be many
/// of them, and each is a series of its own.
pub fn label_peers(by_id: bool) {
    LABEL_PEERS.store(by_id, Ordering::Relaxed);
}

#[cfg(feature = "tls")]
pub(crate) fn are_peers_labelled() -> bool {
    LABEL_PEERS.load(Ordering::Relaxed)
}

static LABEL_PEERS: AtomicBool = AtomicBool::new(false);
