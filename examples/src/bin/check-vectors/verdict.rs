//! What a file expects of a case, what the library says, and whether that is the same.

use std::fmt;

/// What becomes of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is taken; with what came of it, where that is told.
    Accept(Option<String>),
    /// It is refused; with the reason, where there is one.
    Reject(Option<String>),
}

impl Verdict {
    pub(crate) fn of<T: fmt::Display, E: std::error::Error + 'static>(
        result: Result<T, E>,
    ) -> Self {
        match result {
            Ok(value) => Self::Accept(Some(value.to_string())),
            Err(error) => Self::Reject(Some(spiffe_core::with_causes(&error))),
        }
    }

    /// Whether what was `given` is what was expected here. Reasons do not count: everybody words
    /// them otherwise.
    fn is_met_by(&self, given: &Self) -> bool {
        match (self, given) {
            (Self::Accept(Some(expected)), Self::Accept(Some(given))) => expected == given,
            (Self::Accept(_), Self::Accept(_)) | (Self::Reject(_), Self::Reject(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, more) = match self {
            Self::Accept(what) => ("accept", what),
            Self::Reject(why) => ("reject", why),
        };
        match more {
            Some(more) => write!(f, "{word} ({more})"),
            None => f.write_str(word),
        }
    }
}

/// A judged case.
#[derive(Debug)]
pub(crate) struct Outcome {
    file: &'static str,
    name: String,
    /// Nothing where the standard leaves it open.
    expected: Option<Verdict>,
    given: Verdict,
}

impl Outcome {
    pub(crate) fn new(
        file: &'static str,
        name: String,
        expected: Option<Verdict>,
        given: Verdict,
    ) -> Self {
        Self {
            file,
            name,
            expected,
            given,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.expected.is_none()
    }

    pub(crate) fn differs(&self) -> bool {
        let expected = self.expected.as_ref();
        expected.is_some_and(|expected| !expected.is_met_by(&self.given))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.is_open(), self.differs()) {
            (true, _) => "open",
            (_, true) => "DIFFERS",
            _ => "ok",
        };
        write!(f, "{sign:<7} {} {:?}: expected ", self.file, self.name)?;
        match &self.expected {
            Some(expected) => write!(f, "{expected}")?,
            None => f.write_str("choice")?,
        }
        write!(f, ", given {}", self.given)
    }
}
