//! How much is logged, with the names that SPIRE has for it.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;

/// What is worth a line, from least to most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing: nothing is logged as it panics.
    Panic,
    /// Nothing: nothing is logged as fatal.
    Fatal,
    /// What failed.
    Error,
    /// And what is not as it should be.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And what helps to understand it.
    Debug,
    /// And what the libraries below us say.
    Trace,
}

/// The name is no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log level is one of panic, fatal, error, warn, info, debug and trace")]
pub struct LevelError;

impl Level {
    pub(super) fn filter(self) -> LevelFilter {
        match self {
            Self::Panic | Self::Fatal => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(name: &str) -> Result<Self, LevelError> {
        match name.to_ascii_lowercase().as_str() {
            "panic" => Ok(Self::Panic),
            "fatal" => Ok(Self::Fatal),
            "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(LevelError),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_by_the_names_of_logrus_in_any_case() {
        for (name, level) in [
            ("panic", Level::Panic),
            ("FATAL", Level::Fatal),
            ("error", Level::Error),
            ("Warn", Level::Warn),
            ("WARNING", Level::Warn),
            ("INFO", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ] {
            assert_eq!(name.parse(), Ok(level), "{name}");
            assert_eq!(level.to_string().parse(), Ok(level), "{name}");
        }
        for name in ["", "loud", "4", " info"] {
            assert_eq!(name.parse::<Level>(), Err(LevelError), "{name}");
        }
    }

    #[test]
    fn more_is_logged_from_level_to_level() {
        assert!(Level::Panic < Level::Error && Level::Error < Level::Info);
        assert!(Level::Fatal.filter() < Level::Error.filter());
        assert!(Level::Info.filter() < Level::Trace.filter());
    }
}
