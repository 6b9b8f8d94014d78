//! Where in a message a value stands, and what is wrong with it there.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::domain::{Fault, Kind};

/// Where in a message something stands, e.g. `entries[3].selectors[0].type`. Costs nothing until
/// something is wrong there.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    within: Option<&'a Self>,
    name: &'a str,
    at: Option<usize>,
}

impl<'a> Field<'a> {
    /// A field of the message itself.
    #[must_use]
    pub const fn named(name: &'a str) -> Self {
        Self {
            within: None,
            name,
            at: None,
        }
    }

    /// The element of a repeated field of the message itself.
    #[must_use]
    pub const fn item(name: &'a str, at: usize) -> Self {
        Self {
            within: None,
            name,
            at: Some(at),
        }
    }

    /// The same, inside of `outer`.
    #[must_use]
    pub const fn of(self, outer: &'a Self) -> Self {
        Self {
            within: Some(outer),
            ..self
        }
    }

    /// What is wrong with it.
    pub fn is(&self, why: impl Into<FieldFault>) -> FieldError {
        FieldError {
            path: self.to_string(),
            fault: why.into(),
        }
    }

    /// The value, which must be there.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub fn required<T>(&self, value: Option<T>) -> Result<T, FieldError> {
        value.ok_or_else(|| self.is(FieldFault::Missing))
    }

    /// The value that the text stands for, which must not be empty.
    ///
    /// # Errors
    ///
    /// Where it is empty, or does not parse.
    pub fn parse<T>(&self, text: &str) -> Result<T, FieldError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        if text.is_empty() {
            return Err(self.is(FieldFault::Empty));
        }
        text.parse()
            .map_err(|error| self.is(FieldFault::Malformed(Box::new(error))))
    }

    /// The instant, or `None` where the message says 0.
    ///
    /// # Errors
    ///
    /// Where it is before 1970, or further away than time goes.
    pub fn time(&self, seconds: i64) -> Result<Option<SystemTime>, FieldError> {
        let since = u64::try_from(seconds).map_err(|_| self.is(FieldFault::Negative))?;
        match since {
            0 => Ok(None),
            since => SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(since))
                .map(Some)
                .ok_or_else(|| self.is(FieldFault::TooLarge)),
        }
    }

    /// So many seconds.
    ///
    /// # Errors
    ///
    /// Where they are fewer than none.
    pub fn seconds(&self, seconds: i64) -> Result<Duration, FieldError> {
        let seconds = u64::try_from(seconds).map_err(|_| self.is(FieldFault::Negative))?;
        Ok(Duration::from_secs(seconds))
    }

    /// The lifetime, or `None` where the message says 0.
    ///
    /// # Errors
    ///
    /// Where it is negative.
    pub fn ttl(&self, seconds: i32) -> Result<Option<Duration>, FieldError> {
        match u64::try_from(seconds) {
            Ok(0) => Ok(None),
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(_) => Err(self.is(FieldFault::Negative)),
        }
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.within {
            write!(f, "{outer}.")?;
        }
        f.write_str(self.name)?;
        match self.at {
            Some(at) => write!(f, "[{at}]"),
            None => Ok(()),
        }
    }
}

/// A field of a message that is not as it must be.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct FieldError {
    path: String,
    fault: FieldFault,
}

impl Fault for FieldError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// What may be wrong with a field.
#[derive(Debug, thiserror::Error)]
pub enum FieldFault {
    /// There, but without content.
    #[error("must not be empty")]
    Empty,
    /// It does not parse.
    #[error("{0}")]
    Malformed(Box<dyn Error + Send + Sync>),
    /// Not there.
    #[error("must be set")]
    Missing,
    /// A number below zero.
    #[error("must not be negative")]
    Negative,
    /// A number beyond what can be held.
    #[error("is too large")]
    TooLarge,
    /// A number that no name of the enumeration stands for.
    #[error("has no such choice")]
    UnknownChoice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_with_its_path() {
        let entry = Field::item("entries", 3);
        let selector = Field::item("selectors", 0).of(&entry);
        let error = Field::named("type")
            .of(&selector)
            .parse::<u8>("")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "entries[3].selectors[0].type: must not be empty"
        );
        assert_eq!(error.kind(), Kind::Invalid);
    }

    #[test]
    fn each_wrong_value_has_its_sentence() {
        let field = Field::named("x");
        for (error, why) in [
            (field.required::<()>(None).unwrap_err(), "x: must be set"),
            (
                field.parse::<u8>("y").unwrap_err(),
                "x: invalid digit found in string",
            ),
            (field.time(-1).unwrap_err(), "x: must not be negative"),
            (field.ttl(-1).unwrap_err(), "x: must not be negative"),
        ] {
            assert_eq!(error.to_string(), why);
        }
    }

    #[test]
    fn no_number_of_seconds_panics() {
        let field = Field::named("x");
        assert_eq!(field.time(0).unwrap(), None);
        for seconds in [i64::MIN, -1, 1, i64::MAX] {
            let _ = field.time(seconds);
        }
        let minute = Duration::from_secs(60);
        assert_eq!(
            field.time(60).unwrap(),
            Some(SystemTime::UNIX_EPOCH + minute)
        );
        assert_eq!(field.ttl(60).unwrap(), Some(minute));
        assert_eq!(field.ttl(0).unwrap(), None);
    }
}
