//! A peer that has proven its identity.

use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use super::PeerError;
use crate::SpiffeId;
use crate::woken::Woken;

/// A peer whose chain led to an authority of its own trust domain, at a time when it was valid.
///
/// There is no public constructor: to hold one is to have verified one. Cheap to clone.
///
/// The peer of a connection can be judged again for as long as it is around:
/// [`revalidate`](Self::revalidate). One that [`x509_peer`](super::x509_peer) gave was judged for
/// the moment that it was asked about.
#[derive(Clone)]
pub struct Peer {
    proof: Arc<Proof>,
    generation: u64,
    standing: Option<Arc<dyn Standing>>,
}

/// What judges the peer of a connection again.
pub(crate) trait Standing: Send + Sync {
    /// Judges again where anything has changed.
    fn revalidate(&self) -> Result<(), PeerError>;

    /// Waits until the peer is good no more.
    fn ended(self: Arc<Self>) -> Ended;
}

/// The end of a peer's good standing.
pub(crate) type Ended = Woken<PeerError>;

struct Proof {
    id: SpiffeId,
    certificates: Vec<CertificateDer<'static>>,
    not_after: SystemTime,
    role: Role,
}

/// Which side of a connection a peer is on; its certificate must be good for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Role {
    /// The side that connects.
    Client,
    /// The side that listens.
    Server,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

impl Peer {
    pub(super) fn proven(
        id: SpiffeId,
        chain: &[CertificateDer<'_>],
        not_after: SystemTime,
        role: Role,
    ) -> Self {
        let certificates = chain.iter().map(|der| der.clone().into_owned()).collect();
        let proof = Proof {
            id,
            certificates,
            not_after,
            role,
        };
        Self {
            proof: Arc::new(proof),
            generation: 0,
            standing: None,
        }
    }

    /// The same proof, marked with the generation of the snapshot that it was judged with.
    #[cfg(feature = "tls")]
    pub(crate) fn judged_at(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// The same proof, which `standing` judges again.
    #[cfg(feature = "tls")]
    pub(crate) fn standing(self, standing: Arc<dyn Standing>) -> Self {
        Self {
            standing: Some(standing),
            ..self
        }
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.proof.id
    }

    /// The certificates that the peer sent, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.proof.certificates
    }

    /// When the proof ends: the earliest end of any certificate on the path, the authority's too.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.proof.not_after
    }

    /// Which side of the connection the peer is on.
    #[must_use]
    pub fn role(&self) -> Role {
        self.proof.role
    }

    /// The generation of the snapshot that this peer was judged with: where the source has moved
    /// on, the verdict may have.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Judges the peer of a connection again, with the trust, the policy and the time of now. Where
    /// nothing has changed that is a comparison; otherwise its chain is verified and its authorizer
    /// asked. Who was turned away once stays so: the connection is to end.
    ///
    /// # Errors
    ///
    /// Why it is good no more.
    pub fn revalidate(&self) -> Result<(), PeerError> {
        match &self.standing {
            Some(standing) => standing.revalidate(),
            None => Ok(()),
        }
    }

    /// Waits until [`revalidate`](Self::revalidate) would turn the peer away, and tells why: a
    /// certificate of its chain has ended, its authority is not trusted any more, or the policy
    /// changed. Cancel-safe. Without a connection there is nothing to wait for.
    pub fn ended(&self) -> impl Future<Output = PeerError> + Send + Sync + use<> {
        match &self.standing {
            Some(standing) => Arc::clone(standing).ended(),
            None => Woken::new(pending()),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", self.id())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}
