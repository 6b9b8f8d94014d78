//! Selectors: the facts that attestation finds and entries ask for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One fact about a node or workload, e.g. `unix:uid:1000`: the type is what stands before the
/// first colon, the value is all that follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    kind: Box<str>,
    value: Box<str>,
}

/// The selectors of an entry, a node or a workload.
pub type SelectorSet = BTreeSet<Selector>;

impl Selector {
    /// A selector of this type and value.
    ///
    /// # Errors
    ///
    /// Where the type or value is empty, or the type holds a colon.
    pub fn new(kind: &str, value: &str) -> Result<Self, SelectorError> {
        match (kind, value) {
            ("", _) => Err(SelectorError::NoType),
            (kind, _) if kind.contains(':') => Err(SelectorError::ColonInType),
            (_, "") => Err(SelectorError::NoValue),
            _ => Ok(Self {
                kind: kind.into(),
                value: value.into(),
            }),
        }
    }

    /// The type: the name of the attestor that finds it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The value, which may hold colons.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text.split_once(':').ok_or(SelectorError::NoColon)?;
        Self::new(kind, value)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// Why something is not a selector. The texts are those of SPIRE's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The type holds a colon, which would move the border between type and value.
    #[error("selector type contains ':'")]
    ColonInType,
    /// A text without a colon.
    #[error("selector must be formatted as type:value")]
    NoColon,
    /// The type is empty.
    #[error("missing selector type")]
    NoType,
    /// The value is empty.
    #[error("missing selector value")]
    NoValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_parts_type_and_value() {
        let selector: Selector = "unix:uid:1000".parse().unwrap();
        assert_eq!((selector.kind(), selector.value()), ("unix", "uid:1000"));
        assert_eq!(selector.to_string(), "unix:uid:1000");
    }

    #[test]
    fn refuses_what_has_no_type_or_value() {
        for (text, why) in [
            ("unix", SelectorError::NoColon),
            (":uid", SelectorError::NoType),
            ("unix:", SelectorError::NoValue),
        ] {
            assert_eq!(text.parse::<Selector>(), Err(why), "{text}");
        }
        assert_eq!(Selector::new("a:b", "c"), Err(SelectorError::ColonInType));
    }
}
