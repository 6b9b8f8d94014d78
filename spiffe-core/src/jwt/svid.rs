//! A JWT-SVID as its holder has it: read, not trusted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::compact::{Compact, Headers, TokenType};
use super::{JwtError, claims};
use crate::SpiffeId;

/// A JWT-SVID: the token and what it claims (JWT-SVID sections 2 and 3).
///
/// Its shape has been checked and its signature has not, so nothing in it is proven:
/// [`verify::jwt`](crate::verify::jwt()) is what a token from elsewhere is given to. This type is
/// for tokens of one's own. Cheap to clone; prints the hash of its token and never the token.
#[derive(Clone)]
pub struct JwtSvid {
    inner: Arc<Inner>,
    hint: Arc<str>,
}

struct Inner {
    token: String,
    id: SpiffeId,
    audience: Vec<String>,
    expires_at: SystemTime,
    not_before: Option<SystemTime>,
    issued_at: Option<SystemTime>,
    claims: Map<String, Value>,
}

impl JwtSvid {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// Where it is no JWS in compact form, its header breaks a rule of JWT-SVID section 2, or one of
    /// the claims `sub`, `aud` and `exp` is missing or malformed.
    pub fn parse(token: &str) -> Result<Self, JwtError> {
        let parts = Compact::read(token, TokenType::Jwt, Headers::Any)?;
        Self::from_parts(token, parts.claims)
    }

    pub(crate) fn from_parts(token: &str, claims: Map<String, Value>) -> Result<Self, JwtError> {
        Ok(Self {
            inner: Arc::new(Inner {
                token: token.to_owned(),
                id: claims::subject(&claims)?,
                audience: claims::audience(&claims)?,
                expires_at: claims::expiry(&claims)?,
                not_before: claims::date(&claims, "nbf")?,
                issued_at: claims::date(&claims, "iat")?,
                claims,
            }),
            hint: "".into(),
        })
    }

    /// The token itself. Whoever has it can use it; handle with care.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.inner.token
    }

    /// Whom it is about: the claim `sub`.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.inner.id
    }

    /// Whom it is for: the claim `aud`, with at least one name.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.inner.audience
    }

    /// When it ends: the claim `exp`.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.inner.expires_at
    }

    /// When it begins: the claim `nbf`, which is optional.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.inner.not_before
    }

    /// When it was made: the claim `iat`, which is optional and limits nothing.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.inner.issued_at
    }

    /// All claims as they are in the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.inner.claims
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
}

impl FromStr for JwtSvid {
    type Err = JwtError;

    fn from_str(token: &str) -> Result<Self, JwtError> {
        Self::parse(token)
    }
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid")
            .field("id", self.id())
            .field("audience", &self.audience())
            .field("expires_at", &self.expires_at())
            .field("token", &Hashed(self.token()))
            .finish_non_exhaustive()
    }
}

/// A token, printed as the beginning of its hash.
pub(super) struct Hashed<'a>(pub(super) &'a str);

impl fmt::Debug for Hashed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        let beginning = BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..6]);
        write!(f, "sha256:{beginning}..")
    }
}
