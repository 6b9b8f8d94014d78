//! Keys: private ones, which are zeroed when dropped and never printed, and public ones.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{AlgorithmIdentifier, PrivatePkcs8KeyDer, alg_id};
use zeroize::Zeroizing;

use super::X509Error;
use crate::der::{self, Spki, Walk};

/// A private key, kept as unencrypted PKCS#8. Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    /// With what sort of key it is.
    Ec(EcdsaKeyPair, AlgorithmIdentifier),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// The kinds of keys that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcP256,
    /// ECDSA on P-384.
    EcP384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 4096 bits.
    Rsa4096,
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// Where the machine gives no randomness.
    pub fn generate(kind: KeyKind) -> Result<Self, X509Error> {
        let failed = |_| X509Error::KeyGeneration;
        let pkcs8 = match kind {
            KeyKind::EcP256 => generate_ec(&signature::ECDSA_P256_SHA256_ASN1_SIGNING)?,
            KeyKind::EcP384 => generate_ec(&signature::ECDSA_P384_SHA384_ASN1_SIGNING)?,
            KeyKind::Rsa2048 => {
                rsa_pkcs8(&RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?)?
            }
            KeyKind::Rsa4096 => {
                rsa_pkcs8(&RsaKeyPair::generate(KeySize::Rsa4096).map_err(failed)?)?
            }
        };
        Self::from_pkcs8(pkcs8)
    }

    /// Reads an unencrypted PKCS#8 key: EC (P-256, P-384, P-521), Ed25519 or RSA.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, X509Error> {
        super::refuse_pem(der)?;
        Self::from_pkcs8(Zeroizing::new(der.to_vec()))
    }

    /// Reads the first unencrypted PKCS#8 key of a PEM text.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, X509Error> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| X509Error::NotInPem {
            what: "PKCS#8 private key",
        })?;
        Self::from_pkcs8_der(der.secret_pkcs8_der())
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, X509Error> {
        let pair = Pair::read(&pkcs8).ok_or(X509Error::PrivateKey)?;
        let public = pair.public_key()?;
        Ok(Self(Arc::new(Inner {
            pkcs8,
            pair,
            public,
        })))
    }

    /// The key as unencrypted PKCS#8 DER. Handle with care.
    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.0.pkcs8
    }

    /// The key as an unencrypted PKCS#8 PEM block. Handle with care.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(super::to_pem("PRIVATE KEY", &self.0.pkcs8))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// Signs `message` as certificates and their requests are signed: ECDSA with the hash that
    /// fits the curve (ASN.1), Ed25519, or RSA PKCS#1 v1.5 with SHA-256.
    ///
    /// # Errors
    ///
    /// Where the machine gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, X509Error> {
        let failed = |_| X509Error::Signing;
        let random = SystemRandom::new();
        match &self.0.pair {
            Pair::Ec(pair, _) => pair
                .sign(&random, message)
                .map(|s| s.as_ref().to_vec())
                .map_err(failed),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed)
                    .map_err(failed)?;
                Ok(signed)
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Pair {
    fn read(pkcs8: &[u8]) -> Option<Self> {
        CURVES
            .iter()
            .find_map(|(signing, algorithm)| {
                let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8).ok()?;
                Some(Self::Ec(pair, *algorithm))
            })
            .or_else(|| Some(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).ok()?))))
            .or_else(|| {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                    .ok()
                    .map(Self::Ed25519)
            })
    }

    /// The public half, written here: the library knows it as it stands in the bit string already.
    fn public_key(&self) -> Result<PublicKey, X509Error> {
        let (algorithm, key) = match self {
            Self::Ec(pair, algorithm) => (*algorithm, pair.public_key().as_ref()),
            Self::Ed25519(pair) => (alg_id::ED25519, pair.public_key().as_ref()),
            Self::Rsa(pair) => (alg_id::RSA_ENCRYPTION, pair.public_key().as_ref()),
        };
        PublicKey::from_spki_der(&der::spki(algorithm.as_ref(), key))
    }
}

/// The curves of keys that are read, each with how it signs and how a public key names it.
static CURVES: [(&EcdsaSigningAlgorithm, AlgorithmIdentifier); 3] = [
    (
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        alg_id::ECDSA_P256,
    ),
    (
        &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        alg_id::ECDSA_P384,
    ),
    (
        &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        alg_id::ECDSA_P521,
    ),
];

fn generate_ec(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, X509Error> {
    EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(|_| X509Error::KeyGeneration)
}

fn rsa_pkcs8(pair: &RsaKeyPair) -> Result<Zeroizing<Vec<u8>>, X509Error> {
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
        pair.as_der().map_err(|_| X509Error::KeyGeneration)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

/// A public key, as the DER of its `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki: Arc<[u8]>,
    algorithm: Range<usize>,
    bits_at: usize,
}

impl PublicKey {
    /// Reads the DER of a `SubjectPublicKeyInfo`. Whether the point or modulus is any good shows
    /// when it is used.
    ///
    /// # Errors
    ///
    /// Where the bytes have another shape.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, X509Error> {
        let mut walk = Walk::over(spki);
        let parts = Spki::read(&mut walk).map_err(|_| X509Error::PublicKey)?;
        walk.finish().map_err(|_| X509Error::PublicKey)?;
        Ok(Self::inside(spki, &parts))
    }

    /// The key whose parts lie so in these bytes.
    pub(super) fn inside(bytes: &[u8], parts: &Spki) -> Self {
        let start = parts.whole.start;
        Self {
            spki: bytes[parts.whole.clone()].into(),
            algorithm: parts.algorithm.start - start..parts.algorithm.end - start,
            bits_at: parts.key.start - start,
        }
    }

    /// The DER of the `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// What sort of key it is: the content of its `AlgorithmIdentifier`, to be compared with those of
    /// `rustls_pki_types::alg_id`.
    #[must_use]
    pub fn algorithm(&self) -> &[u8] {
        &self.spki[self.algorithm.clone()]
    }

    /// The key itself: the content of the bit string, which key identifiers are hashed from (RFC
    /// 5280 section 4.2.1.2).
    #[must_use]
    pub fn key_bits(&self) -> &[u8] {
        &self.spki[self.bits_at..]
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bytes)", self.spki.len())
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::alg_id;

    use super::*;

    #[test]
    fn every_kind_is_made_written_and_read_back() {
        for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
            let key = PrivateKey::generate(kind).unwrap();
            let same = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
            assert_eq!(key.public_key(), same.public_key(), "{kind:?}");
            assert!(!same.sign(b"message").unwrap().is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn a_public_key_is_written_as_the_library_writes_it() {
        let ec = CURVES.map(|(curve, algorithm)| {
            let made = generate_ec(curve).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(curve, &made).unwrap();
            let theirs = pair.public_key().as_der().unwrap();
            (Pair::Ec(pair, algorithm), theirs)
        });
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let theirs = rsa.public_key().as_der().unwrap();
        let rsa = (Pair::Rsa(Box::new(rsa)), theirs);
        let edwards = Ed25519KeyPair::generate().unwrap();
        let theirs = edwards.public_key().as_der().unwrap();
        let edwards = (Pair::Ed25519(edwards), theirs);
        for (pair, theirs) in ec.into_iter().chain([rsa, edwards]) {
            assert_eq!(pair.public_key().unwrap().spki_der(), theirs.as_ref());
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        for bytes in [&b""[..], b"key", &[0x30, 0x00]] {
            assert_eq!(
                PrivateKey::from_pkcs8_der(bytes).unwrap_err(),
                X509Error::PrivateKey
            );
            assert_eq!(
                PublicKey::from_spki_der(bytes).unwrap_err(),
                X509Error::PublicKey
            );
        }
        let why = PrivateKey::from_pem(b"nothing").unwrap_err();
        assert_eq!(why.to_string(), "the PEM text holds no PKCS#8 private key");
    }

    #[test]
    fn a_public_key_tells_what_sort_it_is() {
        for (kind, algorithm) in [
            (KeyKind::EcP256, alg_id::ECDSA_P256),
            (KeyKind::EcP384, alg_id::ECDSA_P384),
            (KeyKind::Rsa2048, alg_id::RSA_ENCRYPTION),
        ] {
            let key = PrivateKey::generate(kind).unwrap();
            assert_eq!(key.public_key().algorithm(), algorithm.as_ref(), "{kind:?}");
        }
        // No sort and no key in it, which is for those to refuse who would use it.
        let empty = PublicKey::from_spki_der(&[0x30, 5, 0x30, 0, 3, 1, 0]).unwrap();
        assert!(empty.algorithm().is_empty() && empty.key_bits().is_empty());
    }

    #[test]
    fn a_private_key_prints_nothing_of_itself() {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }
}
