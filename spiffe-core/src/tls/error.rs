//! Why a handshake failed.

use std::io;
use std::time::Duration;

use rustls::{CertificateError, OtherError};

use crate::authorizer::Denied;
use crate::verify::{PeerError, VerifyError};

/// Why a handshake gave no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer proved who it is, and may not proceed.
    #[error("the peer is not authorized: {0}")]
    Denied(#[from] Denied),
    /// The connection broke, the other side does not speak TLS 1.3, or it refused us.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[source] io::Error),
    /// The client presented no certificate.
    #[error("the client presented no certificate")]
    NoPeer,
    /// The handshake took too long.
    #[error("the TLS handshake took longer than {0:?}")]
    TimedOut(Duration),
    /// The peer did not prove who it is.
    #[error("the peer is not verified: {0}")]
    Unverified(#[from] VerifyError),
}

impl From<PeerError> for HandshakeError {
    fn from(why: PeerError) -> Self {
        match why {
            PeerError::Denied(denied) => Self::Denied(denied),
            PeerError::Unverified(why) => Self::Unverified(why),
        }
    }
}

impl HandshakeError {
    /// What rustls is told, and through it, as an alert, the peer (RFC 8446 section 6.2).
    pub(super) fn alert(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Denied(_) => CertificateError::ApplicationVerificationFailure,
            Self::Unverified(VerifyError::Expired) => CertificateError::Expired,
            Self::Unverified(VerifyError::NotYetValid) => CertificateError::NotValidYet,
            Self::Unverified(
                VerifyError::NoAuthority(_)
                | VerifyError::UnknownAuthority(_)
                | VerifyError::UnknownTrustDomain(_),
            ) => CertificateError::UnknownIssuer,
            Self::Unverified(why) => {
                CertificateError::Other(OtherError(std::sync::Arc::new(why.clone())))
            }
            Self::Failed(_) | Self::NoPeer | Self::TimedOut(_) => CertificateError::BadEncoding,
        })
    }
}
