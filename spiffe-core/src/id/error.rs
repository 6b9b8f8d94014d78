//! Which rule of the SPIFFE ID standard a text breaks, and at which byte.

/// Why a text is not a SPIFFE ID or the name of a trust domain. Positions are bytes from the start
/// of the text that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A segment is `.` or `..` (SPIFFE-ID section 2.2).
    #[error("the path segment at byte {at} is `.` or `..`")]
    DotSegment {
        /// Where the segment starts.
        at: usize,
    },
    /// There is no text.
    #[error("the text is empty")]
    Empty,
    /// Two slashes in a row (SPIFFE-ID section 2.2).
    #[error("the path segment at byte {at} is empty")]
    EmptySegment {
        /// Where the segment would start.
        at: usize,
    },
    /// A path that does not start with a slash.
    #[error("the path does not start with a slash")]
    NoLeadingSlash,
    /// Nothing between the scheme and the path (SPIFFE-ID section 2).
    #[error("the trust domain is missing")]
    NoTrustDomain,
    /// A byte other than letters, digits, `.`, `-` and `_` (SPIFFE-ID section 2.2).
    #[error("the byte at {at} is not allowed in a path: use letters, digits, `.`, `-` and `_`")]
    PathByte {
        /// Where the byte is.
        at: usize,
    },
    /// The text does not start with `spiffe://` in lower case (SPIFFE-ID section 2).
    #[error("the scheme is not `spiffe://`")]
    Scheme,
    /// The ID is longer than [`SpiffeId::MAX_LEN`](crate::SpiffeId::MAX_LEN).
    #[error("the ID is {len} bytes long; at most 8192 are read")]
    TooLong {
        /// How long it is, in bytes.
        len: usize,
    },
    /// The path ends in a slash (SPIFFE-ID section 2.2).
    #[error("the path ends in a slash")]
    TrailingSlash,
    /// A byte other than lower-case letters, digits, `.`, `-` and `_` (SPIFFE-ID section 2.1).
    #[error(
        "the byte at {at} is not allowed in a trust domain: use lower-case letters, digits, `.`, `-` and `_`"
    )]
    TrustDomainByte {
        /// Where the byte is.
        at: usize,
    },
    /// A trust domain of more than 255 bytes (SPIFFE-ID section 2.3).
    #[error("the trust domain is {len} bytes long; at most 255 are allowed")]
    TrustDomainTooLong {
        /// How long it is, in bytes.
        len: usize,
    },
}

impl IdError {
    /// The same as a literal, which is all that a panic of a `const` can tell.
    pub(super) const fn literal(self) -> &'static str {
        match self {
            Self::DotSegment { .. } => "not a SPIFFE ID: a path segment is `.` or `..`",
            Self::Empty => "not a SPIFFE ID: the text is empty",
            Self::EmptySegment { .. } => "not a SPIFFE ID: a path segment is empty",
            Self::NoLeadingSlash => "not a SPIFFE ID: the path does not start with a slash",
            Self::NoTrustDomain => "not a SPIFFE ID: the trust domain is missing",
            Self::PathByte { .. } => {
                "not a SPIFFE ID: a byte is not allowed in a path: use letters, digits, `.`, `-` and `_`"
            }
            Self::Scheme => "not a SPIFFE ID: the scheme is not `spiffe://`",
            Self::TooLong { .. } => "not a SPIFFE ID: it is longer than 8192 bytes",
            Self::TrailingSlash => "not a SPIFFE ID: the path ends in a slash",
            Self::TrustDomainByte { .. } => {
                "a byte is not allowed in a trust domain: use lower-case letters, digits, `.`, `-` and `_`"
            }
            Self::TrustDomainTooLong { .. } => "the trust domain is longer than 255 bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{SpiffeId, TrustDomain};

    #[test]
    fn a_bad_constant_says_why_it_does_not_compile() {
        for (text, why) in [
            ("", "the text is empty"),
            ("https://td/a", "the scheme is not `spiffe://`"),
            ("spiffe:///a", "the trust domain is missing"),
            ("spiffe://Td/a", "lower-case letters"),
            ("spiffe://td/a b", "not allowed in a path"),
            ("spiffe://td//a", "a path segment is empty"),
            ("spiffe://td/a/", "the path ends in a slash"),
            ("spiffe://td/a/..", "a path segment is `.` or `..`"),
        ] {
            let told = text.parse::<SpiffeId>().unwrap_err().literal();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    #[should_panic(expected = "not a SPIFFE ID: the path ends in a slash")]
    fn a_bad_id_says_so_where_it_is_made() {
        _ = SpiffeId::from_static("spiffe://td/a/");
    }

    #[test]
    #[should_panic(expected = "a byte is not allowed in a trust domain: use lower-case letters")]
    fn a_bad_trust_domain_says_so_where_it_is_made() {
        _ = TrustDomain::from_static("Td");
    }
}
