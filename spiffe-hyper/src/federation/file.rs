//! Files that others write, read so that none of them holds us up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NotAFile,
    #[error("it is larger than {MAX_LEN} bytes")]
    TooLarge,
}

/// Reads a regular file, or one that a link leads to, up to a bound.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    // Asked before it is opened: to open a FIFO waits for a writer, who may never come.
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NotAFile);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path)?;
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Unread::TooLarge);
    }
    Ok(bytes)
}

/// How large a file may be.
pub(super) const MAX_LEN: u64 = 4 * 1024 * 1024;
