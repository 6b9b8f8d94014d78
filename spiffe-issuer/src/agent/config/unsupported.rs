//! Settings of SPIRE that have no effect here: said once, at their place. Where passing one over
//! would leave less safe what its writer meant to be safe, or would leave the agent without what it
//! cannot do without, it is a fault.

use crate::config::{Fields, boolean, text};

/// Whole sections.
pub(super) fn sections(fields: &mut Fields<'_>) {
    warn(fields, &["health_checks", "telemetry"]);
}

/// Keys of the `agent` block.
pub(super) fn agent(fields: &mut Fields<'_>) {
    warn(
        fields,
        &[
            "admin_socket_path",
            "allowed_foreign_jwt_claims",
            "authorized_delegates",
            "jwt_svid_cache_max_size",
            "profiling_enabled",
            "profiling_freq",
            "profiling_names",
            "profiling_port",
            "rebootstrap_delay",
            "sds",
        ],
    );
    // Selectors are never printed, and secrets are not served to Envoy: this is how it is anyway.
    fields.has("log_selectors");
    fields.has("disable_sds_api");
    if fields.or("disable_workload_api", boolean, false) {
        let what = "is not supported: the Workload API is all that this agent serves; leave it out";
        fields.fault("disable_workload_api", what);
    }
    let rebootstrap = fields.or("rebootstrap_mode", text, "never".to_owned());
    if rebootstrap != "never" {
        fields.warn("rebootstrap_mode", "is not supported and acts as `never`");
    }
}

/// Other ways to a first bundle. Whether one of them is set, and a fault then.
pub(super) fn bootstrap(fields: &mut Fields<'_>) -> bool {
    let mut is_set = false;
    for key in [
        "trust_bundle_spiffe_workload_api",
        "trust_bundle_unix_socket",
        "trust_bundle_url",
    ] {
        if fields.has(key) {
            is_set = true;
            fields.fault(
                key,
                "is not supported: fetch the bundle before the agent starts, and set trust_bundle_path",
            );
        }
    }
    let format = fields.or("trust_bundle_format", text, "pem".to_owned());
    if format != "pem" {
        fields.fault(
            "trust_bundle_format",
            format_args!("`{format}` is not supported, only `pem`"),
        );
    }
    is_set
}

/// Keys of the `experimental` block.
pub(super) fn experimental(fields: &mut Fields<'_>) {
    warn(
        fields,
        &[
            "admin_named_pipe_name",
            "broker",
            "feature_flags",
            "jwt_svid_cache_hit_timeout",
            "named_pipe_name",
            "ratelimit",
        ],
    );
    // This is how it is anyway.
    fields.has("use_sync_authorized_entries");
    if fields.or("require_pq_kem", boolean, false) {
        fields.fault(
            "require_pq_kem",
            "is not supported: connections without post-quantum keys would be made; leave it out",
        );
    }
}

/// Kinds of plugins.
pub(super) fn plugins(fields: &mut Fields<'_>) {
    if fields.has("SVIDStore") {
        fields.fault(
            "SVIDStore",
            "is not supported: SVIDs would not reach the store; leave it out",
        );
    }
}

fn warn(fields: &mut Fields<'_>, keys: &[&'static str]) {
    for key in keys {
        if fields.has(key) {
            fields.warn(key, "is not supported and has no effect");
        }
    }
}
