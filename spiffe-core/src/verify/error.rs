//! Why a peer is not who it claims to be.

use super::Role;
use crate::TrustDomain;
use crate::authorizer::Denied;
use crate::x509::X509Error;

/// Why a chain proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The path from leaf to authority breaks a rule of RFC 5280.
    #[error("the certificate chain does not hold")]
    Chain(#[source] webpki::Error),
    /// A certificate of the path is for, or signed with, a key that is distrusted
    /// ([`BundleSet::distrusting`](crate::BundleSet::distrusting)).
    #[error("a certificate of the chain is for, or signed with, a key that is distrusted")]
    Distrusted,
    /// A certificate of the path has expired.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// A certificate of the path that may not sign certificates has signed one (X509-SVID section
    /// 3.2).
    #[error("a certificate of the chain was signed by one that may not sign any")]
    IssuerIsNone,
    /// The leaf names extended key usages, and that of its role is not among them (X509-SVID section
    /// 4.4).
    #[error("the peer's certificate is not meant for a {role}: its extended key usage says so")]
    KeyPurpose {
        /// The side that the peer is on.
        role: Role,
    },
    /// The leaf is no X.509-SVID.
    #[error("the peer's certificate is no X.509-SVID")]
    Leaf(#[from] X509Error),
    /// A name of the chain lies outside of those that its issuer may vouch for (X509-SVID section
    /// 4.2), or a constraint cannot be judged: one on URIs in an intermediate, for example.
    #[error("a name of the chain is not among those that its issuer may vouch for")]
    NameConstraints,
    /// The bundle of the peer's trust domain has no authority that may sign now.
    #[error("no authority of trust domain {0} is valid")]
    NoAuthority(TrustDomain),
    /// The peer sent no certificate.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// A certificate of the path is not valid yet.
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid,
    /// The peer sent more certificates than any chain needs.
    #[error("the peer sent more than {limit} certificates")]
    TooManyCertificates {
        /// How many are looked at.
        limit: usize,
    },
    /// No authority of the peer's trust domain signed the chain.
    #[error("the chain does not lead to an authority of trust domain {0}")]
    UnknownAuthority(TrustDomain),
    /// There is no bundle for the peer's trust domain.
    #[error("there is no bundle for the peer's trust domain {0}")]
    UnknownTrustDomain(TrustDomain),
}

impl VerifyError {
    /// The reason as a word, for those who count.
    #[cfg(feature = "tls")]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Distrusted => "distrusted",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoAuthority(_) | Self::UnknownAuthority(_) => "unknown_authority",
            Self::UnknownTrustDomain(_) => "unknown_trust_domain",
            Self::NoCertificate => "no_certificate",
            Self::Leaf(_) | Self::KeyPurpose { .. } => "bad_leaf",
            Self::Chain(_)
            | Self::IssuerIsNone
            | Self::NameConstraints
            | Self::TooManyCertificates { .. } => "bad_chain",
        }
    }
}

/// Why a peer that was good once is so no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It is who it says, and may not proceed any more.
    #[error("the peer is not authorized any more")]
    Denied(#[from] Denied),
    /// Its proof does not hold any more.
    #[error("the peer is not verified any more")]
    Unverified(#[from] VerifyError),
}

impl PeerError {
    /// The reason as a word, for those who count.
    #[cfg(feature = "tls")]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Unverified(why) => why.reason(),
        }
    }
}
