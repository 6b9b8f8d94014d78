//! Tokens in compact form (RFC 7515 section 7.1), taken apart and judged by their header.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Algorithm, JwtError};
use crate::json::{self, Object};

/// A token, taken apart. Nobody has looked at its signature yet.
pub(crate) struct Compact<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    pub(crate) claims: Object,
    /// What is signed.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

/// The kinds of tokens, told apart by their header so that none passes for another (RFC 8725 section
/// 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Jwt,
    #[cfg(feature = "incubating-wit")]
    Wit,
    #[cfg(feature = "incubating-wit")]
    Proof,
}

/// Which header parameters may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// Those that we do not know mean nothing.
    Any,
    /// `alg`, `kid`, `typ` and no others (JWT-SVID section 2).
    Named,
}

impl<'a> Compact<'a> {
    /// Takes a token apart. The header is judged before anything else is looked at (JWT-SVID section
    /// 4).
    pub(crate) fn read(
        token: &'a str,
        kind: TokenType,
        headers: Headers,
    ) -> Result<Self, JwtError> {
        if token.len() > MAX_LEN {
            return Err(JwtError::TooLong { limit: MAX_LEN });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Parts)?;
        if payload.contains('.') {
            return Err(JwtError::Parts);
        }
        let header = object(header, "header")?;
        let algorithm = algorithm(&header)?;
        check_type(&header, kind)?;
        if header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        if headers == Headers::Named && header.keys().any(|name| !NAMED.contains(&&**name)) {
            return Err(JwtError::Header);
        }
        let key_id = key_id(&header)?;
        if kind.must_name_key() && key_id.is_none() {
            return Err(JwtError::KeyId);
        }
        Ok(Self {
            algorithm,
            key_id,
            claims: object(payload, "payload")?,
            signed,
            signature: decode(signature, "signature")?,
        })
    }
}

impl TokenType {
    /// Whether the header must have a `kid` (WIT-SVID section 2.1).
    const fn must_name_key(self) -> bool {
        match self {
            Self::Jwt => false,
            #[cfg(feature = "incubating-wit")]
            Self::Wit => true,
            #[cfg(feature = "incubating-wit")]
            Self::Proof => false,
        }
    }
}

fn algorithm(header: &Object) -> Result<Algorithm, JwtError> {
    let name = header.get("alg").and_then(Value::as_str);
    name.and_then(Algorithm::named).ok_or(JwtError::Algorithm)
}

fn check_type(header: &Object, kind: TokenType) -> Result<(), JwtError> {
    let named = header.get("typ").map(Value::as_str);
    let fits = match kind {
        TokenType::Jwt => matches!(named, None | Some(Some("JWT" | "JOSE"))),
        #[cfg(feature = "incubating-wit")]
        TokenType::Wit => named == Some(Some("wit+jwt")),
        #[cfg(feature = "incubating-wit")]
        TokenType::Proof => named == Some(Some("wpt+jwt")),
    };
    if fits { Ok(()) } else { Err(JwtError::Type) }
}

fn key_id(header: &Object) -> Result<Option<String>, JwtError> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(key_id)) if !key_id.is_empty() => Ok(Some(key_id.clone())),
        Some(_) => Err(JwtError::KeyId),
    }
}

fn object(text: &str, part: &'static str) -> Result<Object, JwtError> {
    let bytes = decode(text, part)?;
    json::object(&bytes, MAX_LEN).map_err(|source| JwtError::Json { part, source })
}

fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, JwtError> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| JwtError::Encoding { part })
}

/// How long a token may be. What carries them, HTTP headers, is no longer either.
const MAX_LEN: usize = 16 * 1024;

/// The header parameters that the standard names.
const NAMED: [&str; 3] = ["alg", "kid", "typ"];
