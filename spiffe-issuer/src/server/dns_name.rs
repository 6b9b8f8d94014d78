//! DNS names that may stand in a certificate.
//!
//! They are ASCII, as names are looked up; there may be one leading `*` label.

use std::collections::BTreeSet;

/// Checks names that are to stand in one certificate.
pub(super) fn check_all(names: &[String]) -> Result<(), DnsNameError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let refused = |fault| DnsNameError {
            name: name.clone(),
            fault,
        };
        check(name).map_err(refused)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(refused(DnsNameFault::Twice));
        }
    }
    Ok(())
}

fn check(name: &str) -> Result<(), DnsNameFault> {
    if name.is_empty() {
        return Err(DnsNameFault::Empty);
    }
    if name.len() > MAX_LEN {
        return Err(DnsNameFault::TooLong);
    }
    if name.ends_with('.') {
        return Err(DnsNameFault::TrailingDot);
    }
    name.strip_prefix("*.")
        .unwrap_or(name)
        .split('.')
        .try_for_each(check_label)
}

fn check_label(label: &str) -> Result<(), DnsNameFault> {
    if label.is_empty() {
        return Err(DnsNameFault::EmptyLabel);
    }
    if label.len() > MAX_LABEL_LEN {
        return Err(DnsNameFault::LabelTooLong);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !label.bytes().all(plain) {
        return Err(DnsNameFault::Character);
    }
    // Two hyphens in the third place mark an encoding, of which only one is known.
    let marked = label.as_bytes().get(2..4) == Some(b"--");
    let known = label
        .get(..4)
        .is_some_and(|mark| mark.eq_ignore_ascii_case("xn--"));
    if label.starts_with('-') || label.ends_with('-') || marked && !known {
        return Err(DnsNameFault::Hyphen);
    }
    Ok(())
}

/// The longest name, in bytes (RFC 1035 section 2.3.4, without the length bytes).
const MAX_LEN: usize = 253;

/// The longest label, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// A text that cannot be a DNS name, or not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?}: {fault}")]
pub struct DnsNameError {
    name: String,
    fault: DnsNameFault,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsNameFault {
    /// Something other than ASCII letters, digits and hyphens, or a `*` that is no leading label.
    #[error("a label may hold ASCII letters, digits and hyphens only")]
    Character,
    /// Nothing.
    #[error("the name is empty")]
    Empty,
    /// Nothing between two dots, or before the first one.
    #[error("a label is empty")]
    EmptyLabel,
    /// A hyphen where none may be.
    #[error("a label has a hyphen at its edge, or two in its third place")]
    Hyphen,
    /// A label of more than 63 bytes.
    #[error("a label is longer than 63 bytes")]
    LabelTooLong,
    /// More than 253 bytes.
    #[error("the name is longer than 253 bytes")]
    TooLong,
    /// A dot at the end.
    #[error("the name ends with a dot")]
    TrailingDot,
    /// The same name a second time.
    #[error("the name is given twice")]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_looked_up_are_taken() {
        for name in [
            "a",
            "a.test",
            "A.test",
            "1.test",
            "*.a.test",
            "xn--bcher-kva.example",
            &"a".repeat(63),
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (name, why) in [
            ("", DnsNameFault::Empty),
            ("a..b", DnsNameFault::EmptyLabel),
            (".a", DnsNameFault::EmptyLabel),
            ("a.test.", DnsNameFault::TrailingDot),
            ("*", DnsNameFault::Character),
            ("*.*.test", DnsNameFault::Character),
            ("a.*.test", DnsNameFault::Character),
            ("a*.test", DnsNameFault::Character),
            ("a_b.test", DnsNameFault::Character),
            ("a b", DnsNameFault::Character),
            ("a\0b", DnsNameFault::Character),
            ("b\u{fc}cher.example", DnsNameFault::Character),
            ("-a", DnsNameFault::Hyphen),
            ("a-", DnsNameFault::Hyphen),
            ("ab--c", DnsNameFault::Hyphen),
            (&"a".repeat(64), DnsNameFault::LabelTooLong),
            (&"a.".repeat(127), DnsNameFault::TooLong),
        ] {
            assert_eq!(check(name), Err(why), "{name}");
        }
    }

    #[test]
    fn a_name_given_twice_is_refused_in_any_spelling() {
        let names = ["a.test", "b.test", "A.test"].map(str::to_owned);
        let error = check_all(&names).unwrap_err();
        assert_eq!(error.to_string(), "\"A.test\": the name is given twice");
        assert_eq!(check_all(&names[..2]), Ok(()));
    }
}
