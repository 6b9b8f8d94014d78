//! A WIT-SVID as its holder has it: the token, and the key that it is worth nothing without.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::compact::{Compact, Headers, TokenType};
use super::sign::{SigningError, SigningKey, random_id};
use super::svid::Hashed;
use super::{Algorithm, Jwk, JwkError, JwtError, claims};
use crate::SpiffeId;
use crate::json::Object;

/// A WIT-SVID with its private key (WIT-SVID sections 2 and 3; SPIFFE Workload API section 7).
///
/// It is never presented alone and never in `Authorization`: the token goes into the header
/// [`TOKEN_HEADER`](Self::TOKEN_HEADER), and beside it, in [`PROOF_HEADER`](Self::PROOF_HEADER), a
/// proof made by [`prove`](Self::prove) for this one request (WIT-SVID section 5). Both need a secure
/// channel. Cheap to clone; prints neither token nor key.
#[derive(Clone)]
pub struct WitSvid {
    inner: Arc<Inner>,
    hint: Arc<str>,
}

struct Inner {
    token: String,
    id: SpiffeId,
    expires_at: SystemTime,
    key: SigningKey,
}

impl WitSvid {
    /// The HTTP header for the token.
    pub const TOKEN_HEADER: &'static str = "workload-identity-token";

    /// The HTTP header for the proof.
    pub const PROOF_HEADER: &'static str = "workload-proof-token";

    /// How long a proof is good for.
    pub const PROOF_LIFETIME: Duration = Duration::from_secs(30);

    /// Takes a token and its private key in the form of a JSON Web Key, as the Workload API sends
    /// them.
    ///
    /// # Errors
    ///
    /// Where the token breaks a rule of the standard, the key is malformed, or it is not the key that
    /// the token confirms.
    pub fn new(token: &str, private_jwk: &[u8]) -> Result<Self, JwtError> {
        let parts = Compact::read(token, TokenType::Wit, Headers::Any)?;
        let claims = WitClaims::read(parts.claims)?;
        let key = SigningKey::from_private_jwk(private_jwk, claims.proof_algorithm)
            .map_err(JwtError::PrivateKey)?;
        if key.public_key().key() != claims.confirmation.key() {
            return Err(JwtError::ForeignKey);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                token: token.to_owned(),
                id: claims.id,
                expires_at: claims.expires_at,
                key,
            }),
            hint: "".into(),
        })
    }

    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.inner.token
    }

    /// Whom it is about.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.inner.id
    }

    /// When it ends.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.inner.expires_at
    }

    /// What the Workload API says the SVID is for; mostly empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The SVID with this hint.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    /// Makes a proof token for one request (draft-ietf-wimse-wpt section 2), good for
    /// [`PROOF_LIFETIME`](Self::PROOF_LIFETIME).
    ///
    /// `target` is the URI of the request without query and fragment, or whatever name the other side
    /// goes by. Where the request carries an OAuth access token as well, the proof binds that too.
    ///
    /// # Errors
    ///
    /// Where the machine gives no randomness.
    pub fn prove(
        &self,
        target: &str,
        access_token: Option<&str>,
        now: SystemTime,
    ) -> Result<String, SigningError> {
        let expires = (now + Self::PROOF_LIFETIME).duration_since(UNIX_EPOCH);
        let expires = expires.unwrap_or_default().as_secs();
        let mut claims = Object::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("aud", target.into());
        claim("exp", expires.into());
        claim("jti", random_id()?.into());
        claim("wth", hash(self.token()).into());
        if let Some(token) = access_token {
            claim("ath", hash(token).into());
        }
        let mut header = Object::new();
        header.insert("alg".to_owned(), self.inner.key.algorithm().name().into());
        header.insert("typ".to_owned(), "wpt+jwt".into());
        self.inner.key.token(header, claims)
    }
}

impl fmt::Debug for WitSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitSvid")
            .field("id", self.id())
            .field("expires_at", &self.expires_at())
            .field("token", &Hashed(self.token()))
            .finish_non_exhaustive()
    }
}

/// The claims of a WIT-SVID, read and not trusted.
pub(crate) struct WitClaims {
    pub(crate) id: SpiffeId,
    pub(crate) expires_at: SystemTime,
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) issued_at: Option<SystemTime>,
    /// The public half of the key that whoever presents the token must have.
    pub(crate) confirmation: Jwk,
    /// The one algorithm that proofs are signed with.
    pub(crate) proof_algorithm: Algorithm,
    pub(crate) claims: Object,
}

impl WitClaims {
    pub(crate) fn read(claims: Object) -> Result<Self, JwtError> {
        // It is for no audience but for whoever sees the proof (WIT-SVID section 3.8).
        if claims.contains_key("aud") {
            return Err(JwtError::ClaimForbidden { claim: "aud" });
        }
        let (confirmation, proof_algorithm) = confirmation(&claims)?;
        Ok(Self {
            id: claims::subject(&claims)?,
            expires_at: claims::expiry(&claims)?,
            not_before: claims::date(&claims, "nbf")?,
            issued_at: claims::date(&claims, "iat")?,
            confirmation,
            proof_algorithm,
            claims,
        })
    }
}

/// Reads `cnf.jwk`, which must say what it signs with (WIT-SVID section 3.2).
fn confirmation(claims: &Object) -> Result<(Jwk, Algorithm), JwtError> {
    let claim = "cnf";
    let confirmation = claims.get(claim).ok_or(JwtError::ClaimMissing { claim })?;
    let key = confirmation.get("jwk").and_then(Value::as_object);
    let key = key.ok_or(JwtError::ClaimMalformed { claim })?;
    let key = Jwk::from_members(key).map_err(JwtError::Confirmation)?;
    match key.algorithm() {
        Some(algorithm) => Ok((key, algorithm)),
        None => Err(JwtError::Confirmation(JwkError::Algorithm)),
    }
}

/// How a proof names the tokens that it belongs to.
pub(crate) fn hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()))
}
