//! Why a handshake failed.

use std::io;
use std::time::Duration;

use rustls::{CertificateError, OtherError};

use crate::SpiffeId;
use crate::authorizer::Denied;
use crate::telemetry;
use crate::verify::{PeerError, VerifyError};

/// Why a handshake gave no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer proved who it is, and may not proceed.
    #[error("the peer is not authorized")]
    Denied(#[from] Denied),
    /// The connection broke, the other side does not speak TLS 1.3, or it refused us.
    #[error("the TLS handshake failed")]
    Failed(#[source] io::Error),
    /// The client presented no certificate.
    #[error("the client presented no certificate")]
    NoPeer,
    /// The handshake took too long.
    #[error("the TLS handshake took longer than {0:?}")]
    TimedOut(Duration),
    /// The peer did not prove who it is.
    #[error("the peer is not verified")]
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
    /// What ended the handshake of a server that has judged nobody.
    pub(super) fn of_tls(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::NoCertificatesPresented) => Self::NoPeer,
            _ => Self::Failed(error),
        }
    }

    /// The reason as a word, for those who count.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Failed(_) => "tls",
            Self::NoPeer => "no_certificate",
            Self::TimedOut(_) => "timeout",
            Self::Unverified(why) => why.reason(),
        }
    }

    /// Whether it was we who refused.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::NoPeer | Self::Unverified(_) => telemetry::REFUSED,
            Self::Failed(_) | Self::TimedOut(_) => telemetry::FAILED,
        }
    }

    /// Who proved to be there, and was refused all the same.
    pub(super) fn peer(&self) -> Option<&SpiffeId> {
        match self {
            Self::Denied(denied) => Some(denied.peer()),
            _ => None,
        }
    }

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
