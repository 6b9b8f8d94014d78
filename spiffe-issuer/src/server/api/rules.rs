//! Who may call what, how often, and whether it changes anything: one row per RPC.

use super::limit::Limit;

/// What is decided about an RPC before its handler sees it.
#[derive(Debug)]
pub(super) struct Rule {
    /// The path of its requests.
    pub(super) method: &'static str,
    /// Whoever is one of these may call it.
    pub(super) access: &'static [Access],
    /// How often one address may call it, if there is a limit.
    pub(super) limit: Option<Limit>,
    /// Whether a call may change something, so that it is always written to the audit log.
    pub(super) changes: bool,
}

/// What a caller can be. It can be several of these at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// An identity that the configuration, or an entry, makes an administrator.
    Admin,
    /// An attested agent, with the SVID that it was given last.
    Agent,
    /// Anyone at all.
    Anyone,
    /// A server below this one, by its entry.
    Downstream,
    /// Whoever may open the server's own socket.
    Local,
}

impl Rule {
    /// The rule for a method; there is none for what is not served.
    pub(super) fn find(method: &str) -> Option<&'static Self> {
        let at = RULES
            .binary_search_by(|rule| rule.method.cmp(method))
            .ok()?;
        Some(&RULES[at])
    }

    /// Whether one may be let in for being `access`.
    pub(super) fn admits(&self, access: Access) -> bool {
        self.access.contains(&access)
    }

    /// Whether this is served on the server's own socket and nowhere else.
    pub(super) fn is_local_only(&self) -> bool {
        self.access == LOCAL
    }

    const fn limited(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// An RPC that changes nothing.
const fn reads(method: &'static str, access: &'static [Access]) -> Rule {
    Rule {
        method,
        access,
        limit: None,
        changes: false,
    }
}

/// An RPC that changes something, or hands out an identity.
const fn changes(method: &'static str, access: &'static [Access]) -> Rule {
    Rule {
        method,
        access,
        limit: None,
        changes: true,
    }
}

const ANYONE: &[Access] = &[Access::Anyone];
const AGENT: &[Access] = &[Access::Agent];
const DOWNSTREAM: &[Access] = &[Access::Downstream];
const LOCAL: &[Access] = &[Access::Local];
const OPERATOR: &[Access] = &[Access::Local, Access::Admin];
const OPERATOR_OR_AGENT: &[Access] = &[Access::Local, Access::Admin, Access::Agent];

/// All of them, in the order of their names.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    reads("/grpc.health.v1.Health/Check", LOCAL),
    reads("/grpc.health.v1.Health/Watch", LOCAL),

    reads("/spiffe.issuer.v1.Authorities/GetUsage", OPERATOR),

    changes("/spire.api.server.agent.v1.Agent/AttestAgent", ANYONE).limited(Limit::Attestation),
    changes("/spire.api.server.agent.v1.Agent/BanAgent", OPERATOR),
    reads("/spire.api.server.agent.v1.Agent/CountAgents", OPERATOR),
    changes("/spire.api.server.agent.v1.Agent/CreateJoinToken", OPERATOR),
    changes("/spire.api.server.agent.v1.Agent/DeleteAgent", OPERATOR),
    reads("/spire.api.server.agent.v1.Agent/GetAgent", OPERATOR),
    reads("/spire.api.server.agent.v1.Agent/ListAgents", OPERATOR),
    changes("/spire.api.server.agent.v1.Agent/PostStatus", AGENT).limited(Limit::Status),
    changes("/spire.api.server.agent.v1.Agent/RenewAgent", AGENT).limited(Limit::Signing),

    changes("/spire.api.server.bundle.v1.Bundle/AppendBundle", OPERATOR),
    changes("/spire.api.server.bundle.v1.Bundle/BatchCreateFederatedBundle", OPERATOR),
    changes("/spire.api.server.bundle.v1.Bundle/BatchDeleteFederatedBundle", OPERATOR),
    changes("/spire.api.server.bundle.v1.Bundle/BatchSetFederatedBundle", OPERATOR),
    changes("/spire.api.server.bundle.v1.Bundle/BatchUpdateFederatedBundle", OPERATOR),
    reads("/spire.api.server.bundle.v1.Bundle/CountBundles", OPERATOR),
    reads("/spire.api.server.bundle.v1.Bundle/GetBundle", ANYONE),
    reads("/spire.api.server.bundle.v1.Bundle/GetFederatedBundle", OPERATOR_OR_AGENT),
    reads("/spire.api.server.bundle.v1.Bundle/ListFederatedBundles", OPERATOR),
    changes("/spire.api.server.bundle.v1.Bundle/PublishJWTAuthority", DOWNSTREAM).limited(Limit::Publishing),
    changes("/spire.api.server.bundle.v1.Bundle/PublishWITAuthority", DOWNSTREAM).limited(Limit::Publishing),

    changes("/spire.api.server.entry.v1.Entry/BatchCreateEntry", OPERATOR),
    changes("/spire.api.server.entry.v1.Entry/BatchDeleteEntry", OPERATOR),
    changes("/spire.api.server.entry.v1.Entry/BatchUpdateEntry", OPERATOR),
    reads("/spire.api.server.entry.v1.Entry/CountEntries", OPERATOR),
    reads("/spire.api.server.entry.v1.Entry/GetAuthorizedEntries", AGENT),
    reads("/spire.api.server.entry.v1.Entry/GetEntry", OPERATOR),
    reads("/spire.api.server.entry.v1.Entry/ListEntries", OPERATOR),
    reads("/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries", AGENT),

    changes("/spire.api.server.localauthority.v1.LocalAuthority/ActivateJWTAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/ActivateWITAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/ActivateX509Authority", OPERATOR),
    reads("/spire.api.server.localauthority.v1.LocalAuthority/GetJWTAuthorityState", OPERATOR),
    reads("/spire.api.server.localauthority.v1.LocalAuthority/GetWITAuthorityState", OPERATOR),
    reads("/spire.api.server.localauthority.v1.LocalAuthority/GetX509AuthorityState", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/PrepareJWTAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/PrepareWITAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/PrepareX509Authority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/RevokeJWTAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/RevokeWITAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509Authority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/RevokeX509UpstreamAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/TaintJWTAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/TaintWITAuthority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/TaintX509Authority", OPERATOR),
    changes("/spire.api.server.localauthority.v1.LocalAuthority/TaintX509UpstreamAuthority", OPERATOR),

    changes("/spire.api.server.svid.v1.SVID/BatchNewWITSVID", AGENT).limited(Limit::Signing),
    changes("/spire.api.server.svid.v1.SVID/BatchNewX509SVID", AGENT).limited(Limit::Signing),
    changes("/spire.api.server.svid.v1.SVID/MintJWTSVID", OPERATOR),
    changes("/spire.api.server.svid.v1.SVID/MintWITSVID", OPERATOR),
    changes("/spire.api.server.svid.v1.SVID/MintX509SVID", OPERATOR),
    changes("/spire.api.server.svid.v1.SVID/NewDownstreamX509CA", DOWNSTREAM).limited(Limit::Signing),
    changes("/spire.api.server.svid.v1.SVID/NewJWTSVID", AGENT).limited(Limit::Signing),

    changes("/spire.api.server.trustdomain.v1.TrustDomain/BatchCreateFederationRelationship", OPERATOR),
    changes("/spire.api.server.trustdomain.v1.TrustDomain/BatchDeleteFederationRelationship", OPERATOR),
    changes("/spire.api.server.trustdomain.v1.TrustDomain/BatchUpdateFederationRelationship", OPERATOR),
    reads("/spire.api.server.trustdomain.v1.TrustDomain/GetFederationRelationship", OPERATOR),
    reads("/spire.api.server.trustdomain.v1.TrustDomain/ListFederationRelationships", OPERATOR),
    changes("/spire.api.server.trustdomain.v1.TrustDomain/RefreshBundle", OPERATOR),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto;
    use crate::server::api::SERVED;

    /// Every method that the descriptions of our services name, as the path of its requests.
    fn described() -> BTreeSet<String> {
        let ours = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let health = FileDescriptorSet::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        let files = ours.file.into_iter().chain(health.file);
        let mut methods = BTreeSet::new();
        for file in files {
            let package = file.package().to_owned();
            for service in file.service {
                let name = format!("{package}.{}", service.name());
                if SERVED.contains(&&*name) {
                    let paths = service
                        .method
                        .iter()
                        .map(|m| format!("/{name}/{}", m.name()));
                    methods.extend(paths);
                }
            }
        }
        methods
    }

    #[test]
    fn every_rpc_that_is_served_has_exactly_one_row() {
        let rows: Vec<_> = RULES.iter().map(|rule| rule.method.to_owned()).collect();
        let described: Vec<_> = described().into_iter().collect();
        assert_eq!(
            rows, described,
            "and the rows are in the order of their names"
        );
    }

    #[test]
    fn a_row_is_found_by_its_exact_path_only() {
        for rule in RULES {
            let found = Rule::find(rule.method).map(|rule| rule.method);
            assert_eq!(found, Some(rule.method));
        }
        for unknown in [
            "",
            "/",
            "/spire.api.server.agent.v1.Agent/attestagent",
            "/spire.api.server.agent.v1.Agent/AttestAgent/",
            "/spire.api.server.debug.v1.Debug/GetInfo",
            "/spire.api.server.entry.v1.Entry/",
        ] {
            assert!(Rule::find(unknown).is_none(), "{unknown}");
        }
    }

    /// The table that the contract lists, read from the other side: who may call what.
    #[test]
    fn access_is_as_the_contract_lists_it() {
        use Access::{Admin, Agent, Anyone, Downstream, Local};
        let of = |access: Access| -> BTreeSet<&str> {
            let admitted = RULES.iter().filter(|rule| rule.admits(access));
            admitted
                .map(|rule| rule.method.rsplit('/').next().unwrap())
                .collect()
        };
        assert_eq!(of(Anyone), ["AttestAgent", "GetBundle"].into());
        assert_eq!(
            of(Agent),
            [
                "BatchNewWITSVID",
                "BatchNewX509SVID",
                "GetAuthorizedEntries",
                "GetFederatedBundle",
                "NewJWTSVID",
                "PostStatus",
                "RenewAgent",
                "SyncAuthorizedEntries",
            ]
            .into()
        );
        assert_eq!(
            of(Downstream),
            [
                "NewDownstreamX509CA",
                "PublishJWTAuthority",
                "PublishWITAuthority"
            ]
            .into()
        );
        let local_only: BTreeSet<_> = of(Local).difference(&of(Admin)).copied().collect();
        assert_eq!(local_only, ["Check", "Watch"].into());
        assert!(of(Admin).is_subset(&of(Local)));
    }

    #[test]
    fn what_only_the_local_socket_serves_is_known_by_its_row() {
        for (method, local_only) in [
            ("/grpc.health.v1.Health/Check", true),
            ("/spire.api.server.entry.v1.Entry/ListEntries", false),
            ("/spire.api.server.bundle.v1.Bundle/GetBundle", false),
        ] {
            assert_eq!(Rule::find(method).unwrap().is_local_only(), local_only);
        }
    }
}
