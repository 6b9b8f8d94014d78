//! Patterns of IDs, matched segment by segment.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::{IdError, RESERVED, SpiffeId, TrustDomain};

/// A pattern of SPIFFE IDs, e.g. `spiffe://example.org/ns/*/sa/**`.
///
/// A `*` stands for exactly one segment, a `**` at the end for one or more. All else stands for
/// itself, and the trust domain always does. There is no wildcard for a part of a segment, so that
/// nobody gets in by a name that only begins like another.
///
/// No wildcard stands for the first segment `spire`, below which SPIRE names its servers and agents:
/// who lets workloads in by a pattern does not mean those. One that names the segment has them, as
/// `spiffe://example.org/spire/agent/**`.
///
/// ```
/// use spiffe_core::{IdPattern, spiffe_id};
///
/// let pattern: IdPattern = "spiffe://example.org/ns/*/sa/web".parse()?;
/// assert!(pattern.matches(&spiffe_id!("spiffe://example.org/ns/shop/sa/web")));
/// assert!(!pattern.matches(&spiffe_id!("spiffe://example.org/ns/shop/sa/web-2")));
/// # Ok::<(), spiffe_core::PatternError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPattern {
    trust_domain: TrustDomain,
    segments: Vec<Segment>,
    /// Whether more segments must follow.
    open: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Any,
    Exactly(Box<str>),
}

impl IdPattern {
    /// The trust domain that an ID must belong to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether this is a pattern of `id`.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let mut found = id.segments();
        let reserved = id.is_reserved() && !self.names_reserved();
        !reserved
            && id.is_member_of(&self.trust_domain)
            && self
                .segments
                .iter()
                .all(|segment| found.next().is_some_and(|found| segment.matches(found)))
            && found.next().is_some() == self.open
    }

    fn names_reserved(&self) -> bool {
        matches!(self.segments.first(), Some(Segment::Exactly(first)) if **first == *RESERVED)
    }
}

impl Segment {
    fn matches(&self, found: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => **text == *found,
        }
    }
}

impl FromStr for IdPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        // With its wildcards replaced by letters, byte for byte, a pattern is an ID.
        let id: SpiffeId = text.replace('*', "x").parse().map_err(|why| match why {
            IdError::TrailingSlash => PatternError::TrailingSlash { at: text.len() - 1 },
            why => PatternError::Id(why),
        })?;
        let (before, path) = text.split_at(id.path_start());
        if let Some(at) = before.find('*') {
            return Err(PatternError::TrustDomain { at });
        }
        let mut pattern = Self {
            trust_domain: id.trust_domain(),
            segments: Vec::new(),
            open: false,
        };
        let mut at = before.len();
        for segment in path.split('/').skip(1) {
            at += 1;
            if pattern.open {
                // What came before is `**/`.
                return Err(PatternError::NotLast { at: at - 3 });
            }
            match segment {
                "*" => pattern.segments.push(Segment::Any),
                "**" => pattern.open = true,
                _ => {
                    if let Some(inside) = segment.find('*') {
                        return Err(PatternError::PartOfSegment { at: at + inside });
                    }
                    pattern.segments.push(Segment::Exactly(segment.into()));
                }
            }
            at += segment.len();
        }
        Ok(pattern)
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        for segment in &self.segments {
            match segment {
                Segment::Any => f.write_str("/*")?,
                Segment::Exactly(text) => write!(f, "/{text}")?,
            }
        }
        f.write_str(if self.open { "/**" } else { "" })
    }
}

impl fmt::Debug for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no pattern of IDs. Positions are bytes from the start of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Apart from its wildcards, the text is no SPIFFE ID.
    #[error("the pattern is no SPIFFE ID with wildcards")]
    Id(#[from] IdError),
    /// A `**` with more behind it.
    #[error("the `**` at byte {at} is not the last segment")]
    NotLast {
        /// Where it is.
        at: usize,
    },
    /// A wildcard beside other bytes.
    #[error("the `*` at byte {at} is part of a segment: it can only stand for a whole one")]
    PartOfSegment {
        /// Where it is.
        at: usize,
    },
    /// A slash with nothing behind it.
    #[error("the `/` at byte {at} has nothing behind it: leave it out, or write `/*` or `/**`")]
    TrailingSlash {
        /// Where it is.
        at: usize,
    },
    /// A wildcard in the trust domain.
    #[error("the `*` at byte {at} is in the trust domain, which has to be written out")]
    TrustDomain {
        /// Where it is.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wildcard_stands_for_whole_segments() {
        for (pattern, matched, others) in [
            (
                "spiffe://td/ns/*/sa/**",
                &["ns/a/sa/b", "ns/a/sa/b/c"][..],
                &["ns/a/sa", "ns/sa/b", "ns/a/b/sa/c", "ns/a/SA/b", ""][..],
            ),
            ("spiffe://td/a", &["a"], &["a/b", "ab", "b", ""]),
            ("spiffe://td/*", &["a", "b"], &["a/b", ""]),
            ("spiffe://td/**", &["a", "a/b"], &[""]),
            ("spiffe://td/*/**", &["a/b", "a/b/c"], &["a", ""]),
            ("spiffe://td", &[""], &["a"]),
        ] {
            let read: IdPattern = pattern.parse().unwrap();
            assert_eq!(read.to_string(), pattern);
            let matches = |domain: &str, path: &&str| {
                let path: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
                let domain = domain.parse().unwrap();
                read.matches(&SpiffeId::from_segments(&domain, path).unwrap())
            };
            for path in matched {
                assert!(matches("td", path), "{pattern} {path}");
                assert!(!matches("td2", path), "{pattern} {path}");
            }
            for path in others {
                assert!(!matches("td", path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_pattern_and_says_where() {
        for (text, why) in [
            ("", IdError::Empty.into()),
            ("*", IdError::Scheme.into()),
            ("spiffe:///a", IdError::NoTrustDomain.into()),
            ("spiffe://td/*/", PatternError::TrailingSlash { at: 13 }),
            ("spiffe://td/", PatternError::TrailingSlash { at: 11 }),
            ("spiffe://td//*", IdError::EmptySegment { at: 12 }.into()),
            ("spiffe://td/*/..", IdError::DotSegment { at: 14 }.into()),
            ("spiffe://td/*?", IdError::PathByte { at: 13 }.into()),
            ("spiffe://*/a", PatternError::TrustDomain { at: 9 }),
            ("spiffe://*.td", PatternError::TrustDomain { at: 9 }),
            ("spiffe://td/a*", PatternError::PartOfSegment { at: 13 }),
            ("spiffe://td/*a", PatternError::PartOfSegment { at: 12 }),
            ("spiffe://td/b/***", PatternError::PartOfSegment { at: 14 }),
            ("spiffe://td/a/**/b", PatternError::NotLast { at: 14 }),
            ("spiffe://td/**/**", PatternError::NotLast { at: 12 }),
        ] {
            assert_eq!(text.parse::<IdPattern>(), Err(why), "{text}");
        }
    }
}
