//! Public keys, read and written as the members of a JSON Web Key (RFC 7518 section 6, RFC 8037).

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::alg_id;
use serde_json::Value;

use super::{Algorithm, JwkError};
use crate::der::{self, INTEGER, SEQUENCE, Spki, Walk};
use crate::json::Object;

/// A public key that can be used: its numbers have been checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// An uncompressed point: 4, x, y.
    Ec { curve: Curve, point: Vec<u8> },
    /// For certificates only; no token is signed with it.
    Ed25519(Vec<u8>),
    /// Big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Key {
    /// Reads the members that say what key it is.
    pub(crate) fn from_members(members: &Object) -> Result<Self, JwkError> {
        if PRIVATE.iter().any(|member| members.contains_key(*member)) {
            return Err(JwkError::PrivateKey);
        }
        match members.get("kty").and_then(Value::as_str) {
            Some("EC") => {
                let curve = Curve::named(members).ok_or(JwkError::Curve)?;
                let mut point = vec![UNCOMPRESSED];
                for member in ["x", "y"] {
                    let number = bytes(members, member)?;
                    if number.len() != curve.width() {
                        return Err(JwkError::Member { member });
                    }
                    point.extend(number);
                }
                Self::ec(curve, point)
            }
            Some("OKP") if members.get("crv").is_some_and(|crv| crv == "Ed25519") => {
                Self::ed25519(bytes(members, "x")?)
            }
            Some("OKP") => Err(JwkError::Curve),
            Some("RSA") => Self::rsa(&bytes(members, "n")?, &bytes(members, "e")?),
            _ => Err(JwkError::KeyType),
        }
    }

    /// Reads the DER of a `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
    pub(crate) fn from_spki_der(spki: &[u8]) -> Result<Self, JwkError> {
        let (algorithm, bits) = spki_parts(spki).map_err(|_| JwkError::Spki)?;
        let is = |known: rustls_pki_types::AlgorithmIdentifier| algorithm == known.as_ref();
        if let Some(curve) = Curve::ALL.into_iter().find(|curve| is(curve.alg_id())) {
            Self::ec(curve, bits.to_vec())
        } else if is(alg_id::ED25519) {
            Self::ed25519(bits.to_vec())
        } else if is(alg_id::RSA_ENCRYPTION) {
            let (modulus, exponent) = rsa_parts(bits).map_err(|_| JwkError::Spki)?;
            Self::rsa(modulus, exponent)
        } else {
            Err(JwkError::Spki)
        }
    }

    /// Writes the DER of a `SubjectPublicKeyInfo`.
    pub(crate) fn to_spki_der(&self) -> Vec<u8> {
        match self {
            Self::Ec { curve, point } => der::spki(curve.alg_id().as_ref(), point),
            Self::Ed25519(point) => der::spki(alg_id::ED25519.as_ref(), point),
            Self::Rsa { modulus, exponent } => {
                let numbers = [der::unsigned(modulus), der::unsigned(exponent)].concat();
                let key = der::element(SEQUENCE, &numbers);
                der::spki(alg_id::RSA_ENCRYPTION.as_ref(), &key)
            }
        }
    }

    fn ec(curve: Curve, point: Vec<u8>) -> Result<Self, JwkError> {
        let uncompressed = point.len() == 1 + 2 * curve.width() && point[0] == UNCOMPRESSED;
        if !uncompressed
            || UnparsedPublicKey::new(curve.ecdsa(), &point)
                .parse()
                .is_err()
        {
            return Err(JwkError::Unusable);
        }
        Ok(Self::Ec { curve, point })
    }

    fn ed25519(point: Vec<u8>) -> Result<Self, JwkError> {
        match UnparsedPublicKey::new(&signature::ED25519, &point).parse() {
            Ok(_) => Ok(Self::Ed25519(point)),
            Err(_) => Err(JwkError::Unusable),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, JwkError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(JwkError::RsaSize { bits });
        }
        PublicKeyComponents { n, e }
            .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| JwkError::Unusable)?;
        Ok(Self::Rsa {
            modulus: n.to_vec(),
            exponent: e.to_vec(),
        })
    }

    /// The members that say what key it is: those, and only those, that a thumbprint is made of
    /// (RFC 7638 section 3.2).
    pub(crate) fn members(&self) -> Object {
        let text = |bytes: &[u8]| Value::from(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let members: &[(&str, Value)] = &match self {
            Self::Ec { curve, point } => {
                let (x, y) = point[1..].split_at(curve.width());
                vec![
                    ("crv", curve.name().into()),
                    ("kty", "EC".into()),
                    ("x", text(x)),
                    ("y", text(y)),
                ]
            }
            Self::Ed25519(point) => vec![
                ("crv", "Ed25519".into()),
                ("kty", "OKP".into()),
                ("x", text(point)),
            ],
            Self::Rsa { modulus, exponent } => vec![
                ("e", text(exponent)),
                ("kty", "RSA".into()),
                ("n", text(modulus)),
            ],
        };
        let owned = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        owned.collect()
    }

    /// Whether this sort of key signs with `algorithm`.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Ec { curve, .. } => curve.algorithm() == algorithm,
            Self::Ed25519(_) => false,
            Self::Rsa { .. } => rsa_parameters(algorithm).is_some(),
        }
    }

    /// Whether the signature was made with this key.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ec { curve, point } if curve.algorithm() == algorithm => {
                UnparsedPublicKey::new(curve.ecdsa(), point)
                    .verify(message, signature)
                    .is_ok()
            }
            Self::Rsa {
                modulus: n,
                exponent: e,
            } => rsa_parameters(algorithm).is_some_and(|parameters| {
                PublicKeyComponents { n, e }
                    .verify(parameters, message, signature)
                    .is_ok()
            }),
            Self::Ec { .. } | Self::Ed25519(_) => false,
        }
    }
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    fn named(members: &Object) -> Option<Self> {
        let name = members.get("crv")?.as_str()?;
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// How many bytes a coordinate has.
    const fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::P521 => Algorithm::Es512,
        }
    }

    const fn alg_id(self) -> rustls_pki_types::AlgorithmIdentifier {
        match self {
            Self::P256 => alg_id::ECDSA_P256,
            Self::P384 => alg_id::ECDSA_P384,
            Self::P521 => alg_id::ECDSA_P521,
        }
    }

    /// Signatures in tokens are two numbers of fixed width (RFC 7518 section 3.4), never DER.
    const fn ecdsa(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => return None,
    })
}

/// The bytes of a member in base64url without padding.
pub(super) fn bytes(members: &Object, member: &'static str) -> Result<Vec<u8>, JwkError> {
    let text = members.get(member).and_then(Value::as_str);
    text.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(JwkError::Member { member })
}

fn spki_parts(spki: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut walk = Walk::over(spki);
    let parts = Spki::read(&mut walk)?;
    walk.finish()?;
    Ok((&spki[parts.algorithm], &spki[parts.key]))
}

fn rsa_parts(key: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut outer = Walk::over(key);
    let parts = outer.inside(SEQUENCE, |fields| {
        let modulus = fields.expect(INTEGER)?.unsigned()?;
        let exponent = fields.expect(INTEGER)?.unsigned()?;
        Ok((modulus, exponent))
    })?;
    outer.finish()?;
    Ok(parts)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The first byte of a point that is not compressed.
const UNCOMPRESSED: u8 = 4;

/// How long an RSA key may be.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Members of private and of shared keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4).
pub(super) const PRIVATE: [&str; 8] = ["d", "dp", "dq", "k", "oth", "p", "q", "qi"];
