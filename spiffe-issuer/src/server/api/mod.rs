//! The stack that every call passes, and what stands behind it.
//!
//! In this order: a span with a request ID, who calls, whether they may, how often they may, a line
//! in the audit log. No handler does any of this.

mod agent;
mod attest;
mod audit;
mod bundle;
mod caller;
mod deadline;
mod entry;
mod gate;
mod limit;
mod local_authority;
mod rules;
mod stack;
mod svid;
mod sync;
#[cfg(test)]
mod tests;
mod trust_domain;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;

use spiffe_core::clock::Clock;
use spiffe_core::source::IdentitySource;
use spiffe_core::{SpiffeId, TrustDomain};
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use self::agent::AgentApi;
use self::audit::Audit;
use self::bundle::BundleApi;
use self::entry::EntryApi;
use self::gate::Gate;
use self::limit::Limiter;
use self::local_authority::LocalAuthorityApi;
use self::stack::Meter;
use self::svid::SvidApi;
use self::trust_domain::TrustDomainApi;
use self::usage::UsageApi;
use super::bundles::Bundles;
use super::entries::Entries;
use super::entry_cache::EntryCache;
use super::federation::Federation;
use super::local_authority::LocalAuthority;
use super::nodes::{AgentCaller, Nodes};
use super::svids::Svids;
use crate::domain::{Fault, Kind};
use crate::proto::server::agent::agent_server::AgentServer;
use crate::proto::server::authorities::authorities_server::AuthoritiesServer;
use crate::proto::server::bundle::bundle_server::BundleServer;
use crate::proto::server::entry::entry_server::EntryServer;
use crate::proto::server::localauthority::local_authority_server::LocalAuthorityServer;
use crate::proto::server::svid::svid_server::SvidServer;
use crate::proto::server::trustdomain::trust_domain_server::TrustDomainServer;
use crate::wire;

pub use caller::{Caller, Process, Transport};
pub use limit::RateLimits;
pub use stack::{Guarded, Stack};

/// What the APIs are made of.
pub struct Parts {
    /// Bundles.
    pub bundles: Arc<Bundles>,
    /// Registration entries.
    pub entries: Arc<Entries>,
    /// Which entries are for which agent.
    pub cache: Arc<EntryCache>,
    /// Those we federate with.
    pub federation: Arc<Federation>,
    /// What this server signs with.
    pub authority: Arc<LocalAuthority>,
    /// Nodes.
    pub nodes: Arc<Nodes>,
    /// SVIDs.
    pub svids: Arc<Svids>,
    /// Whom we trust now.
    pub trust: Arc<dyn IdentitySource>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// How the APIs treat callers.
#[derive(Debug, Clone, Default)]
pub struct ApiPolicy {
    /// The identities that may administer the server without an entry.
    pub admin_ids: BTreeSet<SpiffeId>,
    /// Which limits are on.
    pub limits: RateLimits,
    /// Whether every call is written to the audit log, and not only what changes something.
    pub audit_every_call: bool,
}

impl ApiPolicy {
    /// The trust domains, other than our own, that administrators come from.
    #[must_use]
    pub fn foreign_domains(&self, own: &TrustDomain) -> BTreeSet<TrustDomain> {
        let domains = self.admin_ids.iter().map(SpiffeId::trust_domain);
        domains.filter(|domain| domain != own).collect()
    }
}

/// The services of the server, and the stack that every call passes on its way to them.
#[derive(Clone)]
pub struct Api {
    stack: Stack,
    shared: Routes,
}

impl Api {
    /// The APIs of these parts.
    #[must_use]
    pub fn new(parts: Parts, policy: ApiPolicy) -> Self {
        let shared = Routes::new(AgentServer::new(AgentApi {
            nodes: parts.nodes.clone(),
        }))
        .add_service(BundleServer::new(BundleApi {
            bundles: parts.bundles.clone(),
        }))
        .add_service(EntryServer::new(EntryApi {
            entries: parts.entries.clone(),
            cache: parts.cache,
        }))
        .add_service(AuthoritiesServer::new(UsageApi {
            authority: parts.authority.clone(),
        }))
        .add_service(LocalAuthorityServer::new(LocalAuthorityApi {
            authority: parts.authority,
        }))
        .add_service(SvidServer::new(SvidApi {
            svids: parts.svids,
            bundles: parts.bundles,
        }))
        .add_service(TrustDomainServer::new(TrustDomainApi {
            federation: parts.federation,
        }));
        let gate = Gate::new(
            policy.admin_ids,
            parts.entries,
            parts.nodes,
            parts.trust,
            parts.clock,
        );
        let audit = Audit {
            every_call: policy.audit_every_call,
        };
        Self {
            stack: Stack::new(gate, Limiter::new(policy.limits), audit),
            shared,
        }
    }

    /// The stack.
    #[must_use]
    pub fn stack(&self) -> Stack {
        self.stack.clone()
    }

    /// What is served to everyone who can reach us.
    #[must_use]
    pub fn remote(&self) -> Routes {
        self.shared.clone()
    }

    /// What is served on our own socket: all that is served to everyone, and our health.
    #[must_use]
    pub fn local<H: Health>(&self, health: HealthServer<H>) -> Routes {
        self.shared.clone().add_service(health)
    }
}

/// The status of a fault.
#[expect(
    clippy::needless_pass_by_value,
    reason = "so that it can be mapped over"
)]
fn refused(fault: impl Fault) -> Status {
    wire::status(&fault)
}

fn unimplemented(why: &'static str) -> Status {
    refused(Unimplemented(why))
}

/// The agent that calls. The stack found it out; a handler that is reached without is not reached
/// through the stack.
fn caller_of<T>(request: &Request<T>) -> Result<AgentCaller, Status> {
    let caller: Option<&AgentCaller> = request.extensions().get();
    caller.cloned().ok_or_else(|| refused(Unguarded))
}

/// What the caller pays with, likewise.
fn meter_of<T>(request: &Request<T>) -> Result<Meter, Status> {
    let meter: Option<&Meter> = request.extensions().get();
    meter.cloned().ok_or_else(|| refused(Unguarded))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unimplemented(&'static str);

impl Fault for Unimplemented {
    fn kind(&self) -> Kind {
        Kind::Unimplemented
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler was reached past the stack")]
struct Unguarded;

impl Fault for Unguarded {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// The services that there are.
#[cfg(test)]
const SERVED: &[&str] = &[
    "grpc.health.v1.Health",
    crate::proto::server::authorities::authorities_server::SERVICE_NAME,
    crate::proto::server::agent::agent_server::SERVICE_NAME,
    crate::proto::server::bundle::bundle_server::SERVICE_NAME,
    crate::proto::server::entry::entry_server::SERVICE_NAME,
    crate::proto::server::localauthority::local_authority_server::SERVICE_NAME,
    crate::proto::server::svid::svid_server::SERVICE_NAME,
    crate::proto::server::trustdomain::trust_domain_server::SERVICE_NAME,
];
