//! Everything that is wrong with a configuration, reported together.

use std::error::Error as StdError;
use std::fmt;

use super::Place;

/// Every fault of a configuration, and what is worth a warning, each with its place.
///
/// As an error it prints one line per fault, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issues {
    faults: Vec<Issue>,
    warnings: Vec<Issue>,
}

/// One thing to be said about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Where it is.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// A value that was read without a fault, and what was worth a warning on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<T> {
    /// What was read.
    pub value: T,
    /// What the operator should hear.
    pub warnings: Vec<Issue>,
}

impl Issues {
    /// The one fault `what` at `place`.
    pub fn one(place: &Place, what: impl fmt::Display) -> Self {
        let mut issues = Self::default();
        issues.fault(place, what);
        issues
    }

    /// Adds what keeps the configuration from being used.
    pub fn fault(&mut self, place: &Place, what: impl fmt::Display) {
        self.faults.push(Issue::new(place, what));
    }

    /// Adds what works, but not as its writer may think, or not for long.
    pub fn warn(&mut self, place: &Place, what: impl fmt::Display) {
        self.warnings.push(Issue::new(place, what));
    }

    /// Adds what somebody else found.
    pub fn append(&mut self, mut other: Self) {
        self.faults.append(&mut other.faults);
        self.warnings.append(&mut other.warnings);
    }

    /// Whether nothing keeps the configuration from being used.
    pub fn is_faultless(&self) -> bool {
        self.faults.is_empty()
    }

    /// What keeps the configuration from being used.
    pub fn faults(&self) -> &[Issue] {
        &self.faults
    }

    /// What the operator should hear all the same.
    pub fn warnings(&self) -> &[Issue] {
        &self.warnings
    }

    /// The value, if there is one and nothing is wrong.
    ///
    /// # Errors
    ///
    /// These issues, if there is a fault among them.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<Checked<T>, Self> {
        match value {
            Some(value) if self.is_faultless() => Ok(Checked {
                value,
                warnings: self.warnings,
            }),
            None if self.is_faultless() => {
                // Whoever reads says what is wrong; this only keeps silence from passing.
                self.fault(&Place::default(), "the configuration could not be read");
                Err(self)
            }
            _ => Err(self),
        }
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults: Vec<_> = self.faults.iter().collect();
        faults.sort_by(|a, b| a.place.order().cmp(&b.place.order()));
        for (at, issue) in faults.into_iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            issue.fmt(f)?;
        }
        Ok(())
    }
}

impl StdError for Issues {}

impl Issue {
    fn new(place: &Place, what: impl fmt::Display) -> Self {
        Self {
            place: place.clone(),
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        if place.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{place}: {}", self.what)
        }
    }
}

impl<T> Checked<T> {
    /// The value, after logging the warnings. For what is read once the log is set up, as the
    /// settings of plugins are.
    pub fn logged(self) -> T {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_only_without_a_fault() {
        let place = Place::within("a.conf", 1, 2);
        let mut warned = Issues::default();
        warned.warn(&place, "is odd");
        let checked = warned.clone().finish(Some(7)).unwrap();
        assert_eq!((checked.value, checked.warnings.len()), (7, 1));

        warned.fault(&place, "is wrong");
        assert_eq!(warned.clone().finish(Some(7)), Err(warned));
    }

    #[test]
    fn no_value_is_never_passed_over_in_silence() {
        let issues = Issues::default().finish::<()>(None).unwrap_err();
        assert_eq!(issues.to_string(), "the configuration could not be read");
    }

    #[test]
    fn faults_stand_in_the_order_of_the_file() {
        let mut issues = Issues::one(&Place::within("a.conf", 10, 1), "late");
        issues.append(Issues::one(&Place::within("a.conf", 9, 7), "early"));
        assert_eq!(issues.to_string(), "a.conf:9:7: early\na.conf:10:1: late");
    }
}
