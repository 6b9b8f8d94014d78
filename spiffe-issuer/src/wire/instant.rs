//! An instant as text, in the layout that SPIRE's clients filter agents by.

use std::time::{Duration, SystemTime};

use time::{Date, Month, Time, UtcDateTime};

/// Reads an instant as SPIRE's clients write it: `2006-01-02 15:04:05 -0700 -07`. The second offset
/// says the same as the first one, shorter.
pub(super) fn instant(text: &str) -> Option<SystemTime> {
    let [date, clock, offset, _] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year.try_into().ok()?, month, day.try_into().ok()?).ok()?;
    let clock = Time::from_hms(
        hour.try_into().ok()?,
        minute.try_into().ok()?,
        second.try_into().ok()?,
    )
    .ok()?;
    let local = UtcDateTime::new(date, clock).unix_timestamp();
    let since = u64::try_from(local - offset_seconds(offset)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since))
}

/// Three numbers with this between them.
fn numbers(text: &str, between: char) -> Option<[u32; 3]> {
    let numbers: Option<Vec<u32>> = text.split(between).map(|n| n.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// The seconds that an offset such as `-0730` is ahead of UTC.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_as_clients_write_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (text, read) in [
            ("2006-01-02 15:04:05 -0700 -07", Some(at(1_136_239_445))),
            ("2006-01-02 22:04:05 +0000 +00", Some(at(1_136_239_445))),
            ("2006-01-03 03:34:05 +0530 +0530", Some(at(1_136_239_445))),
            ("2006-13-02 15:04:05 -0700 -07", None),
            ("2006-01-02 25:04:05 -0700 -07", None),
            ("2006-01-02T15:04:05Z", None),
            ("1960-01-02 15:04:05 +0000 +00", None),
            ("", None),
            ("a b c d", None),
            ("2006-01-02 15:04:05 + +", None),
            ("2006-01-02 15:04:05 +-123 +", None),
            ("2006-01-02 15:04:05 \u{e4}0700 -07", None),
        ] {
            assert_eq!(instant(text), read, "{text}");
        }
    }
}
