//! Attestation: how a node proves what it is to the server.
//!
//! Each way of attesting is one file with both halves of the conversation, so that they can be read,
//! and tested, against each other. An attestor judges; what follows from its verdict (the ID, the
//! certificate, the record) is the server's.

pub mod node;
#[cfg(feature = "agent")]
pub mod workload;

use crate::domain::{AgentNameError, Fault, Kind, SelectorError};

/// Why an attestation came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The other side sent something that is not what this conversation asks for.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which message, e.g. `payload`.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// What was found cannot name an agent.
    #[error("the agent cannot be named")]
    Name(#[from] AgentNameError),
    /// What was sent does not prove what was claimed.
    #[error("{0}")]
    NotProven(&'static str),
    /// What was found cannot be a selector.
    #[error("a selector cannot be made")]
    Selector(#[from] SelectorError),
    /// The other end went away, or broke the order of the conversation.
    #[error("the conversation broke off")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token was presented too late.
    #[error("join token expired")]
    TokenExpired,
    /// No such token, or no longer.
    #[error("join token does not exist or has already been used")]
    TokenUnknown,
    /// Something that the judgement needs could not be asked.
    #[error("{what} could not be asked")]
    Unavailable {
        /// Who was to be asked.
        what: &'static str,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The prover's own material is missing or unfit.
    #[error("{0}")]
    Unfit(String),
}

impl Fault for AttestError {
    fn kind(&self) -> Kind {
        match self {
            Self::Malformed { .. } | Self::TokenExpired | Self::TokenUnknown => Kind::Invalid,
            Self::Name(_) | Self::NotProven(_) | Self::Selector(_) => Kind::Denied,
            Self::Stream(_) | Self::Unavailable { .. } => Kind::Unavailable,
            Self::Unfit(_) => Kind::Internal,
        }
    }
}
