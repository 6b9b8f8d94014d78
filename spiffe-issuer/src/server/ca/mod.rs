//! The server's own authority: what signs at this moment, and how one follows the other.
//!
//! [`Authorities`] is what the rest of the server signs with. The [`CaManager`] puts a new signing
//! authority into it whenever [`rotation`] says that one is due; whoever signs notices nothing.

mod asn1;
mod compose;
pub mod csr;
mod follow;
mod journal;
mod manager;
mod orders;
mod pool;
mod restore;
pub mod rotation;
mod sign;
mod steps;
mod template;
#[cfg(test)]
mod tests;
mod token;
mod upstream;

use std::time::SystemTime;

use spiffe_core::x509::X509Error;
use spiffe_core::{IdError, SpiffeId};

pub use compose::{CredentialComposer, UNIQUE_ID};
pub use journal::JournalError;
pub use manager::{CaConfig, CaManager};
pub use orders::{Order, OrderError, Orders};
pub use sign::{Authorities, sign_intermediate};
pub use template::{CaSubject, Intermediate, Leaf};
pub use token::{SignedToken, Token};
pub use upstream::{MintedCa, UpstreamAuthority, UpstreamError};

use crate::domain::{AuthorityId, Fault, Kind, Standing};
use crate::keys::KeyError;
use crate::server::store::StoreError;

/// How an authority stands, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityState {
    /// What it is called.
    pub id: AuthorityId,
    /// How far it has come.
    pub standing: Standing,
    /// When it ends.
    pub expires_at: SystemTime,
    /// The root above it; none where there is nothing above it.
    pub upstream: Option<AuthorityId>,
}

/// Why nothing was signed, or no authority made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The pool that signs has more to do than it can.
    #[error("too many certificates are waiting to be signed")]
    Busy,
    /// A certificate of ours cannot be written.
    #[error("writing a certificate")]
    Encode(#[from] der::Error),
    /// The authority ends before anything could begin.
    #[error("the signing authority has expired")]
    Expired,
    /// No ID can be made of the trust domain.
    #[error("naming the server")]
    Id(#[from] IdError),
    /// The journal holds something unreadable.
    #[error("the journal of this server's authorities is unreadable")]
    Journal(#[from] JournalError),
    /// The key could not be had, or would not sign.
    #[error("using a key of the authority")]
    Key(#[from] KeyError),
    /// The machine gives no randomness.
    #[error("there is no randomness for a serial number")]
    NoRandomness,
    /// An agent's certificate was asked for an ID that is none of an agent.
    #[error("{0} is not the ID of an agent")]
    NotAnAgent(SpiffeId),
    /// No authority was made yet.
    #[error("no authority is ready to sign yet")]
    NotReady,
    /// The pool that signs was stopped.
    #[error("signing was stopped")]
    Stopped,
    /// The store failed.
    #[error("recording a step of the authority")]
    Store(#[from] StoreError),
    /// The authority above us made none, or one that is of no use.
    #[error("asking the upstream authority")]
    Upstream(#[from] UpstreamError),
    /// What was signed cannot be read back.
    #[error("a certificate of ours is malformed")]
    X509(#[from] X509Error),
}

impl Fault for CaError {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::Exhausted,
            Self::Expired | Self::NotReady | Self::Stopped => Kind::Unavailable,
            Self::Key(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Upstream(error) => error.kind(),
            Self::Encode(_)
            | Self::Id(_)
            | Self::Journal(_)
            | Self::NoRandomness
            | Self::NotAnAgent(_)
            | Self::X509(_) => Kind::Internal,
        }
    }
}
