//! SPIFFE IDs: once you hold one, it is valid.
//!
//! The rules are those of SPIFFE-ID sections 2 to 2.3. They are checked on the raw bytes; no URL
//! library is asked, because those lower-case, decode and normalise, and two spellings of one
//! identity are one too many.

mod error;
mod path;
mod pattern;
#[cfg(feature = "serde")]
mod serde;
mod text;
mod trust_domain;

use alloc::format;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

pub use error::IdError;
pub use pattern::{IdPattern, PatternError};
pub use trust_domain::TrustDomain;

use text::Text;

/// A SPIFFE ID, e.g. `spiffe://example.org/billing` (SPIFFE-ID section 2).
///
/// Cheap to clone: the text is shared, or static when made by [`SpiffeId::from_static`].
#[derive(Clone)]
pub struct SpiffeId {
    text: Text,
    domain_len: u8,
}

impl SpiffeId {
    /// The longest ID that is read, in bytes. The standard asks for support of 2048 (section 2.3)
    /// and sets readers no limit; this one bounds what a peer can make us hold.
    pub const MAX_LEN: usize = 8192;

    /// The longest ID that may be issued, in bytes (SPIFFE-ID section 2.3).
    pub const MAX_ISSUED_LEN: usize = 2048;

    /// The ID of `path` in `trust_domain`. A path is empty or starts with `/`.
    ///
    /// # Errors
    ///
    /// Where the path breaks a rule of SPIFFE-ID section 2.2, or the ID would be too long.
    pub fn new(trust_domain: &TrustDomain, path: &str) -> Result<Self, IdError> {
        // Checked before it is joined: a path without its slash must not lengthen the domain.
        path::check(path.as_bytes(), 0)?;
        format!("{SCHEME}{trust_domain}{path}").parse()
    }

    /// The ID of the path made of `segments`; no segment can bring in another one.
    ///
    /// # Errors
    ///
    /// Where a segment is empty, `.`, `..` or holds a byte that no segment may hold.
    pub fn from_segments<'a>(
        trust_domain: &TrustDomain,
        segments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, IdError> {
        Self::new(trust_domain, &path::join(segments)?)
    }

    /// An ID that is known when the program is compiled; a bad one does not compile in a `const`.
    /// See also [`spiffe_id!`](crate::spiffe_id).
    ///
    /// # Panics
    ///
    /// Outside of a `const`, where `text` is not a SPIFFE ID.
    #[must_use]
    #[expect(clippy::panic, reason = "in a constant a panic is a compile error")]
    pub const fn from_static(text: &'static str) -> Self {
        match check(text.as_bytes()) {
            Ok(domain_len) => Self {
                text: Text::Static(text),
                domain_len,
            },
            Err(why) => panic!("{}", why.literal()),
        }
    }

    /// The whole ID as a URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The trust domain that this ID belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain::inside(self.text.clone(), self.domain_len)
    }

    /// The name of the trust domain, without a clone.
    #[must_use]
    pub fn trust_domain_name(&self) -> &str {
        &self.as_str()[SCHEME.len()..self.path_start()]
    }

    /// The path: empty, or `/` and what follows.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.as_str()[self.path_start()..]
    }

    /// The segments of the path; none for the ID of a trust domain itself.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// Whether it lies in the namespace that SPIRE keeps for itself: `/spire`, and what is below it. No
    /// wildcard of an [`IdPattern`] stands for that.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.segments().next() == Some(RESERVED)
    }

    /// Whether this ID belongs to `trust_domain`.
    #[must_use]
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.as_str()
    }

    /// Whether this ID is `prefix` or lies below it, whole segments only:
    /// `spiffe://td/admin` is no prefix of `spiffe://td/admin-attacker`.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.as_str()
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn path_start(&self) -> usize {
        SCHEME.len() + usize::from(self.domain_len)
    }
}

/// A [`SpiffeId`] from a literal, checked when the program is compiled.
///
/// ```
/// let id = spiffe_core::spiffe_id!("spiffe://example.org/billing");
/// assert_eq!(id.path(), "/billing");
/// ```
///
/// What is no SPIFFE ID does not compile:
///
/// ```compile_fail,E0080
/// let id = spiffe_core::spiffe_id!("spiffe://Example.org/billing");
/// ```
#[macro_export]
macro_rules! spiffe_id {
    ($text:literal) => {
        const { $crate::SpiffeId::from_static($text) }
    };
}

/// A [`TrustDomain`] from a literal, checked when the program is compiled.
///
/// ```
/// let domain = spiffe_core::trust_domain!("example.org");
/// assert_eq!(domain.as_str(), "example.org");
/// ```
///
/// What is not the name of a trust domain does not compile:
///
/// ```compile_fail,E0080
/// let domain = spiffe_core::trust_domain!("spiffe://example.org");
/// ```
#[macro_export]
macro_rules! trust_domain {
    ($name:literal) => {
        const { $crate::TrustDomain::from_static($name) }
    };
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let domain_len = check(text.as_bytes())?;
        Ok(Self {
            text: Text::Shared(text.into()),
            domain_len,
        })
    }
}

impl TryFrom<&str> for SpiffeId {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<&TrustDomain> for SpiffeId {
    /// The ID of the trust domain itself, which has no path.
    fn from(trust_domain: &TrustDomain) -> Self {
        let domain_len = trust_domain.len();
        Self {
            text: Text::Shared(format!("{SCHEME}{trust_domain}").into()),
            domain_len,
        }
    }
}

impl AsRef<str> for SpiffeId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for SpiffeId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for SpiffeId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for SpiffeId {}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SpiffeId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for SpiffeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a whole ID and tells how long its trust domain is.
const fn check(text: &[u8]) -> Result<u8, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    let Some((scheme, rest)) = text.split_at_checked(SCHEME.len()) else {
        return Err(IdError::Scheme);
    };
    if !equal(scheme, SCHEME.as_bytes()) {
        return Err(IdError::Scheme);
    }
    if text.len() > SpiffeId::MAX_LEN {
        return Err(IdError::TooLong { len: text.len() });
    }
    let mut domain_len = 0;
    while domain_len < rest.len() && rest[domain_len] != b'/' {
        domain_len += 1;
    }
    let (domain, path) = rest.split_at(domain_len);
    let domain_len = match trust_domain::check(domain, SCHEME.len()) {
        Ok(len) => len,
        Err(error) => return Err(error),
    };
    match path::check(path, SCHEME.len() + domain.len()) {
        Ok(()) => Ok(domain_len),
        Err(error) => Err(error),
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const SCHEME: &str = "spiffe://";
/// The first segment of what SPIRE keeps for itself.
const RESERVED: &str = "spire";

#[cfg(test)]
mod tests {
    use super::*;

    const BILLING: SpiffeId = SpiffeId::from_static("spiffe://example.org/billing");

    // conformance: ID-1+ ID-2+ ID-7+ ID-11+ ID-13+
    #[test]
    fn splits_into_trust_domain_and_path() {
        for (text, domain, path, segments) in [
            ("spiffe://example.org", "example.org", "", vec![]),
            ("spiffe://example.org/a", "example.org", "/a", vec!["a"]),
            (
                "spiffe://a_1.b-2/x/..y/Z",
                "a_1.b-2",
                "/x/..y/Z",
                vec!["x", "..y", "Z"],
            ),
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(id.trust_domain().as_str(), domain, "{text}");
            assert_eq!(id.path(), path, "{text}");
            assert_eq!(id.segments().collect::<Vec<_>>(), segments, "{text}");
            assert_eq!(id.to_string(), text);
        }
    }

    // conformance: ID-1- ID-2- ID-3- ID-5- ID-6- ID-10- ID-11- ID-12-
    #[test]
    fn refuses_what_the_standard_forbids_and_says_where() {
        for (text, why) in [
            ("", IdError::Empty),
            ("https://example.org", IdError::Scheme),
            ("SPIFFE://example.org", IdError::Scheme),
            ("spiffe:///a", IdError::NoTrustDomain),
            ("spiffe://Example.org/a", IdError::TrustDomainByte { at: 9 }),
            ("spiffe://td:80/a", IdError::TrustDomainByte { at: 11 }),
            ("spiffe://td?x", IdError::TrustDomainByte { at: 11 }),
            ("spiffe://td/", IdError::TrailingSlash),
            ("spiffe://td/a/", IdError::TrailingSlash),
            ("spiffe://td//a", IdError::EmptySegment { at: 12 }),
            ("spiffe://td/a/../b", IdError::DotSegment { at: 14 }),
            ("spiffe://td/a%41", IdError::PathByte { at: 13 }),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(why), "{text}");
        }
    }

    // conformance: ID-14+
    #[test]
    fn is_longer_than_the_standard_asks_and_still_bounded() {
        let longest = format!("spiffe://td/{}", "a".repeat(SpiffeId::MAX_LEN - 12));
        assert!(longest.parse::<SpiffeId>().is_ok());
        let longer = format!("{longest}a");
        assert_eq!(
            longer.parse::<SpiffeId>(),
            Err(IdError::TooLong { len: 8193 })
        );
    }

    #[test]
    fn a_path_cannot_lengthen_the_trust_domain() {
        let td: TrustDomain = "td".parse().unwrap();
        assert_eq!(SpiffeId::new(&td, "x/a"), Err(IdError::NoLeadingSlash));
        assert_eq!(SpiffeId::new(&td, "/a").unwrap().as_str(), "spiffe://td/a");
    }

    #[test]
    fn prefix_is_segmentwise() {
        let admin = spiffe_id!("spiffe://td/admin");
        for (text, below) in [
            ("spiffe://td/admin", true),
            ("spiffe://td/admin/a", true),
            ("spiffe://td/admin-attacker", false),
            ("spiffe://td", false),
            ("spiffe://td2/admin", false),
        ] {
            assert_eq!(
                text.parse::<SpiffeId>().unwrap().starts_with(&admin),
                below,
                "{text}"
            );
        }
        let domain = spiffe_id!("spiffe://td");
        assert!(!spiffe_id!("spiffe://td2/a").starts_with(&domain));
    }

    #[test]
    fn template_value_cannot_escape_segment() {
        let td: TrustDomain = "td".parse().unwrap();
        for value in [
            "..",
            ".",
            "",
            "a/b",
            "%2e%2e",
            "a\0",
            "\u{2024}\u{2024}",
            "a b",
        ] {
            assert!(
                SpiffeId::from_segments(&td, ["x", value]).is_err(),
                "{value:?}"
            );
        }
        let id = SpiffeId::from_segments(&td, ["x", "y.z"]).unwrap();
        assert_eq!(id.as_str(), "spiffe://td/x/y.z");
    }

    #[test]
    fn a_constant_equals_what_is_parsed() {
        assert_eq!(BILLING, "spiffe://example.org/billing".parse().unwrap());
        assert_eq!(
            SpiffeId::from(&BILLING.trust_domain()).as_str(),
            "spiffe://example.org"
        );
        assert!(BILLING.is_member_of(&"example.org".parse().unwrap()));
    }
}
