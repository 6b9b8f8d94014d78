//! Why something is not the key or token that it should be.

use crate::IdError;
use crate::json::JsonError;

/// Why a JSON Web Key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// An `alg` that tokens are not signed with, or that does not fit the key.
    #[error("the key's `alg` is none that fits the key")]
    Algorithm,
    /// A curve that we do not know.
    #[error("the curve `crv` of the key is unknown")]
    Curve,
    /// A type of key that tokens are not signed with.
    #[error("tokens are not signed with Ed25519 keys")]
    Ed25519,
    /// No JSON object.
    #[error("the key is malformed")]
    Json(#[from] JsonError),
    /// A type of key that we do not know.
    #[error("the type `kty` of the key is missing or unknown")]
    KeyType,
    /// A member that the key needs.
    #[error("the key's `{member}` is missing or malformed")]
    Member {
        /// Its name.
        member: &'static str,
    },
    /// A private key where a public one should be. Whoever read it can sign with it.
    #[error("the key is published with its private half")]
    PrivateKey,
    /// An RSA key that is too short to be safe, or longer than anyone needs.
    #[error("the RSA key has {bits} bits instead of 2048 to 8192")]
    RsaSize {
        /// How long it is.
        bits: usize,
    },
    /// A `SubjectPublicKeyInfo` of another shape.
    #[error("the bytes are no EC, RSA or Ed25519 public key")]
    Spki,
    /// Numbers that make no key, such as a point beside its curve.
    #[error("the numbers of the key make no public key")]
    Unusable,
}

/// Why a text is no token of ours, before anybody asks who signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// A signature algorithm that is missing or forbidden (JWT-SVID section 2.1).
    #[error("the token's `alg` is none that tokens are signed with")]
    Algorithm,
    /// A claim that a token of this kind must not have (WIT-SVID section 3.8).
    #[cfg(feature = "incubating-wit")]
    #[error("the token has a claim `{claim}`, which it must not have")]
    ClaimForbidden {
        /// Its name.
        claim: &'static str,
    },
    /// A claim of another type than the standard gives it.
    #[error("the claim `{claim}` of the token is malformed")]
    ClaimMalformed {
        /// Its name.
        claim: &'static str,
    },
    /// A claim that a token must have.
    #[error("the token has no claim `{claim}`")]
    ClaimMissing {
        /// Its name.
        claim: &'static str,
    },
    /// A confirmation key that is of no use (WIT-SVID section 3.2).
    #[cfg(feature = "incubating-wit")]
    #[error("the confirmation key of the token is of no use")]
    Confirmation(#[source] JwkError),
    /// A header that says that parts of it must be understood, which we do not (RFC 7515 section
    /// 4.1.11).
    #[error("the token has critical header parameters")]
    Critical,
    /// A part that is not base64url without padding (RFC 7515 section 2).
    #[error("the token's {part} is not base64url without padding")]
    Encoding {
        /// Which part.
        part: &'static str,
    },
    /// A private key that is not the one that the token confirms.
    #[cfg(feature = "incubating-wit")]
    #[error("the private key is not the one that the token confirms")]
    ForeignKey,
    /// A header parameter that the standard does not name (JWT-SVID section 2), where that is asked
    /// for.
    #[error("the token's header has a parameter that is not `alg`, `kid` or `typ`")]
    Header,
    /// A part that is no JSON object.
    #[error("the token's {part} is malformed")]
    Json {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        source: JsonError,
    },
    /// A key ID that is empty or no string, or missing where there must be one.
    #[error("the token's `kid` names no key")]
    KeyId,
    /// Not three parts with dots between them (RFC 7515 section 7.1).
    #[error("the token has not the three parts of a JWS in compact form")]
    Parts,
    /// A private key that is of no use.
    #[cfg(feature = "incubating-wit")]
    #[error("the private key of the token is of no use")]
    PrivateKey(#[source] JwkError),
    /// The subject is not a SPIFFE ID (JWT-SVID section 3.1).
    #[error("the claim `sub` of the token is not a SPIFFE ID")]
    Subject(#[source] IdError),
    /// More bytes than any token needs.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// How long a token may be.
        limit: usize,
    },
    /// A token of another type (JWT-SVID section 2.3, WIT-SVID section 2.2).
    #[error("the token's `typ` is that of another kind of token")]
    Type,
}
