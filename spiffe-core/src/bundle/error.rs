//! What can be wrong with a bundle that is read or written.

use crate::json::JsonError;
use crate::jwt::JwkError;
use crate::x509::X509Error;
use crate::{IdError, TrustDomain};

/// Why a document is no bundle at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// No JSON object.
    #[error("the bundle document is malformed")]
    Json(#[from] JsonError),
    /// The list of keys is missing (SPIFFE Trust Domain and Bundle section 4.1.3).
    #[error("the bundle document has no list `keys`")]
    NoKeys,
    /// A sequence number that is none (SPIFFE Trust Domain and Bundle section 4.1.1).
    #[error("`spiffe_sequence` of the bundle document is no integer from 0 to 2^64 - 1")]
    Sequence,
    /// More keys than anyone needs.
    #[error("the bundle document has more than {limit} keys")]
    TooManyKeys {
        /// How many are read.
        limit: usize,
    },
}

/// Why a document is no map of bundles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleMapError {
    /// A bundle of the map is malformed.
    #[error("the bundle of {trust_domain} is malformed")]
    Bundle {
        /// Whose bundle it is.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// No JSON object, or a trust domain that is in it twice (SPIFFE Trust Domain and Bundle section
    /// 5.1.1).
    #[error("the bundle map is malformed")]
    Json(#[from] JsonError),
    /// A name that is not that of a trust domain. IDs are no names here.
    #[error("{name:?} in the bundle map is not the name of a trust domain")]
    Name {
        /// The name; the beginning of it, where it is long.
        name: Box<str>,
        /// What is wrong with it.
        source: IdError,
    },
    /// The member that all bundles are in is missing (SPIFFE Trust Domain and Bundle section 5.1.1).
    #[error("the bundle map has no object `trust_domains`")]
    NoTrustDomains,
}

/// A key of a bundle that was left out, while the others count (SPIFFE Trust Domain and Bundle
/// section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {index} of the bundle of {trust_domain} is left out")]
#[non_exhaustive]
pub struct Skipped {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// Which of the keys it is, counted from 0.
    pub index: usize,
    /// The ID of the key, where it has one.
    pub key_id: Option<Box<str>>,
    /// Why.
    #[source]
    pub flaw: KeyFlaw,
}

/// Why a key of a bundle is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFlaw {
    /// The certificate of an X.509 authority is malformed.
    #[error("its certificate is malformed")]
    Certificate(#[from] X509Error),
    /// The certificate of an X.509 authority is that of another key (RFC 7517 section 4.7).
    #[error("its certificate is that of another key")]
    ForeignCertificate,
    /// The key itself is malformed, or of a kind that we do not know.
    #[error(transparent)]
    Jwk(#[from] JwkError),
    /// An X.509 authority without a certificate in base64 (X509-SVID section 6.2).
    #[error("it is an X.509 authority without a certificate in `x5c`")]
    NoCertificate,
    /// A key for tokens without an ID (JWT-SVID section 6.1).
    #[error("it has no key ID `kid`")]
    NoKeyId,
    /// The certificate of an X.509 authority is not that of an authority.
    #[error("its certificate must not sign certificates")]
    NotAnAuthority,
    /// It is no object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// It is for another use, or for none that is told (SPIFFE Trust Domain and Bundle section
    /// 4.2.2).
    #[error("its `use` is missing or another one")]
    Use,
}

/// Why a bundle cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key of an X.509 authority that JSON Web Keys have no form for.
    #[error("the key of X.509 authority {index} cannot be written as a JSON Web Key")]
    Authority {
        /// Which of the authorities it is, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: JwkError,
    },
    /// A key for WIT-SVIDs by an ID that another key has (WIT-SVID section 6.1).
    #[cfg(feature = "incubating-wit")]
    #[error("key {index} for WIT-SVIDs has the ID of another key")]
    KeyIdTwice {
        /// Which of the keys it is, counted from 0.
        index: usize,
    },
    /// A key for tokens without an ID, which must have one (JWT-SVID section 6.1).
    #[error("key {index} for tokens has no ID")]
    NoKeyId {
        /// Which of the keys it is, counted from 0.
        index: usize,
    },
}
