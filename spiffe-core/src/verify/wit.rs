//! Token and proof in; a verified WIT-SVID out (WIT-SVID sections 4 and 5).
//!
//! It goes in two steps, and the first alone is worth nothing: [`wit`] judges the token, and
//! [`WitPresented::prove`] judges the proof that whoever presents it has its key. Only the second
//! makes a [`VerifiedWit`], so a stolen token cannot pass for a caller.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::jwt::{JwtRules, bundle_of, check_signature};
use super::jwt_error::VerifyJwtError;
use crate::SpiffeId;
use crate::bundle::BundleSet;
use crate::jwt::{Algorithm, Compact, Headers, JwtError, TokenType, WitClaims, claims, hash};

/// Judges the token of a WIT-SVID with the bundle of its own trust domain (WIT-SVID section 4).
///
/// # Errors
///
/// The first rule that does not hold.
pub fn wit(
    token: &str,
    bundles: &BundleSet,
    now: SystemTime,
    rules: &JwtRules,
) -> Result<WitPresented, VerifyJwtError> {
    // Unknown parameters are ignored (WIT-SVID section 2.4), whatever the rules for JWT-SVIDs.
    let mut parts = Compact::read(token, TokenType::Wit, Headers::Any)?;
    let claims = WitClaims::read(std::mem::take(&mut parts.claims))?;
    let bundle = bundle_of(&claims.id, bundles)?;
    check_signature(&parts, bundle.trust_domain(), bundle.wit_authorities())?;
    rules.check_time(claims.not_before, claims.expires_at, now)?;
    Ok(WitPresented {
        claims,
        token_hash: hash(token),
        access_token_hash: None,
    })
}

/// A WIT-SVID that holds, from somebody who has not proven yet to be the one it is about.
///
/// It tells nothing of whom it is about: that is for [`VerifiedWit`] to say.
pub struct WitPresented {
    claims: WitClaims,
    token_hash: String,
    access_token_hash: Option<String>,
}

impl WitPresented {
    /// The same, where the request carries this OAuth access token as well: the proof must bind it.
    #[must_use]
    pub fn with_access_token(self, token: &str) -> Self {
        Self {
            access_token_hash: Some(hash(token)),
            ..self
        }
    }

    /// Judges the proof token of the same request (draft-ietf-wimse-wpt section 2).
    ///
    /// `expected` are the targets that the proof may be for: the URI of the request, with a host that
    /// the caller knows from its own configuration and not from the request, or other names that it
    /// goes by. Query and fragment of a target do not count.
    ///
    /// Whether the proof came before is not judged; [`VerifiedWit::proof_id`] is what to remember for
    /// that.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold. No expected audience, or an empty name among them, is an
    /// error too.
    pub fn prove(
        self,
        proof: &str,
        expected: &[impl AsRef<str>],
        now: SystemTime,
        rules: &JwtRules,
    ) -> Result<VerifiedWit, VerifyProofError> {
        if expected.is_empty() || expected.iter().any(|name| bare(name.as_ref()).is_empty()) {
            return Err(VerifyProofError::NoExpectedAudience);
        }
        let parts = Compact::read(proof, TokenType::Proof, Headers::Any)?;
        let algorithm = self.claims.proof_algorithm;
        if parts.algorithm != algorithm {
            return Err(VerifyProofError::Algorithm {
                expected: algorithm,
                found: parts.algorithm,
            });
        }
        let key = &self.claims.confirmation;
        if !key.verifies(algorithm, parts.signed.as_bytes(), &parts.signature) {
            return Err(VerifyProofError::Signature);
        }
        let proof_expires_at = self.check_time(&parts.claims, now, rules)?;
        self.check_tokens(&parts.claims)?;
        let meant = |name: &String| {
            expected
                .iter()
                .any(|ours| bare(ours.as_ref()) == bare(name))
        };
        if !claims::audience(&parts.claims)?.iter().any(meant) {
            return Err(VerifyProofError::Audience);
        }
        let proof_id = claims::string(&parts.claims, "jti")?.to_owned();
        Ok(VerifiedWit(Arc::new(Proven {
            claims: self.claims,
            proof_id,
            proof_expires_at,
        })))
    }

    /// A proof is for now; the token may have ended since it was judged.
    fn check_time(
        &self,
        proof: &Map<String, Value>,
        now: SystemTime,
        rules: &JwtRules,
    ) -> Result<SystemTime, VerifyProofError> {
        let leeway = rules.leeway();
        let ends = claims::expiry(proof)?;
        let begins = claims::date(proof, "nbf")?;
        if now >= ends + leeway || now >= self.claims.expires_at + leeway {
            return Err(VerifyProofError::Expired);
        }
        if ends > now + MAX_LIFETIME + leeway {
            return Err(VerifyProofError::LongLived {
                limit: MAX_LIFETIME,
            });
        }
        if begins.is_some_and(|begins| now + leeway < begins) {
            return Err(VerifyProofError::NotYetValid);
        }
        Ok(ends)
    }

    /// A proof is for this token, and for those that come with it.
    fn check_tokens(&self, proof: &Map<String, Value>) -> Result<(), VerifyProofError> {
        if claims::string(proof, "wth")? != self.token_hash {
            return Err(VerifyProofError::ForeignToken);
        }
        if let Some(hash) = &self.access_token_hash
            && claims::string(proof, "ath")? != hash
        {
            return Err(VerifyProofError::AccessToken);
        }
        // Who names other tokens means them to be looked at, and we know of none.
        match proof.get("oth") {
            Some(_) => Err(VerifyProofError::OtherTokens),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for WitPresented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitPresented").finish_non_exhaustive()
    }
}

/// A WIT-SVID that an authority of its own trust domain signed, presented by somebody who has its
/// key.
///
/// There is no public constructor: to hold one is to have verified both. Cheap to clone.
#[derive(Clone)]
pub struct VerifiedWit(Arc<Proven>);

struct Proven {
    claims: WitClaims,
    proof_id: String,
    proof_expires_at: SystemTime,
}

impl VerifiedWit {
    /// The identity of who presented the token.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.0.claims.id
    }

    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.0.claims.expires_at
    }

    /// When the token was made, where it says so.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.0.claims.issued_at
    }

    /// All claims of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims.claims
    }

    /// The ID of the proof. No two proofs of one sender have the same, so whoever sees it again
    /// before [`proof_expires_at`](Self::proof_expires_at) sees a replay.
    #[must_use]
    pub fn proof_id(&self) -> &str {
        &self.0.proof_id
    }

    /// When the proof ends; clocks may differ.
    #[must_use]
    pub fn proof_expires_at(&self) -> SystemTime {
        self.0.proof_expires_at
    }
}

impl fmt::Debug for VerifiedWit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedWit")
            .field("id", self.id())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// Why a proof token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyProofError {
    /// The proof binds another access token than the one of the request.
    #[error("the proof belongs to another access token")]
    AccessToken,
    /// The proof is signed with another algorithm than the WIT-SVID names.
    #[error("the proof is signed with {found} instead of {expected}")]
    Algorithm {
        /// That of the confirmation key.
        expected: Algorithm,
        /// That of the proof.
        found: Algorithm,
    },
    /// The proof is for another request or another service.
    #[error("the proof is meant for another target")]
    Audience,
    /// The proof or the token has ended.
    #[error("the proof or its token has expired")]
    Expired,
    /// The proof belongs to another WIT-SVID.
    #[error("the proof belongs to another token")]
    ForeignToken,
    /// The proof would be good for longer than anybody needs (WIT-SVID section 7.2).
    #[error("the proof is good for longer than {limit:?}")]
    LongLived {
        /// How long it may be.
        limit: Duration,
    },
    /// The caller does not say what it is. That is a mistake of the caller's, not of the proof's.
    #[error("the expected audience is empty, which would accept any proof")]
    NoExpectedAudience,
    /// The proof has not begun yet.
    #[error("the proof is not valid yet")]
    NotYetValid,
    /// The proof binds tokens of kinds that we do not know.
    #[error("the proof belongs to other tokens that cannot be checked")]
    OtherTokens,
    /// The proof was not signed with the key that the WIT-SVID confirms.
    #[error("the proof was not signed with the key of the token")]
    Signature,
    /// The text is no proof token.
    #[error("the proof is malformed")]
    Token(#[from] JwtError),
}

/// A target without query and fragment.
fn bare(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

/// How long a proof may be good for: "on the order of minutes" (draft-ietf-wimse-wpt section 2).
/// Ours are good for less; see `WitSvid::PROOF_LIFETIME`.
const MAX_LIFETIME: Duration = Duration::from_secs(300);
