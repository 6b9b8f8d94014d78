//! Files that others write, read so that none of them holds us up.

use std::fs::{self, File};
use std::io::{self, Read};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NotAFile,
    #[error("it is larger than {MAX_LEN} bytes")]
    TooLarge,
}

/// Reads a regular file, or one that a link leads to, up to a bound.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    // Asked before it is opened as well: some devices do something when they are.
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NotAFile);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    regular(path)?.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Unread::TooLarge);
    }
    Ok(bytes)
}

/// Opens a file, whatever has come into its place by now.
// The source of files in `spiffe-core` has the same (`source/files/read.rs`): to share it would make it
// part of what that crate promises to everybody. What is mended in one belongs in the other.
fn regular(path: &Path) -> Result<File, Unread> {
    let mut options = File::options();
    options.read(true);
    // To open a FIFO waits for a writer otherwise, who may never come.
    #[cfg(unix)]
    options.custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Unread::NotAFile),
    }
}

/// How large a file may be.
pub(super) const MAX_LEN: u64 = 4 * 1024 * 1024;

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fifo_that_came_into_the_place_of_a_file_holds_up_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(regular(&path).err()));
        let why = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(why, Some(Unread::NotAFile)));
    }
}
