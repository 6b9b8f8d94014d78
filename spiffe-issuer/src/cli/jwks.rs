//! A trust bundle as the SPIFFE standards write it: a set of JSON Web Keys (SPIFFE Trust Domain and
//! Bundle section 4).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use rustls_pki_types::alg_id;
use serde::Serialize;
use spiffe_core::x509::{Certificate, PublicKey, X509Error};

use crate::proto::types;

/// A bundle as a document.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    keys: Vec<Jwk>,
    #[serde(skip_serializing_if = "is_zero")]
    spiffe_sequence: u64,
    #[serde(skip_serializing_if = "is_zero")]
    spiffe_refresh_hint: u64,
}

/// A key, with what it is used for. Its fields are those of RFC 7517 and RFC 7518.
#[derive(Debug, Default, Serialize)]
struct Jwk {
    r#use: &'static str,
    kty: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    x5c: Vec<String>,
}

/// Why a bundle has no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwksError {
    /// No JSON Web Key is defined for this sort of key.
    #[error("a key is neither EC, Ed25519 nor RSA")]
    Algorithm,
    /// An authority's certificate or key is malformed.
    #[error("an authority cannot be read")]
    Authority(#[from] X509Error),
    /// The key is not what its algorithm says.
    #[error("a key is malformed")]
    Key,
}

impl TryFrom<&types::Bundle> for Document {
    type Error = JwksError;

    fn try_from(bundle: &types::Bundle) -> Result<Self, JwksError> {
        let x509 = bundle.x509_authorities.iter().map(|authority| {
            let certificate = Certificate::from_der(&authority.asn1)?;
            Ok(Jwk {
                r#use: "x509-svid",
                x5c: vec![STANDARD.encode(certificate.der())],
                ..Jwk::of(certificate.public_key())?
            })
        });
        let jwt = bundle.jwt_authorities.iter().map(|authority| {
            Ok(Jwk {
                r#use: "jwt-svid",
                kid: authority.key_id.clone(),
                ..Jwk::of(&PublicKey::from_spki_der(&authority.public_key)?)?
            })
        });
        Ok(Self {
            keys: x509.chain(jwt).collect::<Result<_, JwksError>>()?,
            spiffe_sequence: bundle.sequence_number,
            spiffe_refresh_hint: u64::try_from(bundle.refresh_hint).unwrap_or(0),
        })
    }
}

impl Jwk {
    fn of(key: &PublicKey) -> Result<Self, JwksError> {
        let algorithm = key.algorithm();
        for (id, crv, length) in [
            (alg_id::ECDSA_P256, "P-256", 32),
            (alg_id::ECDSA_P384, "P-384", 48),
            (alg_id::ECDSA_P521, "P-521", 66),
        ] {
            if algorithm == id.as_ref() {
                return Self::ec(crv, key.key_bits(), length);
            }
        }
        if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
            Self::rsa(key.key_bits()).ok_or(JwksError::Key)
        } else if algorithm == alg_id::ED25519.as_ref() {
            Ok(Self {
                kty: "OKP",
                crv: Some("Ed25519"),
                x: Some(URL_SAFE_NO_PAD.encode(key.key_bits())),
                ..Self::default()
            })
        } else {
            Err(JwksError::Algorithm)
        }
    }

    /// An uncompressed point: 4, then both coordinates (SEC 1 section 2.3.3).
    fn ec(crv: &'static str, point: &[u8], length: usize) -> Result<Self, JwksError> {
        let Some((4, coordinates)) = point.split_first().map(|(kind, rest)| (*kind, rest)) else {
            return Err(JwksError::Key);
        };
        if coordinates.len() != 2 * length {
            return Err(JwksError::Key);
        }
        let (x, y) = coordinates.split_at(length);
        Ok(Self {
            kty: "EC",
            crv: Some(crv),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: Some(URL_SAFE_NO_PAD.encode(y)),
            ..Self::default()
        })
    }

    /// A sequence of modulus and exponent (RFC 8017 appendix A.1.1).
    fn rsa(key: &[u8]) -> Option<Self> {
        let mut outer = SliceReader::new(key).ok()?;
        let read = outer.sequence(|fields| {
            let modulus = UintRef::decode(fields)?;
            Ok::<_, der::Error>((modulus, UintRef::decode(fields)?))
        });
        let (modulus, exponent) = read.ok()?;
        outer.finish().ok()?;
        Some(Self {
            kty: "RSA",
            n: Some(URL_SAFE_NO_PAD.encode(modulus.as_bytes())),
            e: Some(URL_SAFE_NO_PAD.encode(exponent.as_bytes())),
            ..Self::default()
        })
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spiffe_core::x509::{KeyKind, PrivateKey};

    use super::*;

    fn document(kind: KeyKind, name: &str) -> serde_json::Value {
        let key = PrivateKey::generate(kind).unwrap();
        let bundle = types::Bundle {
            trust_domain: "td".to_owned(),
            jwt_authorities: vec![types::JwtKey {
                public_key: key.public_key().spki_der().to_vec(),
                key_id: name.to_owned(),
                ..Default::default()
            }],
            sequence_number: 3,
            refresh_hint: 300,
            ..Default::default()
        };
        serde_json::to_value(Document::try_from(&bundle).unwrap()).unwrap()
    }

    #[test]
    fn each_kind_of_key_has_its_fields() {
        for (kind, kty, crv, x, n) in [
            (KeyKind::EcP256, "EC", json!("P-256"), Some(43), None),
            (KeyKind::EcP384, "EC", json!("P-384"), Some(64), None),
            (KeyKind::Rsa2048, "RSA", json!(null), None, Some(342)),
        ] {
            let document = document(kind, "k1");
            assert_eq!(document["spiffe_sequence"], 3);
            assert_eq!(document["spiffe_refresh_hint"], 300);
            let key = &document["keys"][0];
            assert_eq!(key["use"], "jwt-svid");
            assert_eq!(key["kid"], "k1");
            assert_eq!((&key["kty"], &key["crv"]), (&json!(kty), &crv));
            let length = |field: &str| key[field].as_str().map(str::len);
            assert_eq!((length("x"), length("y"), length("n")), (x, x, n));
            assert_eq!(length("e"), n.map(|_| 4), "AQAB");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let point = [4, 1, 2];
        assert!(matches!(Jwk::ec("P-256", &point, 32), Err(JwksError::Key)));
        assert!(Jwk::rsa(&[0x30, 0]).is_none());
        let bundle = types::Bundle {
            x509_authorities: vec![types::X509Certificate::default()],
            ..Default::default()
        };
        assert!(matches!(
            Document::try_from(&bundle),
            Err(JwksError::Authority(_))
        ));
    }
}
