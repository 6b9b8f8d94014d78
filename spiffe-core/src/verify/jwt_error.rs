//! Why a token proves nothing.

use std::time::Duration;

use crate::TrustDomain;
use crate::jwt::{Algorithm, JwtError};

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyJwtError {
    /// The token is meant for others (JWT-SVID section 3.2).
    #[error("the token is meant for another audience")]
    Audience,
    /// The token has ended.
    #[error("the token has expired")]
    Expired,
    /// The key that the token names is of another sort than its signature, or no key of the trust
    /// domain is of that sort.
    #[error("no key that the token can mean signs with {algorithm}")]
    KeyDoesNotFit {
        /// The algorithm of the token.
        algorithm: Algorithm,
    },
    /// The caller does not say who it is. That is a mistake of the caller's, not of the token's.
    #[error("the expected audience is empty, which would accept any token")]
    NoExpectedAudience,
    /// The subject is a trust domain and no workload, where that is asked for.
    #[error("the SPIFFE ID of the token has no path")]
    NoPath,
    /// The token has not begun yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// None of the keys made the signature, and all that fit the token were tried.
    #[error("the signature of the token was not made by an authority of its trust domain")]
    Signature,
    /// The text is no token of ours.
    #[error("the token is malformed")]
    Token(#[from] JwtError),
    /// None of the keys that were tried made the signature, and more fit the token than are tried.
    #[error(
        "more than {limit} keys would have to be tried; the token should name its key, by a `kid` \
         that no other has"
    )]
    TooManyKeys {
        /// How many are tried.
        limit: usize,
    },
    /// The bundle has no key, or none that the token names.
    #[error("trust domain {0} has no key of the name that the token gives")]
    UnknownKey(TrustDomain),
    /// There is no bundle for the token's trust domain.
    #[error("there is no bundle for the token's trust domain {0}")]
    UnknownTrustDomain(TrustDomain),
}

/// A leeway that would make ends of no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a leeway of {leeway:?} is longer than {limit:?}")]
#[non_exhaustive]
pub struct LeewayError {
    /// What was asked for.
    pub leeway: Duration,
    /// The longest one.
    pub limit: Duration,
}
