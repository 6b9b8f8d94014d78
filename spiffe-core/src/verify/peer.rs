//! A peer that has proven its identity.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;

use crate::SpiffeId;

/// A peer whose chain led to an authority of its own trust domain, at a time when it was valid.
///
/// There is no public constructor: to hold one is to have verified one. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    id: SpiffeId,
    certificates: Vec<CertificateDer<'static>>,
    not_after: SystemTime,
    role: Role,
    generation: u64,
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

impl Peer {
    pub(super) fn proven(
        id: SpiffeId,
        chain: &[CertificateDer<'_>],
        not_after: SystemTime,
        role: Role,
    ) -> Self {
        let certificates = chain.iter().map(|der| der.clone().into_owned()).collect();
        Self(Arc::new(Inner {
            id,
            certificates,
            not_after,
            role,
            generation: 0,
        }))
    }

    /// The same proof, marked with the generation of the snapshot that it was judged with.
    #[cfg(feature = "tls")]
    pub(crate) fn judged_at(self, generation: u64) -> Self {
        let Inner {
            id,
            certificates,
            not_after,
            role,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            id: id.clone(),
            certificates: certificates.clone(),
            not_after: *not_after,
            role: *role,
            generation,
        }))
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The certificates that the peer sent, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }

    /// When the proof ends: the earliest end of any certificate on the path, the authority's too.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Which side of the connection the peer is on.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The generation of the snapshot that this peer was judged with: where the source has moved
    /// on, the verdict may have.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
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
