//! What stands in our tokens: JWT-SVIDs, and WIT-SVIDs.
//!
//! As with certificates, nothing in them is of their holder's choosing but for the audience that it
//! asks for, and the key that it proves to hold.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use der::asn1::UintRef;
use der::{Decode, Sequence};
use serde_json::{Map, Value, json};
use spiffe_core::SpiffeId;
use uuid::Uuid;

use super::CaError;
use super::sign::Signed;
use crate::domain::AuthorityId;
use crate::keys::{Scheme, Signer};

/// A token that is to be signed.
#[derive(Debug, Clone)]
pub struct Token {
    id: SpiffeId,
    typ: &'static str,
    lifetime: Duration,
    /// What stands beside subject and times.
    claims: Map<String, Value>,
}

impl Token {
    /// A JWT-SVID for this audience. With `named`, it has an ID of its own.
    #[must_use]
    pub fn jwt(
        id: SpiffeId,
        audience: &[String],
        issuer: Option<&str>,
        named: bool,
        lifetime: Duration,
    ) -> Self {
        let mut claims = with_issuer(issuer);
        claims.insert("aud".to_owned(), json!(audience));
        if named {
            let name = BASE64_URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
            claims.insert("jti".to_owned(), json!(name));
        }
        Self {
            id,
            typ: "JWT",
            lifetime,
            claims,
        }
    }

    /// A WIT-SVID for whoever holds this key, a public JSON Web Key.
    #[must_use]
    pub fn wit(id: SpiffeId, key: &Value, issuer: Option<&str>, lifetime: Duration) -> Self {
        let mut claims = with_issuer(issuer);
        claims.insert("cnf".to_owned(), json!({ "jwk": key }));
        Self {
            id,
            typ: "wit+jwt",
            lifetime,
            claims,
        }
    }
}

fn with_issuer(issuer: Option<&str>) -> Map<String, Value> {
    let issuer = issuer.map(|issuer| ("iss".to_owned(), json!(issuer)));
    issuer.into_iter().collect()
}

/// A token that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// The token.
    pub token: String,
    /// When it was signed.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// A key that can sign tokens.
#[derive(Debug)]
pub(super) struct TokenSigner {
    pub(super) id: AuthorityId,
    pub(super) signer: std::sync::Arc<dyn Signer>,
    pub(super) not_after: SystemTime,
    pub(super) signed: std::sync::Arc<Signed>,
}

impl TokenSigner {
    pub(super) fn sign(&self, token: Token, now: SystemTime) -> Result<SignedToken, CaError> {
        if self.not_after <= now {
            return Err(CaError::Expired);
        }
        let (issued_at, ends) = (seconds(now), (now + token.lifetime).min(self.not_after));
        let expires_at = seconds(ends);
        let mut claims = token.claims;
        claims.insert("sub".to_owned(), json!(token.id.as_str()));
        claims.insert("iat".to_owned(), json!(issued_at));
        claims.insert("exp".to_owned(), json!(expires_at));
        let scheme = self.signer.scheme();
        let header = json!({ "alg": algorithm(scheme), "kid": self.id.as_str(), "typ": token.typ });
        let encode = |part: Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(Value::Object(claims)));
        let signature = self.signer.sign(message.as_bytes(), scheme)?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(for_token(signature, scheme)?);
        self.signed.note(ends);
        Ok(SignedToken {
            token: format!("{message}.{signature}"),
            issued_at: SystemTime::UNIX_EPOCH + Duration::from_secs(issued_at),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(expires_at),
        })
    }
}

/// What tokens call the way in which a key signs (RFC 7518 section 3.1).
fn algorithm(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::EcdsaP256Sha256 => "ES256",
        Scheme::EcdsaP384Sha384 => "ES384",
        Scheme::RsaPkcs1Sha256 => "RS256",
    }
}

/// A signature as tokens carry it: of ECDSA both numbers at their full length, and no ASN.1
/// (RFC 7518 section 3.4).
fn for_token(signature: Vec<u8>, scheme: Scheme) -> der::Result<Vec<u8>> {
    #[derive(Sequence)]
    struct Numbers<'a> {
        r: UintRef<'a>,
        s: UintRef<'a>,
    }
    let length = match scheme {
        Scheme::EcdsaP256Sha256 => 32,
        Scheme::EcdsaP384Sha384 => 48,
        Scheme::RsaPkcs1Sha256 => return Ok(signature),
    };
    let numbers = Numbers::from_der(&signature)?;
    let mut fixed = Vec::with_capacity(2 * length);
    for number in [numbers.r.as_bytes(), numbers.s.as_bytes()] {
        let missing = length.checked_sub(number.len());
        let missing = missing.ok_or(der::ErrorKind::Overlength)?;
        fixed.extend(std::iter::repeat_n(0, missing));
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

/// A name for a key of tokens: 32 letters and digits by chance.
pub(super) fn new_key_id() -> Result<AuthorityId, CaError> {
    let mut id = String::with_capacity(KEY_ID_LEN);
    while id.len() < KEY_ID_LEN {
        let mut bytes = [0; KEY_ID_LEN];
        rand::fill(&mut bytes).map_err(|_| CaError::NoRandomness)?;
        // Six bits of each byte, so that every character is as likely as any other.
        let chosen = bytes.iter().map(|byte| usize::from(byte & 63));
        let letters = chosen.filter_map(|at| LETTERS.get(at));
        id.extend(letters.map(|letter| char::from(*letter)));
    }
    id.truncate(KEY_ID_LEN);
    Ok(AuthorityId::from_text(&id))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

const KEY_ID_LEN: usize = 32;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_32_letters_and_digits_and_never_the_same() {
        let [a, b] = [(); 2].map(|()| new_key_id().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 32);
        assert!(a.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn both_numbers_of_a_signature_have_their_full_length() {
        // 0x00ff..: DER puts a zero before a number whose first bit is set, and drops leading zeros.
        let der = [0x30, 7, 2, 2, 0, 0xff, 2, 1, 7];
        let fixed = for_token(der.to_vec(), Scheme::EcdsaP256Sha256).unwrap();
        let mut expected = [0; 64];
        (expected[31], expected[63]) = (0xff, 7);
        assert_eq!(fixed, expected);
        let mut long = vec![0x30, 37, 2, 32];
        long.extend([1; 32]);
        long.extend([2, 1, 7]);
        assert_eq!(for_token(long, Scheme::EcdsaP256Sha256).unwrap().len(), 64);
        let mut longer = vec![0x30, 38, 2, 33];
        longer.extend([1; 33]);
        longer.extend([2, 1, 7]);
        assert!(for_token(longer, Scheme::EcdsaP256Sha256).is_err());
        assert!(for_token(vec![0x30, 0], Scheme::EcdsaP256Sha256).is_err());
    }
}
