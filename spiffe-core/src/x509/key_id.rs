//! Names of keys, as certificates and SPIRE's authorities bear them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::{Certificate, PublicKey};

/// The identifier of a key (RFC 5280 section 4.2.1.2): the subject key identifier of an authority is
/// what SPIRE calls its authority ID.
///
/// A key is also known by what such identifiers are commonly made of: SHA-1 of its bits, the first 20 bytes
/// of their SHA-256 or all 32 of them, and SHA-256 of the whole public key (`SubjectPublicKeyInfo`).
///
/// Written in hexadecimal, with a colon between all bytes or with none, and with 8 bytes or more: no
/// common way to make an identifier gives fewer, and one that was cut off would match nothing in silence.
/// [`new`](Self::new) is for certificates that do bear shorter ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<[u8]>);

impl KeyId {
    /// The identifier of these bytes.
    ///
    /// # Errors
    ///
    /// Where there are none, or more than 64.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyIdError> {
        if bytes.is_empty() || bytes.len() > MAX_LEN {
            return Err(KeyIdError::Length { bytes: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a certificate is for this key, or says that this key signed it. A certificate that says
    /// nothing of its own key is known by the hashes that identifiers are commonly made of (RFC 5280
    /// section 4.2.1.2 and RFC 7093 section 2): who leaves it out, or writes another, hides nothing.
    pub(crate) fn is_of(&self, certificate: &Certificate) -> bool {
        let is_it = |id: Option<&[u8]>| id == Some(self.as_bytes());
        is_it(certificate.subject_key_id())
            || is_it(certificate.authority_key_id())
            || self.is_hash_of(certificate.public_key())
    }

    fn is_hash_of(&self, key: &PublicKey) -> bool {
        let is_hash = |hash, of| digest(hash, of).as_ref().starts_with(&self.0);
        match self.0.len() {
            20 => {
                is_hash(&SHA1_FOR_LEGACY_USE_ONLY, key.key_bits())
                    || is_hash(&SHA256, key.key_bits())
            }
            32 => is_hash(&SHA256, key.key_bits()) || is_hash(&SHA256, key.spki_der()),
            _ => false,
        }
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let byte = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |ascii: u8| char::from(ascii).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = match text.contains(':') {
            true => text.split(':').map(|pair| byte(pair.as_bytes())).collect(),
            false => text.as_bytes().chunks(2).map(byte).collect(),
        };
        let bytes = bytes.ok_or(KeyIdError::NotHex)?;
        if (1..LEAST_WRITTEN).contains(&bytes.len()) {
            return Err(KeyIdError::CutOff { bytes: bytes.len() });
        }
        Self::new(&bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why something is no identifier of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyIdError {
    /// It is written with so few bytes that something must be missing.
    #[error(
        "a key identifier is written with {LEAST_WRITTEN} bytes at least, and this has {bytes}"
    )]
    CutOff {
        /// How long it is.
        bytes: usize,
    },
    /// It is too short or too long.
    #[error("a key identifier has from 1 to {MAX_LEN} bytes, and this has {bytes}")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// It is not written in hexadecimal.
    #[error(
        "a key identifier is written in hexadecimal, two digits a byte, with a colon between all or none"
    )]
    NotHex,
}

/// Longer than any hash that identifiers are made of.
const MAX_LEN: usize = 64;
/// What is left of SHA-1 in the shortest identifiers (RFC 5280 section 4.2.1.2, the second way).
const LEAST_WRITTEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_as_they_are_shown_or_say_what_is_wrong() {
        let short = "0aff000000000001";
        for text in [short, "0A:FF:00:00:00:00:00:01"] {
            let read: KeyId = text.parse().unwrap();
            let bytes = [10, 255, 0, 0, 0, 0, 0, 1];
            assert_eq!((read.as_bytes(), &*read.to_string()), (&bytes[..], short));
        }
        for (text, why) in [
            ("", KeyIdError::Length { bytes: 0 }),
            ("abc", KeyIdError::NotHex),
            ("zz", KeyIdError::NotHex),
            ("é", KeyIdError::NotHex),
            (&*"00".repeat(65), KeyIdError::Length { bytes: 65 }),
            ("0aff", KeyIdError::CutOff { bytes: 2 }),
            ("0aff0000000000", KeyIdError::CutOff { bytes: 7 }),
            (":", KeyIdError::NotHex),
            (":0a:ff:00:00:00:00:00:01", KeyIdError::NotHex),
            ("0a:ff:00:00:00:00:00:01:", KeyIdError::NotHex),
            ("0a::ff:00:00:00:00:00:01", KeyIdError::NotHex),
            ("0a:ff00:00:00:00:00:01:02", KeyIdError::NotHex),
            ("0:aff000000000000:1", KeyIdError::NotHex),
            (" 0aff000000000001", KeyIdError::NotHex),
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(why), "{text}");
        }
    }
}
