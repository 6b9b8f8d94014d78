//! Names of keys, as certificates and SPIRE's authorities bear them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::{Certificate, PublicKey};

/// The identifier of a key (RFC 5280 section 4.2.1.2): the subject key identifier of an authority is
/// what SPIRE calls its authority ID.
///
/// Written in hexadecimal, with colons or without.
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
        [&SHA1_FOR_LEGACY_USE_ONLY, &SHA256].iter().any(|hash| {
            let hash = digest(hash, key.key_bits());
            self.0.len() == 20 && hash.as_ref().starts_with(&self.0)
        })
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let byte = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |ascii: u8| char::from(ascii).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        Self::new(&bytes.ok_or(KeyIdError::NotHex)?)
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
    /// It is too short or too long.
    #[error("a key identifier has from 1 to {MAX_LEN} bytes, and this has {bytes}")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// It is not written in hexadecimal.
    #[error("a key identifier is written in hexadecimal, two digits a byte")]
    NotHex,
}

/// Longer than any hash that identifiers are made of.
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_as_they_are_shown_or_say_what_is_wrong() {
        for text in ["0aff", "0A:FF"] {
            let read: KeyId = text.parse().unwrap();
            assert_eq!(
                (read.as_bytes(), &*read.to_string()),
                (&[10, 255][..], "0aff")
            );
        }
        for (text, why) in [
            ("", KeyIdError::Length { bytes: 0 }),
            ("abc", KeyIdError::NotHex),
            ("zz", KeyIdError::NotHex),
            ("é", KeyIdError::NotHex),
            (&*"00".repeat(65), KeyIdError::Length { bytes: 65 }),
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(why), "{text}");
        }
    }
}
