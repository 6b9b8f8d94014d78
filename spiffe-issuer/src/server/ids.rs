//! Whose an ID can be in this trust domain. The texts are known to clients.

use spiffe_core::{SpiffeId, TrustDomain};

/// Checks that an ID can be that of a workload of ours.
pub(super) fn workload_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), IdRuleError> {
    let wanted = "a workload in";
    member(id, trust_domain)?;
    match id.segments().next() {
        None => refused(id, wanted, trust_domain, "; path is empty"),
        Some(RESERVED) => refused(
            id,
            wanted,
            trust_domain,
            "; path is in the reserved namespace",
        ),
        Some(_) => Ok(()),
    }
}

/// Checks that an ID can be that of an agent of ours.
pub(super) fn agent_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), IdRuleError> {
    member(id, trust_domain)?;
    let mut segments = id.segments();
    match (segments.next(), segments.next(), segments.next()) {
        (Some(RESERVED), Some("agent"), Some(_)) => Ok(()),
        _ => refused(
            id,
            "an agent in",
            trust_domain,
            "; path is not in the agent namespace",
        ),
    }
}

/// Checks that an ID belongs to someone in our trust domain.
pub(super) fn member_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), IdRuleError> {
    member(id, trust_domain)?;
    match id.path() {
        "" => refused(id, MEMBER, trust_domain, "; path is empty"),
        _ => Ok(()),
    }
}

fn member(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), IdRuleError> {
    match id.is_member_of(trust_domain) {
        true => Ok(()),
        false => refused(id, MEMBER, trust_domain, ""),
    }
}

fn refused(
    id: &SpiffeId,
    wanted: &'static str,
    trust_domain: &TrustDomain,
    why: &'static str,
) -> Result<(), IdRuleError> {
    Err(IdRuleError {
        id: id.clone(),
        wanted,
        trust_domain: trust_domain.clone(),
        why,
    })
}

/// An ID that cannot stand where it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{id}\" is not {wanted} trust domain \"{trust_domain}\"{why}")]
pub struct IdRuleError {
    id: SpiffeId,
    wanted: &'static str,
    trust_domain: TrustDomain,
    why: &'static str,
}

const MEMBER: &str = "a member of";

/// What the IDs of servers and agents begin with.
const RESERVED: &str = "spire";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_it_can_be() {
        let td = TrustDomain::from_static("td");
        for (text, workload, agent, member) in [
            ("spiffe://td/a", true, false, true),
            ("spiffe://td", false, false, false),
            ("spiffe://td/spire", false, false, true),
            ("spiffe://td/spire/server", false, false, true),
            ("spiffe://td/spire/agent", false, false, true),
            ("spiffe://td/spire/agent/x509pop/a", false, true, true),
            ("spiffe://td/spires", true, false, true),
            ("spiffe://td/spire-x/agent/a", true, false, true),
            ("spiffe://td/a/spire", true, false, true),
            ("spiffe://other/a", false, false, false),
            ("spiffe://other/spire/agent/x509pop/a", false, false, false),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(workload_id(&id, &td).is_ok(), workload, "{text}");
            assert_eq!(agent_id(&id, &td).is_ok(), agent, "{text}");
            assert_eq!(member_id(&id, &td).is_ok(), member, "{text}");
        }
    }

    #[test]
    fn an_id_that_is_no_agents_is_told_as_clients_know_it() {
        let td = TrustDomain::from_static("td");
        let id = SpiffeId::from_static("spiffe://td/x");
        assert_eq!(
            agent_id(&id, &td).unwrap_err().to_string(),
            "\"spiffe://td/x\" is not an agent in trust domain \"td\"; \
             path is not in the agent namespace"
        );
    }
}
