//! What can go otherwise than the quickstart expects.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why the quickstart failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("`{command}` failed ({status}): {said}")]
    Command {
        command: String,
        status: ExitStatus,
        said: String,
    },
    #[error("{name} ended ({status}) before {what}")]
    Ended {
        name: String,
        status: ExitStatus,
        what: String,
    },
    #[error("interrupted")]
    Interrupted,
    #[error("{doing}")]
    Io { doing: String, source: io::Error },
    #[error("there is no {path}; `scripts/quickstart` builds all programs", path = .0.display())]
    NotBuilt(PathBuf),
    #[error("{name} did not end well: {status}")]
    Status { name: String, status: ExitStatus },
    #[error("after {} s there was still no sign of this: {what}", limit.as_secs())]
    TimedOut { what: String, limit: Duration },
    #[error("expected {expected}, found {found}")]
    Unexpected { expected: String, found: String },
}

impl Trouble {
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }

    /// Whether the logs may tell more than we can. Whoever interrupts us knows why.
    pub(crate) fn is_for_the_logs(&self) -> bool {
        !matches!(self, Self::Interrupted)
    }

    pub(crate) fn unexpected(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected {
            expected: expected.into(),
            found: found.into(),
        }
    }
}
