//! Lifetimes, and whether they go together.

use std::time::Duration;

use crate::config::{Fields, GoDuration, Issues, Node, duration};
use crate::server::ca::rotation::{longest_honoured, shortest_honouring};
use crate::server::svids::SvidPolicy;

/// A duration that is not nothing.
pub(super) fn lifetime(node: &Node, issues: &mut Issues) -> Option<Duration> {
    let lifetime = duration(node, issues)?;
    if lifetime.is_zero() {
        return node.unfit(issues, "longer than zero");
    }
    Some(lifetime)
}

/// Warns of SVIDs that are to live longer than the authority that signs them can always promise:
/// they will be cut short whenever it is about to be replaced.
pub(super) fn compare(
    fields: &mut Fields<'_>,
    ca_ttl: Duration,
    svids: &SvidPolicy,
    agent_ttl: Duration,
) {
    let longest = longest_honoured(ca_ttl);
    let jwt = svids.jwt.as_ref().map(|jwt| jwt.ttl);
    for (key, wanted) in [
        ("default_x509_svid_ttl", svids.x509_ttl),
        ("agent_ttl", agent_ttl),
        ("default_jwt_svid_ttl", jwt.unwrap_or_default()),
    ] {
        // The lifetime of agents follows that of workloads; once is enough to say so.
        let follows = key == "agent_ttl" && !fields.has(key);
        if wanted <= longest || follows {
            continue;
        }
        let (wanted_is, longest_is) = (GoDuration(wanted), GoDuration(longest));
        let advice = match shortest_honouring(wanted) {
            Some(needed) => format!(", or ca_ttl to at least {}", GoDuration(needed)),
            None => String::new(),
        };
        let what = format!(
            "{wanted_is} is longer than can always be kept with a ca_ttl of {}: SVIDs will be cut \
             short before the authority is replaced. Set it to at most {longest_is}{advice}",
            GoDuration(ca_ttl),
        );
        fields.warn(key, what);
    }
}

/// How long authorities live where nothing is said.
pub(super) const DEFAULT_CA: Duration = Duration::from_secs(24 * 3600);

/// How long JWT-SVIDs live where nothing is said.
pub(super) const DEFAULT_JWT_SVID: Duration = Duration::from_secs(5 * 60);

/// How long SVIDs live where nothing is said.
pub(super) const DEFAULT_SVID: Duration = Duration::from_secs(3600);
