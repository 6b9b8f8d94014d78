//! Where the lines of the log go.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The standard error output, or a file that can be opened anew.
#[derive(Debug)]
pub(super) enum Output {
    File { path: PathBuf, file: Mutex<File> },
    Stderr,
}

impl Output {
    pub(super) fn stderr() -> Self {
        Self::Stderr
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::File {
            path: path.to_owned(),
            file: Mutex::new(open(path)?),
        })
    }

    /// Writes one line whole. Where the log cannot be written there is nobody to tell.
    pub(super) fn write(&self, line: &[u8]) {
        let _ = match self {
            Self::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(line)
            }
            Self::Stderr => io::stderr().lock().write_all(line),
        };
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            let new = open(path)?;
            *file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        Ok(())
    }
}

/// Logs name who calls what: not for everybody.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}
