//! Requests for certificates, as the server takes them: a public key, and the proof of having the
//! private one. Whatever else the certificate will say is the server's business.

use rcgen::{CertificateParams, DistinguishedName, DnType, SignatureAlgorithm};
use spiffe_core::x509::{PrivateKey, PublicKey};

use crate::keys::{Scheme, Signer};

/// A key that can ask for a certificate.
pub trait Requester {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message with the scheme that certificates are signed with.
    ///
    /// # Errors
    ///
    /// Where the key cannot.
    fn sign(&self, message: &[u8], scheme: Scheme) -> Result<Vec<u8>, RequestError>;
}

impl Requester for dyn Signer {
    fn public_key(&self) -> &PublicKey {
        Signer::public_key(self)
    }

    fn sign(&self, message: &[u8], scheme: Scheme) -> Result<Vec<u8>, RequestError> {
        Signer::sign(self, message, scheme).map_err(|error| RequestError::Sign(error.into()))
    }
}

impl Requester for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        Self::public_key(self)
    }

    fn sign(&self, message: &[u8], _: Scheme) -> Result<Vec<u8>, RequestError> {
        // Such a key has one scheme, and it is this one.
        Self::sign(self, message).map_err(|error| RequestError::Sign(error.into()))
    }
}

/// The request of this key, a PKCS#10 document in DER. Blocks as long as signing takes.
///
/// # Errors
///
/// Where the key cannot sign, or is of a kind that asks for no certificates here.
pub fn request(key: &(impl Requester + ?Sized)) -> Result<Vec<u8>, RequestError> {
    let scheme = Scheme::of(key.public_key()).ok_or(RequestError::Kind)?;
    let algorithm = match scheme {
        Scheme::EcdsaP256Sha256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Scheme::EcdsaP384Sha384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Scheme::RsaPkcs1Sha256 => &rcgen::PKCS_RSA_SHA256,
    };
    let key = Asking {
        key,
        scheme,
        algorithm,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "US");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "SPIRE");
    let request = params.serialize_request(&key)?;
    Ok(request.der().to_vec())
}

struct Asking<'k, K: ?Sized> {
    key: &'k K,
    scheme: Scheme,
    algorithm: &'static SignatureAlgorithm,
}

impl<K: Requester + ?Sized> rcgen::PublicKeyData for Asking<'_, K> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().key_bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl<K: Requester + ?Sized> rcgen::SigningKey for Asking<'_, K> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message, self.scheme).map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Signing a request failed"
            );
            rcgen::Error::RemoteKeyError
        })
    }
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key is of a kind that we make no requests for.
    #[error("a key of this kind asks for no certificates")]
    Kind,
    /// The request could not be made.
    #[error("making a certificate request")]
    Request(#[from] rcgen::Error),
    /// The key would not sign.
    #[error("signing a certificate request")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };
    use spiffe_core::x509::KeyKind;

    use super::*;

    /// The whole of the first DER value, its content, and what follows it.
    fn value(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
        let (head, length) = match der[1] {
            0x81 => (3, usize::from(der[2])),
            0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
            short => (2, usize::from(short)),
        };
        let end = head + length;
        (&der[..end], &der[head..end], &der[end..])
    }

    /// The key that a request is for.
    pub(crate) fn public_key(request: &[u8]) -> PublicKey {
        let (_, content, _) = value(request);
        let (_, info, _) = value(content);
        let (_, _version, rest) = value(info);
        let (_, _subject, rest) = value(rest);
        PublicKey::from_spki_der(value(rest).0).unwrap()
    }

    #[test]
    fn a_request_says_whose_key_it_is_and_proves_it() {
        let cases: [(_, &dyn VerificationAlgorithm); 3] = [
            (KeyKind::EcP256, &ECDSA_P256_SHA256_ASN1),
            (KeyKind::EcP384, &ECDSA_P384_SHA384_ASN1),
            (KeyKind::Rsa2048, &RSA_PKCS1_2048_8192_SHA256),
        ];
        for (kind, algorithm) in cases {
            let key = PrivateKey::generate(kind).unwrap();
            let der = request(&key).unwrap();
            let (whole, content, rest) = value(&der);
            assert_eq!((whole, rest), (&der[..], &[][..]));
            let (info, _, rest) = value(content);
            let (_, _, rest) = value(rest);
            let (_, signature, _) = value(rest);

            assert_eq!(public_key(&der), *key.public_key(), "{kind:?}");
            assert!(info.windows(5).any(|window| window == b"SPIRE"));
            // A bit string begins with the number of unused bits.
            UnparsedPublicKey::new(algorithm, key.public_key().key_bits())
                .verify(info, &signature[1..])
                .unwrap();
        }
    }
}
