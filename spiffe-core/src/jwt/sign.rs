//! Private keys that sign tokens.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Algorithm, Jwk, JwkError};
use crate::json::Object;

/// A private key and the one algorithm that it signs with.
pub(crate) struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    public: Jwk,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// The machine gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signing failed")]
#[non_exhaustive]
pub struct SigningError;

impl SigningKey {
    /// Makes a new key for `algorithm`, named by its thumbprint.
    #[cfg(feature = "testing")]
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, JwkError> {
        use aws_lc_rs::rsa::KeySize;
        let pair = match ecdsa(algorithm) {
            Some(ecdsa) => EcdsaKeyPair::generate(ecdsa).map(Pair::Ec),
            None => RsaKeyPair::generate(KeySize::Rsa2048).map(Pair::Rsa),
        };
        Self::new(algorithm, pair.map_err(|_| JwkError::Unusable)?)
    }

    /// Reads a private JSON Web Key (RFC 7518 sections 6.2.2 and 6.3.2).
    #[cfg(feature = "incubating-wit")]
    pub(crate) fn from_private_jwk(text: &[u8], algorithm: Algorithm) -> Result<Self, JwkError> {
        use super::key::PRIVATE;

        let members = super::jwk::members_of(text)?.into_iter();
        let (secret, public): (Object, Object) =
            members.partition(|(name, _)| PRIVATE.contains(&&**name));
        let secret = Secret(secret);
        let key = super::Key::from_members(&public)?;
        Self::new(algorithm, Pair::read(&key, &secret.0, algorithm)?)
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Result<Self, JwkError> {
        let public = match &pair {
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        };
        let public = Jwk::from_spki_der(public.map_err(|_| JwkError::Unusable)?.as_ref())?;
        let name = public.thumbprint();
        Ok(Self {
            algorithm,
            pair,
            public: public.with_key_id(&name),
        })
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, named by its thumbprint.
    pub(crate) fn public_key(&self) -> &Jwk {
        &self.public
    }

    /// The token of this header and these claims, whatever they are.
    pub(crate) fn token(&self, header: Object, claims: Object) -> Result<String, SigningError> {
        let signed = payload(header, claims);
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }

    /// The token of this header and these claims with no signature at all.
    #[cfg(feature = "testing")]
    pub(crate) fn unsigned_token(header: Object, claims: Object) -> String {
        payload(header, claims) + "."
    }

    /// The key as a private JSON Web Key, if it is on a curve.
    #[cfg(all(feature = "incubating-wit", feature = "testing"))]
    pub(crate) fn private_jwk(&self) -> Option<String> {
        use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};

        let Pair::Ec(pair) = &self.pair else {
            return None;
        };
        let number: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
        let mut members = self.public.key().members();
        let number = BASE64_URL_SAFE_NO_PAD.encode(number.as_ref());
        members.insert("d".to_owned(), number.into());
        Some(Value::from(members).to_string())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SigningError),
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    // The others are of curves, and those have no such pair.
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed)
                    .map_err(|_| SigningError)?;
                Ok(signed)
            }
        }
    }
}

#[cfg(feature = "incubating-wit")]
impl Pair {
    /// The pair of a public key and the private members beside it.
    fn read(key: &super::Key, secret: &Object, algorithm: Algorithm) -> Result<Self, JwkError> {
        use super::Key;
        use super::key::bytes;
        use aws_lc_rs::rsa::KeyPairComponents;
        use zeroize::Zeroizing;

        if !key.fits(algorithm) {
            return Err(JwkError::Algorithm);
        }
        let number = |member| bytes(secret, member).map(Zeroizing::new);
        match (key, ecdsa(algorithm)) {
            (Key::Ec { point, .. }, Some(ecdsa)) => {
                EcdsaKeyPair::from_private_key_and_public_key(ecdsa, &number("d")?, point)
                    .map(Self::Ec)
                    .map_err(|_| JwkError::Unusable)
            }
            (Key::Rsa { modulus, exponent }, None) => {
                let (d, p, q) = (number("d")?, number("p")?, number("q")?);
                let (dp, dq, qi) = (number("dp")?, number("dq")?, number("qi")?);
                RsaKeyPair::from_components(&KeyPairComponents {
                    public_key: aws_lc_rs::rsa::PublicKeyComponents {
                        n: &modulus[..],
                        e: &exponent[..],
                    },
                    d: &d[..],
                    p: &p[..],
                    q: &q[..],
                    dP: &dp[..],
                    dQ: &dq[..],
                    qInv: &qi[..],
                })
                .map(Self::Rsa)
                .map_err(|_| JwkError::Unusable)
            }
            _ => Err(JwkError::Algorithm),
        }
    }
}

/// The private members of a key, which are erased when dropped.
#[cfg(feature = "incubating-wit")]
struct Secret(Object);

#[cfg(feature = "incubating-wit")]
impl Drop for Secret {
    fn drop(&mut self) {
        for member in self.0.values_mut() {
            if let Value::String(text) = member {
                zeroize::Zeroize::zeroize(text);
            }
        }
    }
}

fn payload(header: Object, claims: Object) -> String {
    let encode = |part| BASE64_URL_SAFE_NO_PAD.encode(Value::Object(part).to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn ecdsa(algorithm: Algorithm) -> Option<&'static EcdsaSigningAlgorithm> {
    Some(match algorithm {
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        _ => return None,
    })
}

/// 128 random bits, to tell one token from another.
#[cfg(feature = "incubating-wit")]
pub(crate) fn random_id() -> Result<String, SigningError> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| SigningError)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::{INTEGER, OCTET_STRING, SEQUENCE, Walk};

    #[test]
    fn a_private_key_is_read_for_every_algorithm_that_it_fits() {
        for algorithm in Algorithm::ALL {
            let made = SigningKey::generate(algorithm).unwrap();
            let text = match &made.pair {
                Pair::Ec(_) => made.private_jwk().unwrap(),
                Pair::Rsa(pair) => private_rsa_jwk(pair),
            };
            let read = SigningKey::from_private_jwk(text.as_bytes(), algorithm).unwrap();
            assert_eq!(read.public_key(), made.public_key(), "{algorithm}");
            let signature = read.sign(b"message").unwrap();
            assert!(made.public.verifies(algorithm, b"message", &signature));

            let wrong = match algorithm {
                Algorithm::Es256 => Algorithm::Rs256,
                _ => Algorithm::Es256,
            };
            let refused = SigningKey::from_private_jwk(text.as_bytes(), wrong);
            assert_eq!(refused.err(), Some(JwkError::Algorithm), "{algorithm}");
        }
    }

    /// The numbers of a key, which stand in PKCS#8 as RFC 8017 appendix A.1.2 has them.
    fn private_rsa_jwk(pair: &RsaKeyPair) -> String {
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let mut numbers = Vec::new();
        let mut outer = Walk::over(pkcs8.as_ref());
        let read = outer.inside(SEQUENCE, |fields| {
            fields.expect(INTEGER)?;
            fields.expect(SEQUENCE)?;
            Walk::over(fields.expect(OCTET_STRING)?.value()).inside(SEQUENCE, |fields| {
                while !fields.is_finished() {
                    numbers.push(fields.expect(INTEGER)?.unsigned()?);
                }
                Ok(())
            })
        });
        read.unwrap();
        let names = ["version", "n", "e", "d", "p", "q", "dp", "dq", "qi"];
        let mut members = Object::from_iter([("kty".to_owned(), "RSA".into())]);
        for (name, number) in names.into_iter().zip(numbers).skip(1) {
            let number = BASE64_URL_SAFE_NO_PAD.encode(number);
            members.insert(name.to_owned(), number.into());
        }
        Value::from(members).to_string()
    }
}
