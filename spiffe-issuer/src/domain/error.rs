//! What a caller may learn about a failure.

use std::error::Error;
use std::time::Duration;

/// What sort of failure it is: all that decides the gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was to be made is there already.
    AlreadyExists,
    /// What was to be changed has changed meanwhile.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// The caller asks for too much, or too often.
    Exhausted,
    /// We did something wrong.
    Internal,
    /// What the caller sent is wrong in itself.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Not possible in this state; trying again later does not help by itself.
    NotReady,
    /// Something that we need is away; trying again later may help.
    Unavailable,
    /// This side does not do that.
    Unimplemented,
}

/// An error of ours: it knows its kind, and its `source()` chain knows the rest.
pub trait Fault: Error + Send + Sync + 'static {
    /// What sort of failure this is.
    fn kind(&self) -> Kind;

    /// What the caller is told where the kind alone would tell nothing: the few texts that the wire
    /// contract fixes also for faults of ours.
    fn told(&self) -> Option<String> {
        None
    }

    /// Why an agent was turned away, for the detail that SPIRE's agents act on.
    fn denial(&self) -> Option<Denial> {
        None
    }

    /// When the caller may come again, where it came too often.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// The reasons of a refusal that an agent acts on (`PermissionDeniedDetails.Reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The agent was banned.
    AgentBanned,
    /// The agent's SVID has expired.
    AgentExpired,
    /// The agent can attest again, so it must not renew.
    AgentMustReattest,
    /// The agent's SVID is not the one that it was given last.
    AgentNotActive,
    /// No such agent is known.
    AgentNotAttested,
}
