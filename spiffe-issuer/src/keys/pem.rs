//! Private keys as others write them to files.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use spiffe_core::x509::{PrivateKey, X509Error};

/// The first unencrypted private key of a PEM text: PKCS#8, or the older forms of EC and RSA keys.
///
/// # Errors
///
/// Where there is none.
pub fn private_key_from_pem(text: &[u8]) -> Result<PrivateKey, X509Error> {
    let none = X509Error::NotInPem {
        what: "private key",
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(text) else {
        return Err(none);
    };
    match key {
        PrivateKeyDer::Pkcs8(key) => PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(key) => {
            let kinds = [
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                &ECDSA_P384_SHA384_ASN1_SIGNING,
            ];
            let pair = kinds.into_iter().find_map(|kind| {
                EcdsaKeyPair::from_private_key_der(kind, key.secret_sec1_der()).ok()
            });
            let document = pair.and_then(|pair| pair.to_pkcs8v1().ok());
            let document = document.ok_or(X509Error::PrivateKey)?;
            PrivateKey::from_pkcs8_der(document.as_ref())
        }
        PrivateKeyDer::Pkcs1(key) => {
            let pair = rsa::KeyPair::from_der(key.secret_pkcs1_der());
            let document = pair
                .ok()
                .and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok());
            let document = document.ok_or(X509Error::PrivateKey)?;
            PrivateKey::from_pkcs8_der(document.as_ref())
        }
        _ => Err(none),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn openssl(args: &[&str]) -> Vec<u8> {
        let made = Command::new("openssl")
            .args(args)
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "openssl {args:?}");
        made.stdout
    }

    #[test]
    fn keys_are_read_in_each_form_that_openssl_writes() {
        for (args, begins) in [
            (
                &[
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ][..],
                "-----BEGIN PRIVATE KEY-----",
            ),
            (
                &["ecparam", "-genkey", "-noout", "-name", "prime256v1"],
                "-----BEGIN EC PRIVATE KEY-----",
            ),
            // With its parameters in a block of their own before it.
            (
                &["ecparam", "-genkey", "-name", "secp384r1"],
                "-----BEGIN EC PARAMETERS-----",
            ),
            (
                &["genrsa", "-traditional", "2048"],
                "-----BEGIN RSA PRIVATE KEY-----",
            ),
        ] {
            let text = openssl(args);
            assert!(text.starts_with(begins.as_bytes()), "{args:?}");
            private_key_from_pem(&text).unwrap();
        }
        for text in [
            "",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
        ] {
            assert!(private_key_from_pem(text.as_bytes()).is_err(), "{text}");
        }
    }
}
