//! What several commands read and print alike.

#[cfg(feature = "agent")]
use std::time::SystemTime;

#[cfg(feature = "server")]
use spiffe_core::{IdError, SpiffeId};
use time::OffsetDateTime;
use time::macros::format_description;

use super::output::{self, Format, Printable};
use super::tree::{Io, Outcome};
#[cfg(feature = "server")]
use crate::proto::types;
#[cfg(feature = "server")]
use crate::wire;

/// Prints the answer in the wanted format.
pub(super) fn print(
    io: &mut Io<'_>,
    format: Format,
    answer: &dyn Printable,
    pretty: impl FnOnce() -> String,
) -> Outcome {
    match format {
        Format::Json => writeln!(io.out, "{}", output::json_line(&[answer])?)?,
        Format::Pretty => io.out.write_all(pretty().as_bytes())?,
    }
    Ok(())
}

/// The ID that a flag or a file names.
#[cfg(feature = "server")]
pub(super) fn id(what: &'static str, text: &str) -> Result<types::Spiffeid, BadId> {
    match text.parse::<SpiffeId>() {
        Ok(id) => Ok(wire::id_to_message(&id)),
        Err(source) => Err(BadId {
            what,
            text: text.to_owned(),
            source,
        }),
    }
}

/// What a flag or a file names is no SPIFFE ID.
#[cfg(feature = "server")]
#[derive(Debug, thiserror::Error)]
#[error("invalid {what} {text:?}")]
pub(super) struct BadId {
    what: &'static str,
    text: String,
    source: IdError,
}

/// An ID as text; empty where there is none.
#[cfg(feature = "server")]
pub(super) fn id_text(id: Option<&types::Spiffeid>) -> String {
    id.map_or_else(String::new, |id| {
        format!("spiffe://{}{}", id.trust_domain, id.path)
    })
}

/// `1 entry`, `2 entries`.
pub(super) fn counted(count: usize, before: &str, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {before}{noun}")
}

/// Seconds since the epoch, as Go prints a time in UTC.
#[cfg(feature = "server")]
pub(super) fn seconds(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => date(time),
        // Beyond the year 9999.
        Err(_) => seconds.to_string(),
    }
}

/// A time, as Go prints it in UTC.
#[cfg(feature = "agent")]
pub(super) fn time(time: SystemTime) -> String {
    date(OffsetDateTime::from(time))
}

fn date(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    // Nothing in the format can be missing from a time.
    time.format(format).unwrap_or_default()
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_gos_in_utc() {
        for (at, text) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (1_795_361_761, "2026-11-22 15:36:01 +0000 UTC"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(seconds(at), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            counted(1, "registration ", "entry", "entries"),
            "1 registration entry"
        );
        assert_eq!(counted(0, "", "entry", "entries"), "0 entries");
    }

    #[test]
    fn what_is_no_id_is_told_with_its_flag() {
        let bad = id("parent ID", "example.org/a").unwrap_err();
        assert_eq!(bad.to_string(), "invalid parent ID \"example.org/a\"");
        assert!(std::error::Error::source(&bad).is_some());
    }
}
