//! The server's own authority: what signs at this moment, and how one follows the other.
//!
//! [`Authorities`] is what the rest of the server signs with. [`manager`] puts a new signing
//! authority into it whenever [`rotation`] says that one is due; whoever signs notices nothing.

pub mod csr;
pub mod journal;
pub mod manager;
mod pool;
pub mod rotation;
pub mod sign;
pub mod template;

use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::x509::{Certificate, X509Error};

use crate::domain::{AuthorityId, Fault, Kind, Standing};
use crate::keys::{KeyError, Signer};
use crate::server::store::StoreError;

pub use sign::Authorities;
pub use template::{Leaf, LeafName};

/// A certificate authority that can sign: its certificate, its key, and what chains it to a root.
#[derive(Debug, Clone)]
pub struct X509Authority {
    /// Its own certificate.
    pub certificate: Certificate,
    /// Its key.
    pub signer: Arc<dyn Signer>,
    /// The certificates that go out behind each leaf: its own where it is not a root, and those
    /// above it but for the root.
    pub upstream_chain: Vec<Certificate>,
    /// When it was made.
    pub issued_at: SystemTime,
}

impl X509Authority {
    /// What it is called.
    #[must_use]
    pub fn id(&self) -> AuthorityId {
        AuthorityId::from_key_id(self.certificate.subject_key_id().unwrap_or_default())
    }
}

/// How an authority stands, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityState {
    /// What it is called.
    pub id: AuthorityId,
    /// How far it has come.
    pub standing: Standing,
    /// When it ends.
    pub expires_at: SystemTime,
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
    /// The journal holds something unreadable.
    #[error("the journal of this server's authorities is unreadable")]
    Journal(#[source] serde_json::Error),
    /// The key could not be had, or would not sign.
    #[error("using a key of the authority")]
    Key(#[from] KeyError),
    /// No authority was made yet.
    #[error("no authority is ready to sign yet")]
    NotReady,
    /// The pool that signs was stopped.
    #[error("signing was stopped")]
    Stopped,
    /// The store failed.
    #[error("recording a step of the authority")]
    Store(#[from] StoreError),
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
            Self::Encode(_) | Self::Journal(_) | Self::X509(_) => Kind::Internal,
        }
    }
}
