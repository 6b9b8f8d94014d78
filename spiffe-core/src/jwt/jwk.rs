//! A key to verify tokens with.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::key::Key;
use super::{Algorithm, JwkError};
use crate::json::{self, Object};

/// A public key to verify tokens with, of a sort that SPIFFE allows (RFC 7517; JWT-SVID sections
/// 2.1 and 6.1): EC on P-256, P-384 or P-521, or RSA of 2048 to 8192 bits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Jwk {
    key_id: Option<Arc<str>>,
    algorithm: Option<Algorithm>,
    key: Arc<Key>,
}

impl Jwk {
    /// Reads a JSON Web Key. Its `use` means nothing here; bundles look at it.
    ///
    /// # Errors
    ///
    /// Where it is no public key that tokens are verified with.
    pub fn from_json(text: &[u8]) -> Result<Self, JwkError> {
        Self::from_members(&members_of(text)?)
    }

    /// The key of a `SubjectPublicKeyInfo` in DER, e.g. that of a certificate; it has no ID yet.
    ///
    /// # Errors
    ///
    /// Where it is no public key that tokens are verified with.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, JwkError> {
        Self::new(None, None, Key::from_spki_der(spki)?)
    }

    pub(crate) fn from_members(members: &Object) -> Result<Self, JwkError> {
        let key_id = match members.get("kid") {
            None => None,
            Some(Value::String(key_id)) => Some(&**key_id),
            Some(_) => return Err(JwkError::Member { member: "kid" }),
        };
        let algorithm = match members.get("alg") {
            None => None,
            Some(name) => {
                let named = name.as_str().and_then(Algorithm::named);
                Some(named.ok_or(JwkError::Algorithm)?)
            }
        };
        Self::new(key_id, algorithm, Key::from_members(members)?)
    }

    fn new(key_id: Option<&str>, algorithm: Option<Algorithm>, key: Key) -> Result<Self, JwkError> {
        if matches!(key, Key::Ed25519(_)) {
            return Err(JwkError::Ed25519);
        }
        if algorithm.is_some_and(|algorithm| !key.fits(algorithm)) {
            return Err(JwkError::Algorithm);
        }
        Ok(Self {
            // An empty ID names no key.
            key_id: key_id.filter(|id| !id.is_empty()).map(Into::into),
            algorithm,
            key: Arc::new(key),
        })
    }

    /// The same key by this ID; by none, where it is empty.
    #[must_use]
    pub fn with_key_id(self, key_id: &str) -> Self {
        let key_id = Some(key_id).filter(|id| !id.is_empty()).map(Into::into);
        Self { key_id, ..self }
    }

    /// The ID that tokens name the key by.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The one algorithm that the key is meant for, where its publisher said so.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Whether a token that is signed so can have been signed with this key.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        match self.algorithm {
            Some(only) => only == algorithm,
            None => self.key.fits(algorithm),
        }
    }

    /// The hash of the key as RFC 7638 has it, which makes a good ID.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // Members in alphabetical order, without blanks.
        let text = Value::from(self.key.members()).to_string();
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }

    /// The key as a JSON Web Key.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::from(self.members()).to_string()
    }

    /// The key as the DER of a `SubjectPublicKeyInfo`, which knows nothing of an ID.
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        self.key.to_spki_der()
    }

    pub(crate) fn members(&self) -> Object {
        let mut members = self.key.members();
        if let Some(key_id) = self.key_id() {
            members.insert("kid".to_owned(), key_id.into());
        }
        if let Some(algorithm) = self.algorithm {
            members.insert("alg".to_owned(), algorithm.name().into());
        }
        members
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm) && self.key.verifies(algorithm, message, signature)
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("key_id", &self.key_id)
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}

/// Reads the text of one key.
pub(super) fn members_of(text: &[u8]) -> Result<Object, JwkError> {
    Ok(json::object(text, MAX_LEN)?)
}

/// How long the text of one key may be.
const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        RsaKeyPair,
    };

    use super::*;
    use crate::json::JsonError;

    #[test]
    fn a_key_is_written_as_it_is_read() {
        let ec = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        for spki in [
            ec.public_key().as_der().unwrap().as_ref().to_vec(),
            rsa.public_key().as_der().unwrap().as_ref().to_vec(),
        ] {
            let key = Jwk::from_spki_der(&spki).unwrap();
            assert_eq!(key.key_id(), None);
            assert_eq!(key.to_spki_der(), spki);
            let key = key.with_key_id("a");
            assert_eq!(Jwk::from_json(key.to_json().as_bytes()), Ok(key));
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_the_standard() {
        // The example of RFC 7638 section 3.1.
        let key = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
        let key = Jwk::from_json(key.as_bytes()).unwrap();
        assert_eq!(
            key.thumbprint(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
        assert_eq!(key.algorithm(), Some(Algorithm::Rs256));
        assert!(key.fits(Algorithm::Rs256) && !key.fits(Algorithm::Ps256));
    }

    #[test]
    fn refuses_what_no_token_is_verified_with_and_says_why() {
        let good = good();
        let member = |member| JwkError::Member { member };
        let short = BASE64_URL_SAFE_NO_PAD.encode([0x81; 128]);
        for (name, value, why) in [
            ("kty", Value::from("oct"), JwkError::KeyType),
            ("kty", Value::Null, JwkError::KeyType),
            ("kty", "ec".into(), JwkError::KeyType),
            ("crv", "P-224".into(), JwkError::Curve),
            ("crv", "P-384".into(), member("x")),
            ("x", "".into(), member("x")),
            ("y", 7.into(), member("y")),
            ("y", "A+/=".into(), member("y")),
            ("y", good["x"].clone(), JwkError::Unusable),
            ("alg", "ES384".into(), JwkError::Algorithm),
            ("alg", "HS256".into(), JwkError::Algorithm),
            ("alg", 1.into(), JwkError::Algorithm),
            ("kid", 1.into(), member("kid")),
            ("d", "AA".into(), JwkError::PrivateKey),
            ("k", "AA".into(), JwkError::PrivateKey),
        ] {
            let mut members = good.clone();
            members.insert(name.to_owned(), value);
            let text = Value::from(members).to_string();
            assert_eq!(Jwk::from_json(text.as_bytes()), Err(why), "{text}");
        }
        for (text, why) in [
            (
                format!(r#"{{"kty":"RSA","e":"AQAB","n":"{short}"}}"#),
                JwkError::RsaSize { bits: 1024 },
            ),
            (
                r#"{"kty":"RSA","e":"AQAB","n":""}"#.to_owned(),
                JwkError::RsaSize { bits: 0 },
            ),
            (
                r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_owned(),
                JwkError::Ed25519,
            ),
            ("[]".to_owned(), JsonError::NotAnObject.into()),
        ] {
            assert_eq!(Jwk::from_json(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(Jwk::from_spki_der(b"key"), Err(JwkError::Spki));
    }

    #[test]
    fn an_empty_key_id_is_none() {
        let key = Jwk::from_members(&good()).unwrap();
        assert_eq!(key.clone().with_key_id("").key_id(), None);
        assert_eq!(key.with_key_id("a").key_id(), Some("a"));
    }

    fn good() -> Object {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        Jwk::from_spki_der(spki.as_ref()).unwrap().members()
    }
}
