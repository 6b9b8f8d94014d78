//! Durations as Go writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration in Go's syntax: `300ms`, `1.5h`, `1h30m`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is below zero; nothing that is configured runs backwards.
    #[error("a duration cannot be negative")]
    Negative,
    /// It is longer than Go can say, about 292 years.
    #[error("the duration is too long")]
    Overflow,
    /// It is not written as a duration.
    #[error("a duration is written like 30s, 10m or 1h30m")]
    Syntax,
}

const NANOSECOND: u64 = 1;
const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let nanoseconds = if text == "0" { 0 } else { sum(text)? };
        match (negative, i64::try_from(nanoseconds)) {
            (_, Err(_)) => Err(DurationError::Overflow),
            (true, Ok(1..)) => Err(DurationError::Negative),
            _ => Ok(Self(Duration::from_nanos(nanoseconds))),
        }
    }
}

/// Adds up `1h30m`: numbers, each with its unit.
fn sum(mut text: &str) -> Result<u64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Syntax);
    }
    let mut total = 0_u64;
    while !text.is_empty() {
        let (whole, rest) = digits(text);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Syntax);
        }
        let ends = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = unit(&rest[..ends])?;
        let part = part(whole, fraction, unit).ok_or(DurationError::Overflow)?;
        total = total.checked_add(part).ok_or(DurationError::Overflow)?;
        text = &rest[ends..];
    }
    Ok(total)
}

/// The digits that `text` begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let ends = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(ends)
}

fn unit(name: &str) -> Result<u64, DurationError> {
    match name {
        "ns" => Ok(NANOSECOND),
        // Both letters that look like a mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(MICROSECOND),
        "ms" => Ok(MILLISECOND),
        "s" => Ok(SECOND),
        "m" => Ok(MINUTE),
        "h" => Ok(HOUR),
        _ => Err(DurationError::Syntax),
    }
}

/// `whole.fraction` times `unit`, what is below a nanosecond cut off.
fn part(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Eighteen digits are more than the largest unit can show.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let below = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        fraction.parse::<u128>().ok()? * u128::from(unit) / scale
    };
    whole
        .checked_mul(unit)?
        .checked_add(u64::try_from(below).ok()?)
}

impl fmt::Display for GoDuration {
    /// As Go prints it: `5s`, `10m0s`, `1.5s`, `250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        let (second, minute) = (u128::from(SECOND), u128::from(MINUTE));
        match nanoseconds {
            0 => f.write_str("0s"),
            n if n < u128::from(MICROSECOND) => write!(f, "{n}ns"),
            n if n < u128::from(MILLISECOND) => decimal(f, n, MICROSECOND, "\u{b5}s"),
            n if n < second => decimal(f, n, MILLISECOND, "ms"),
            n => {
                let (minutes, rest) = (n / minute, n % minute);
                let (hours, minutes) = (minutes / 60, minutes % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                decimal(f, rest, SECOND, "s")
            }
        }
    }
}

/// `value / unit` with as many decimals as it has.
fn decimal(f: &mut fmt::Formatter<'_>, value: u128, unit: u64, name: &str) -> fmt::Result {
    let (whole, mut rest) = (value / u128::from(unit), value % u128::from(unit));
    write!(f, "{whole}")?;
    if rest > 0 {
        f.write_str(".")?;
        let mut digit = u128::from(unit) / 10;
        while rest > 0 {
            write!(f, "{}", rest / digit)?;
            rest %= digit;
            digit /= 10;
        }
    }
    f.write_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads_and_prints_what_go_prints() {
        for (text, nanoseconds, printed) in [
            ("0", 0, "0s"),
            ("-0s", 0, "0s"),
            ("+5s", 5 * SECOND, "5s"),
            ("10m", 10 * MINUTE, "10m0s"),
            ("720h", 720 * HOUR, "720h0m0s"),
            ("1h30m", 90 * MINUTE, "1h30m0s"),
            ("1h1s", HOUR + SECOND, "1h0m1s"),
            ("1.5h", 90 * MINUTE, "1h30m0s"),
            (".5s", SECOND / 2, "500ms"),
            ("5.s", 5 * SECOND, "5s"),
            ("1.000000001s", SECOND + 1, "1.000000001s"),
            ("0.0000000001s", 0, "0s"),
            ("1500us", 1500 * MICROSECOND, "1.5ms"),
            ("2\u{b5}s3ns", 2003, "2.003\u{b5}s"),
            ("2\u{3bc}s", 2000, "2\u{b5}s"),
            ("7ns", 7, "7ns"),
            (
                "0.3333333333333333333h",
                1_199_999_999_999,
                "19m59.999999999s",
            ),
        ] {
            let read = text.parse::<GoDuration>();
            assert_eq!(
                read,
                Ok(GoDuration(Duration::from_nanos(nanoseconds))),
                "{text}"
            );
            assert_eq!(read.unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_what_runs_backwards() {
        for (text, why) in [
            ("", DurationError::Syntax),
            ("3", DurationError::Syntax),
            ("1 hour", DurationError::Syntax),
            ("1d", DurationError::Syntax),
            ("s", DurationError::Syntax),
            (".s", DurationError::Syntax),
            ("-", DurationError::Syntax),
            ("1.2.3s", DurationError::Syntax),
            ("\u{661}s", DurationError::Syntax),
            ("-1s", DurationError::Negative),
            ("2562048h", DurationError::Overflow),
            ("99999999999999999999s", DurationError::Overflow),
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(why), "{text}");
        }
    }
}
