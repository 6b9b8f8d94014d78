//! What an entry may say in this trust domain. Some of the texts are known to clients.

use spiffe_core::TrustDomain;

use crate::domain::NewEntry;
use crate::server::dns_name::{self, DnsNameError};
use crate::server::ids::{IdRuleError, member_id, workload_id};

/// Checks what does not depend on other things in the store.
pub(super) fn check(entry: &NewEntry, trust_domain: &TrustDomain) -> Result<(), RuleError> {
    workload_id(&entry.spiffe_id, trust_domain).map_err(RuleError::SpiffeId)?;
    member_id(&entry.parent_id, trust_domain).map_err(RuleError::ParentId)?;
    if entry.selectors.is_empty() {
        return Err(RuleError::NoSelectors);
    }
    if entry.store_svid {
        stored_svid(entry)?;
    }
    Ok(dns_name::check_all(&entry.dns_names)?)
}

/// A store gets the SVID of an entry, so it is one store that must be meant, and there is nobody who
/// could ask for the SVID later.
fn stored_svid(entry: &NewEntry) -> Result<(), RuleError> {
    let mut kinds = entry.selectors.iter().map(|selector| selector.kind());
    let first = kinds.next();
    if kinds.any(|kind| Some(kind) != first) {
        return Err(RuleError::StoreSelectors);
    }
    if entry.disable_x509_svid_prefetch {
        return Err(RuleError::StorePrefetch);
    }
    Ok(())
}

/// Which rule an entry breaks.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A DNS name that is none, or is there twice.
    #[error("invalid DNS name")]
    DnsName(#[from] DnsNameError),
    /// No selectors: such an entry would match every workload.
    #[error("selector list is empty")]
    NoSelectors,
    /// The parent is not one of ours.
    #[error("invalid parent ID")]
    ParentId(#[source] IdRuleError),
    /// The ID is not that of a workload of ours.
    #[error("invalid spiffe ID")]
    SpiffeId(#[source] IdRuleError),
    /// An SVID that goes to a store is never asked for, so it must be made ahead.
    #[error("prefetching cannot be disabled where the SVID goes to a store")]
    StorePrefetch,
    /// The selectors name more than one store.
    #[error("selector types must be the same when store SVID is enabled")]
    StoreSelectors,
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use spiffe_core::SpiffeId;

    use super::*;
    use crate::server::entries::tests::entry;

    fn told(error: &dyn Error) -> String {
        match error.source() {
            Some(cause) => format!("{error}: {}", told(cause)),
            None => error.to_string(),
        }
    }

    #[test]
    fn each_rule_has_its_sentence() {
        let changed = |change: fn(&mut NewEntry)| {
            let mut entry = entry();
            change(&mut entry);
            check(&entry, &TrustDomain::from_static("td")).map_err(|error| told(&error))
        };
        assert_eq!(changed(|_| {}), Ok(()));
        for (outcome, why) in [
            (
                changed(|e| e.spiffe_id = SpiffeId::from_static("spiffe://other/a")),
                "invalid spiffe ID: \"spiffe://other/a\" is not a member of trust domain \"td\"",
            ),
            (
                changed(|e| e.spiffe_id = SpiffeId::from_static("spiffe://td")),
                "invalid spiffe ID: \"spiffe://td\" is not a workload in trust domain \"td\"; \
                 path is empty",
            ),
            (
                changed(|e| e.spiffe_id = SpiffeId::from_static("spiffe://td/spire/server")),
                "invalid spiffe ID: \"spiffe://td/spire/server\" is not a workload in trust \
                 domain \"td\"; path is in the reserved namespace",
            ),
            (
                changed(|e| e.spiffe_id = SpiffeId::from_static("spiffe://td/spire")),
                "invalid spiffe ID: \"spiffe://td/spire\" is not a workload in trust domain \
                 \"td\"; path is in the reserved namespace",
            ),
            (
                changed(|e| e.parent_id = SpiffeId::from_static("spiffe://other/a")),
                "invalid parent ID: \"spiffe://other/a\" is not a member of trust domain \"td\"",
            ),
            (
                changed(|e| e.parent_id = SpiffeId::from_static("spiffe://td")),
                "invalid parent ID: \"spiffe://td\" is not a member of trust domain \"td\"; \
                 path is empty",
            ),
            (changed(|e| e.selectors.clear()), "selector list is empty"),
            (
                changed(|e| {
                    e.store_svid = true;
                    e.selectors.insert("docker:label:a".parse().unwrap());
                }),
                "selector types must be the same when store SVID is enabled",
            ),
            (
                changed(|e| {
                    e.store_svid = true;
                    e.disable_x509_svid_prefetch = true;
                }),
                "prefetching cannot be disabled where the SVID goes to a store",
            ),
            (
                changed(|e| e.dns_names = vec!["a..b".to_owned()]),
                "invalid DNS name: \"a..b\": a label is empty",
            ),
        ] {
            assert_eq!(outcome, Err(why.to_owned()));
        }
    }
}
