//! The name of a trust domain.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use super::text::Text;
use super::{IdError, SCHEME, SpiffeId};

/// The name of a trust domain, e.g. `example.org` (SPIFFE-ID section 2.1).
///
/// It is compared byte for byte and never resolved, even where it looks like a DNS name or an
/// address. Parsing with [`FromStr`] takes a bare name; [`TrustDomain::from_id_or_name`] also takes
/// an ID.
#[derive(Clone)]
pub struct TrustDomain {
    text: Text,
    // The name may lie inside the text of an ID, which is then shared and not copied.
    start: u8,
    len: u8,
}

impl TrustDomain {
    /// A trust domain that is known when the program is compiled; a bad name does not compile in a
    /// `const`.
    ///
    /// # Panics
    ///
    /// Outside of a `const`, where `name` is not the name of a trust domain.
    #[must_use]
    #[expect(clippy::panic, reason = "in a constant a panic is a compile error")]
    pub const fn from_static(name: &'static str) -> Self {
        match check(name.as_bytes(), 0) {
            Ok(len) => Self {
                text: Text::Static(name),
                start: 0,
                len,
            },
            Err(why) => panic!("{}", why.literal()),
        }
    }

    /// The trust domain of a bare name, or of an ID that stands for its trust domain, as
    /// configuration files and command lines have it.
    ///
    /// # Errors
    ///
    /// Where the text is neither.
    pub fn from_id_or_name(text: &str) -> Result<Self, IdError> {
        // A colon or slash is in no name, so the text is meant as a URI.
        if text.contains([':', '/']) {
            return text.parse::<SpiffeId>().map(|id| id.trust_domain());
        }
        text.parse()
    }

    /// The bare name, without scheme.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let start = usize::from(self.start);
        &self.text.as_str()[start..start + usize::from(self.len)]
    }

    pub(super) const fn len(&self) -> u8 {
        self.len
    }

    /// The trust domain inside the text of an ID.
    pub(super) const fn inside(id: Text, len: u8) -> Self {
        Self {
            text: id,
            start: SCHEME.len() as u8,
            len,
        }
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        let len = check(name.as_bytes(), 0)?;
        Ok(Self {
            text: Text::Shared(name.into()),
            start: 0,
            len,
        })
    }
}

impl TryFrom<&str> for TrustDomain {
    type Error = IdError;

    fn try_from(name: &str) -> Result<Self, IdError> {
        name.parse()
    }
}

impl AsRef<str> for TrustDomain {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for TrustDomain {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TrustDomain {}

impl PartialOrd for TrustDomain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TrustDomain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for TrustDomain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a name; `offset` is where it starts in the text that errors point into.
pub(super) const fn check(name: &[u8], offset: usize) -> Result<u8, IdError> {
    if name.is_empty() {
        return Err(IdError::NoTrustDomain);
    }
    let mut at = 0;
    while at < name.len() {
        if !is_domain_byte(name[at]) {
            return Err(IdError::TrustDomainByte { at: offset + at });
        }
        at += 1;
    }
    if name.len() > u8::MAX as usize {
        return Err(IdError::TrustDomainTooLong { len: name.len() });
    }
    Ok(name.len() as u8)
}

const fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_bare_name_and_where_asked_an_id() {
        assert_eq!("td".parse::<TrustDomain>().unwrap().as_str(), "td");
        assert_eq!(
            "spiffe://td".parse::<TrustDomain>(),
            Err(IdError::TrustDomainByte { at: 6 })
        );
        for text in ["td", "spiffe://td", "spiffe://td/a"] {
            assert_eq!(
                TrustDomain::from_id_or_name(text).unwrap().as_str(),
                "td",
                "{text}"
            );
        }
        assert_eq!(
            TrustDomain::from_id_or_name("spiffe:/td"),
            Err(IdError::Scheme)
        );
    }

    // conformance: ID-16+ ID-16-
    #[test]
    fn is_at_most_255_bytes() {
        assert!("a".repeat(255).parse::<TrustDomain>().is_ok());
        let long = "a".repeat(256);
        assert_eq!(
            long.parse::<TrustDomain>(),
            Err(IdError::TrustDomainTooLong { len: 256 })
        );
    }
}
