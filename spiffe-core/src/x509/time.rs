//! The times of a certificate (RFC 5280 section 4.1.2.5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::der::{self, Element, GENERALIZED_TIME, UTC_TIME, Walk};

/// Reads a time: to the second, in UTC, from 1970 on.
pub(super) fn read(walk: &mut Walk<'_>) -> der::Result<SystemTime> {
    let element = walk.any()?;
    parse(&element).ok_or(element.malformed())
}

fn parse(time: &Element<'_>) -> Option<SystemTime> {
    let (&[b'Z'], digits) = time.value().split_last_chunk().map(|(rest, z)| (z, rest))? else {
        return None;
    };
    let (year, rest) = match (time.tag(), digits) {
        (UTC_TIME, [a, b, rest @ ..]) => match pair(*a, *b)? {
            year @ 50.. => (1900 + year, rest),
            year => (2000 + year, rest),
        },
        (GENERALIZED_TIME, [a, b, c, d, rest @ ..]) => (100 * pair(*a, *b)? + pair(*c, *d)?, rest),
        _ => return None,
    };
    let &[a, b, c, d, e, f, g, h, i, j] = rest else {
        return None;
    };
    let day = days(year, pair(a, b)?, pair(c, d)?)?;
    let (hour, minute, second) = (pair(e, f)?, pair(g, h)?, pair(i, j)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((day * 24 + hour) * 60 + minute) * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Two digits.
fn pair(tens: u8, ones: u8) -> Option<u64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    Some(10 * digit(tens)? + digit(ones)?)
}

/// How many days lie between the beginning of 1970 and this one.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month = usize::try_from(month.checked_sub(1)?).ok()?;
    let (before, length) = *MONTHS.get(month)?;
    let leap_day = |of: usize| u64::from(is_leap && month >= of);
    // February alone is longer in a leap year; all months behind it begin later.
    let length = length + u64::from(is_leap && month == 1);
    if year < 1970 || day < 1 || day > length {
        return None;
    }
    let last = year - 1;
    let leaps = last / 4 - last / 100 + last / 400 - LEAPS_BEFORE_1970;
    Some((year - 1970) * 365 + leaps + before + leap_day(2) + day - 1)
}

/// How many days lie before each month, and in it.
const MONTHS: [(u64, u64); 12] = [
    (0, 31),
    (31, 28),
    (59, 31),
    (90, 30),
    (120, 31),
    (151, 30),
    (181, 31),
    (212, 31),
    (243, 30),
    (273, 31),
    (304, 30),
    (334, 31),
];
const LEAPS_BEFORE_1970: u64 = 477;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_to_the_second() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229235959Z", 951_868_799),
            (UTC_TIME, "000301000000Z", 951_868_800),
            (UTC_TIME, "261123013305Z", 1_795_397_585),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (GENERALIZED_TIME, "19700101000000Z", 0),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "21000228235959Z", 4_107_542_399),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            let read = parsed(tag, text).unwrap();
            let since = read.duration_since(UNIX_EPOCH).unwrap();
            assert_eq!(since, Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (tag, text) in [
            (UTC_TIME, ""),
            (UTC_TIME, "Z"),
            (UTC_TIME, "691231235959Z"),
            (UTC_TIME, "260001000000Z"),
            (UTC_TIME, "261301000000Z"),
            (UTC_TIME, "260100000000Z"),
            (UTC_TIME, "260431000000Z"),
            (UTC_TIME, "260229000000Z"),
            (UTC_TIME, "260101240000Z"),
            (UTC_TIME, "260101006000Z"),
            (UTC_TIME, "260101000060Z"),
            (UTC_TIME, "2601010000Z"),
            (UTC_TIME, "260101000000+0000"),
            (UTC_TIME, "26010100000aZ"),
            (UTC_TIME, "20260101000000Z"),
            (GENERALIZED_TIME, "260101000000Z"),
            (GENERALIZED_TIME, "19691231235959Z"),
            (GENERALIZED_TIME, "21000229000000Z"),
            (GENERALIZED_TIME, "20260101000000.5Z"),
            (GENERALIZED_TIME, "20260101000000"),
            (der::INTEGER, "260101000000Z"),
        ] {
            assert_eq!(parsed(tag, text), None, "{text}");
        }
    }

    fn parsed(tag: u8, text: &str) -> Option<SystemTime> {
        let written = der::element(tag, text.as_bytes());
        read(&mut Walk::over(&written)).ok()
    }
}
