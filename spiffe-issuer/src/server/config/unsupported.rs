//! Settings of SPIRE that have no effect here: said once, at their place. Where passing one over
//! would leave less safe what its writer meant to be safe, it is a fault.

use crate::config::{Fields, boolean};

/// Whole sections.
pub(super) fn sections(fields: &mut Fields<'_>) {
    warn(fields, &["health_checks", "telemetry"]);
}

/// Keys of the `server` block.
pub(super) fn server(fields: &mut Fields<'_>) {
    warn(
        fields,
        &[
            "max_attested_node_info_staleness",
            "profiling_enabled",
            "profiling_freq",
            "profiling_names",
            "profiling_port",
            "prune_attested_nodes_batch_size",
            "prune_attested_nodes_expired_for",
            "prune_tofu_nodes",
        ],
    );
    refuse(
        fields,
        "proxy_protocol_trusted_cidrs",
        "addresses would be those of the proxy, and its connections would fail",
    );
}

/// Keys of the `experimental` block.
pub(super) fn experimental(fields: &mut Fields<'_>) {
    warn(
        fields,
        &[
            "cache_reload_interval",
            "event_timeout",
            "events_based_cache",
            "full_cache_reload_interval",
            "named_pipe_name",
            "prune_events_older_than",
            "sql_transaction_timeout",
        ],
    );
    refuse(
        fields,
        "auth_opa_policy_engine",
        "calls would be let in by our own rules and not by this policy",
    );
    if fields.or("require_pq_kem", boolean, false) {
        fields.fault(
            "require_pq_kem",
            "is not supported: connections without post-quantum keys would be let in; leave it out",
        );
    }
}

/// Kinds of plugins.
pub(super) fn plugins(fields: &mut Fields<'_>) {
    warn(fields, &["BundlePublisher", "Notifier"]);
}

fn warn(fields: &mut Fields<'_>, keys: &[&'static str]) {
    for key in keys {
        if fields.has(key) {
            fields.warn(key, "is not supported and has no effect");
        }
    }
}

fn refuse(fields: &mut Fields<'_>, key: &'static str, otherwise: &str) {
    if fields.has(key) {
        fields.fault(
            key,
            format_args!("is not supported: {otherwise}; leave it out"),
        );
    }
}
