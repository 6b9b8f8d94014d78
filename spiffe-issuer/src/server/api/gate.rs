//! The gate: whether this caller may call this method, and as what.

use std::collections::BTreeSet;
use std::sync::Arc;

use spiffe_core::SpiffeId;
use spiffe_core::clock::Clock;
use spiffe_core::source::IdentitySource;
use spiffe_core::verify::{VerifyError, x509_peer};
use tracing::warn;

use super::caller::{Caller, CallerSvid, Role};
use super::rules::{Access, Rule};
use crate::domain::{Denial, Fault, Kind};
use crate::server::entries::{Entries, EntriesError};
use crate::server::nodes::{Nodes, Unrecognised};

/// Resolves what callers are.
pub(super) struct Gate {
    admin_ids: BTreeSet<SpiffeId>,
    entries: Arc<Entries>,
    nodes: Arc<Nodes>,
    trust: Arc<dyn IdentitySource>,
    clock: Arc<dyn Clock>,
}

impl Gate {
    pub(super) fn new(
        admin_ids: BTreeSet<SpiffeId>,
        entries: Arc<Entries>,
        nodes: Arc<Nodes>,
        trust: Arc<dyn IdentitySource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            admin_ids,
            entries,
            nodes,
            trust,
            clock,
        }
    }

    /// Lets a caller in for the first thing it is that the rule admits, or refuses it.
    ///
    /// The agent check runs last, because it changes something: it makes a renewed SVID the current
    /// one.
    pub(super) async fn admit(&self, rule: &Rule, caller: &Caller) -> Result<Role, Refused> {
        if rule.admits(Access::Anyone) {
            return Ok(Role::Anyone);
        }
        if rule.admits(Access::Local) && caller.is_local() {
            return Ok(Role::Local);
        }
        let refused = |cause| Refused {
            method: rule.method,
            cause,
        };
        let svid = caller.svid().ok_or(refused(Cause::NoIdentity))?;
        let by_name = self.by_name(rule, svid).await.map_err(refused)?;
        match by_name {
            Some(role) => Ok(role),
            None => self.as_agent(rule, svid).await.map_err(refused),
        }
    }

    /// What the configuration, or the caller's entries, make of it.
    async fn by_name(&self, rule: &Rule, svid: &CallerSvid) -> Result<Option<Role>, Cause> {
        let (admin, downstream) = (rule.admits(Access::Admin), rule.admits(Access::Downstream));
        if !(admin || downstream) || self.judge_again(svid).is_err() {
            return Ok(None);
        }
        if admin && self.admin_ids.contains(svid.id()) {
            return Ok(Some(Role::Admin));
        }
        // No entry gives an agent's ID, so agents are not looked up twice.
        if is_agent(svid.id()) {
            return Ok(None);
        }
        let rights = self.entries.rights(svid.id()).await?;
        if admin && rights.admin {
            return Ok(Some(Role::Admin));
        }
        Ok((downstream && rights.downstream).then_some(Role::Downstream))
    }

    async fn as_agent(&self, rule: &Rule, svid: &CallerSvid) -> Result<Role, Cause> {
        if !rule.admits(Access::Agent) {
            return Err(Cause::NotAdmitted(svid.id().clone()));
        }
        self.judge_again(svid)?;
        let recognised = self
            .nodes
            .recognise(svid.id(), svid.serial(), svid.not_after())
            .await?;
        Ok(Role::Agent(Box::new(recognised)))
    }

    /// Asks whether what proved the caller's identity still does: its SVID may have expired, and
    /// its authority may be gone from the bundle, since the connection was made.
    fn judge_again(&self, svid: &CallerSvid) -> Result<(), VerifyError> {
        let (peer, now) = (svid.peer(), self.clock.now());
        if peer.not_after() <= now {
            return Err(VerifyError::Expired);
        }
        let trust = self.trust.snapshot();
        if peer.generation() != trust.generation() {
            x509_peer(peer.certificates(), trust.bundles(), peer.role(), now)?;
        }
        Ok(())
    }
}

fn is_agent(id: &SpiffeId) -> bool {
    let mut segments = id.segments();
    (segments.next(), segments.next()) == (Some("spire"), Some("agent"))
}

/// A caller was turned away. It learns no more than the method, and, where it is an agent, what an
/// agent has to know.
#[derive(Debug, thiserror::Error)]
#[error("refused {method}")]
pub(super) struct Refused {
    method: &'static str,
    #[source]
    cause: Cause,
}

impl Refused {
    /// Writes the lines that operators look for.
    pub(super) fn log(&self, caller: &Caller) {
        let id = caller.svid().map(|svid| svid.id().to_string());
        let caller_id = id.as_deref().unwrap_or_default();
        match self.denial() {
            Some(Denial::AgentBanned) => warn!(caller_id, "Agent is banned"),
            Some(Denial::AgentExpired) => warn!(caller_id, "Agent SVID is expired"),
            Some(Denial::AgentNotActive) => warn!(caller_id, "Agent SVID is not active"),
            Some(Denial::AgentNotAttested) => warn!(caller_id, "Agent is not attested"),
            Some(Denial::AgentMustReattest) | None => {}
        }
    }
}

/// Why it was turned away.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("its entries could not be asked")]
    Entries(#[from] EntriesError),
    #[error("the caller does not have an SPIFFE ID")]
    NoIdentity,
    #[error("{0} is nobody who may")]
    NotAdmitted(SpiffeId),
    #[error("the caller's identity is proven no longer")]
    NotProven(#[from] VerifyError),
    #[error(transparent)]
    Unrecognised(#[from] Unrecognised),
}

impl Fault for Refused {
    fn kind(&self) -> Kind {
        match &self.cause {
            Cause::Entries(error) => error.kind(),
            Cause::Unrecognised(error) => error.kind(),
            Cause::NoIdentity | Cause::NotAdmitted(_) | Cause::NotProven(_) => Kind::Denied,
        }
    }

    fn told(&self) -> Option<String> {
        let denied = self.kind() == Kind::Denied;
        denied.then(|| format!("authorization denied for method {}", self.method))
    }

    fn denial(&self) -> Option<Denial> {
        match &self.cause {
            Cause::Unrecognised(error) => error.denial(),
            Cause::NotProven(VerifyError::Expired) => Some(Denial::AgentExpired),
            _ => None,
        }
    }
}
