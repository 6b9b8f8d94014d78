//! Whole numbers as Go and HCL write them.

use std::str::FromStr;

/// A whole number in Go's syntax: decimal, `0x1f`, `0600` or `0o600`, `0b101`, digits parted by
/// `_` where a prefix says the base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoInteger(pub i64);

/// Why a text is no whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntegerError {
    /// It does not fit into 64 bits.
    #[error("the number is too large")]
    Overflow,
    /// It is not written as a whole number.
    #[error("a whole number is written in digits")]
    Syntax,
}

impl FromStr for GoInteger {
    type Err = IntegerError;

    fn from_str(text: &str) -> Result<Self, IntegerError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let magnitude = magnitude(digits)?;
        let number = if negative { -magnitude } else { magnitude };
        i64::try_from(number)
            .map(Self)
            .map_err(|_| IntegerError::Overflow)
    }
}

fn magnitude(text: &str) -> Result<i128, IntegerError> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', b'o' | b'O', ..] => (8, &text[2..]),
        [b'0', b'b' | b'B', ..] => (2, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    if digits.is_empty() {
        return Err(IntegerError::Syntax);
    }
    let mut number = 0_i128;
    // A `_` stands between two digits, or between the prefix and the first.
    let mut after_digit = radix != 10;
    for c in digits.chars() {
        if c == '_' && after_digit && radix != 10 {
            after_digit = false;
            continue;
        }
        let digit = c.to_digit(radix).ok_or(IntegerError::Syntax)?;
        number = number
            .saturating_mul(radix.into())
            .saturating_add(digit.into());
        after_digit = true;
    }
    after_digit.then_some(number).ok_or(IntegerError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("+12", 12),
            ("-12", -12),
            ("0x1F", 31),
            ("-0X1f", -31),
            ("0600", 0o600),
            ("0o17", 0o17),
            ("0b101", 5),
            ("0x_1_F", 31),
            ("0_7", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(text.parse(), Ok(GoInteger(number)), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let huge = "9".repeat(1000);
        for (text, why) in [
            ("", IntegerError::Syntax),
            ("-", IntegerError::Syntax),
            ("--1", IntegerError::Syntax),
            ("1.5", IntegerError::Syntax),
            ("1e3", IntegerError::Syntax),
            (" 1", IntegerError::Syntax),
            ("0x", IntegerError::Syntax),
            ("0x-1", IntegerError::Syntax),
            ("08", IntegerError::Syntax),
            ("0b2", IntegerError::Syntax),
            ("1_000", IntegerError::Syntax),
            ("0x1_", IntegerError::Syntax),
            ("0x1__0", IntegerError::Syntax),
            ("9223372036854775808", IntegerError::Overflow),
            ("-9223372036854775809", IntegerError::Overflow),
            (&huge, IntegerError::Overflow),
        ] {
            assert_eq!(text.parse::<GoInteger>(), Err(why), "{text}");
        }
    }
}
