//! A status of the server turned back into a meaning: the only place of the agent that matches on
//! codes.

use std::time::Duration;

use tonic::{Code, Status};

use crate::agent::lifecycle::Why;
use crate::domain::Denial;
use crate::wire::{self, FieldError};

/// Why a call to the server came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The way to the server could not be prepared.
    #[error("preparing the connection to the server")]
    Dial(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A field of the answer is not as it must be.
    #[error("the server's answer is malformed")]
    Field(#[from] FieldError),
    /// What the server said cannot be what it means.
    #[error("the server's answer is not understood: {0}")]
    Malformed(&'static str),
    /// The server would not, or could not be reached.
    #[error("{0}")]
    Refused(Refusal),
    /// It took too long.
    #[error("the server did not answer in time")]
    TimedOut,
}

/// What the server said instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refusal {
    code: Code,
    message: String,
    denial: Option<Denial>,
    /// When to ask again, where the server said so.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// What it means for the agent.
    #[must_use]
    pub fn why(&self) -> Why {
        match self {
            Self::Refused(refusal) => refusal.why(),
            Self::Dial(_) | Self::Field(_) | Self::Malformed(_) | Self::TimedOut => Why::Later,
        }
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == Code::NotFound)
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(Refusal {
            code: status.code(),
            denial: wire::denial(&status),
            retry_after: wire::retry_after(&status),
            message: told(&status),
        })
    }
}

impl Refusal {
    /// What the server said of one item of a batch.
    pub(super) fn of_item(code: i32, message: String) -> Self {
        Self {
            code: code.into(),
            message,
            denial: None,
            retry_after: None,
        }
    }

    fn why(&self) -> Why {
        match self.denial {
            Some(Denial::AgentBanned) => Why::Banned,
            Some(Denial::AgentExpired) => Why::Expired,
            Some(Denial::AgentMustReattest) => Why::MustReattest,
            // Another process has used a newer SVID of this agent, or the server is another one.
            Some(Denial::AgentNotActive | Denial::AgentNotAttested) => Why::Evicted,
            None => match self.code {
                Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::NotFound
                | Code::OutOfRange
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented => Why::Never,
                _ => Why::Later,
            },
        }
    }
}

/// What the status says; of a connection that failed also why, which stands below it.
fn told(status: &Status) -> String {
    let mut told = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fault, Kind};

    #[derive(Debug, thiserror::Error)]
    #[error("no")]
    struct Sample(Kind, Option<Denial>);

    impl Fault for Sample {
        fn kind(&self) -> Kind {
            self.0
        }
        fn denial(&self) -> Option<Denial> {
            self.1
        }
    }

    #[test]
    fn what_the_server_says_has_one_meaning() {
        for (kind, denial, why) in [
            (Kind::Denied, Some(Denial::AgentBanned), Why::Banned),
            (Kind::Denied, Some(Denial::AgentExpired), Why::Expired),
            (
                Kind::Denied,
                Some(Denial::AgentMustReattest),
                Why::MustReattest,
            ),
            (Kind::Denied, Some(Denial::AgentNotActive), Why::Evicted),
            (Kind::Denied, Some(Denial::AgentNotAttested), Why::Evicted),
            (Kind::Denied, None, Why::Never),
            (Kind::Invalid, None, Why::Never),
            (Kind::Unimplemented, None, Why::Never),
            (Kind::Unavailable, None, Why::Later),
            (Kind::Internal, None, Why::Later),
            (Kind::Exhausted, None, Why::Later),
        ] {
            let status = wire::status(&Sample(kind, denial));
            assert_eq!(CallError::from(status).why(), why, "{kind:?} {denial:?}");
        }
        assert_eq!(CallError::TimedOut.why(), Why::Later);
        assert!(CallError::from(Status::not_found("")).is_not_found());
    }
}
