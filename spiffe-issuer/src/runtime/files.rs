//! Files that are either as they were or as they should be.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Replaces the file at `path` by one with these bytes and exactly this mode, whatever the umask.
///
/// Whoever reads the path sees the old file or the new one, also after a crash; when this fails
/// the old one is untouched. Blocks on the disk.
///
/// # Errors
///
/// Which step failed and why, as a full or read-only disk makes them.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let failed = |step| {
        move |source| WriteError {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let beside = temporary(path).map_err(failed(Step::Create))?;
    let mut file = create(&beside).map_err(failed(Step::Create))?;
    let replaced = fill(&mut file, bytes, mode)
        .map_err(failed(Step::Write))
        .and_then(|()| fs::rename(&beside, path).map_err(failed(Step::Rename)));
    if replaced.is_err() {
        // What is wrong is told already; a second complaint would hide it.
        let _ = fs::remove_file(&beside);
    }
    replaced?;
    // Until the directory is on the disk, a crash can bring the old file back.
    File::open(directory(path))
        .and_then(|directory| directory.sync_all())
        .map_err(failed(Step::SyncDirectory))
}

/// What could not be done to a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {step}", path.display())]
pub struct WriteError {
    path: PathBuf,
    step: Step,
    source: io::Error,
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Step {
    #[error("creating a temporary file beside it")]
    Create,
    #[error("putting the new file in its place")]
    Rename,
    #[error("bringing its directory to the disk")]
    SyncDirectory,
    #[error("writing the new file")]
    Write,
}

/// A name in the same directory, so that renaming does not copy. It is drawn by lot, so that two
/// writers never share a file.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{:016x}", fastrand::u64(..)));
    Ok(directory(path).join(hidden))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Nobody else can read the file at any moment, and a link that somebody placed under its name is
/// not followed: `create_new` is `O_EXCL`, which forbids both.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn fill(file: &mut File, bytes: &[u8], mode: u32) -> io::Result<()> {
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_mode_is_as_asked_whatever_the_umask_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        // The usual umask would take bits from the last two, and umask 0 adds none to the first.
        for asked in [0o600, 0o640, 0o666, 0o777] {
            write_atomically(&path, b"{}", asked).unwrap();
            assert_eq!(mode(&path), asked, "{asked:o}");
        }
    }

    #[test]
    fn nobody_else_can_read_the_file_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("temporary");
        create(&path).unwrap();
        assert_eq!(mode(&path) & 0o077, 0);
        let again = create(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_planted_link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();

        write_atomically(&link, b"ours", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());

        let planted = dir.path().join("planted");
        std::os::unix::fs::symlink(&target, &planted).unwrap();
        assert!(create(&planted).is_err());
    }

    #[test]
    fn a_new_file_takes_the_place_of_the_old_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent-data.json");
        for bytes in [&b"first and long"[..], b"second", b""] {
            write_atomically(&path, bytes, 0o600).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(dir.path()), ["agent-data.json"]);
        }
    }

    #[test]
    fn when_writing_fails_the_old_file_is_untouched_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        // There is room for this name, but not for one that is longer.
        let long = dir.path().join("n".repeat(250));
        fs::write(&long, "old").unwrap();
        let error = write_atomically(&long, b"new", 0o600).unwrap_err();
        assert_eq!(fs::read_to_string(&long).unwrap(), "old");
        let named = format!("{}: creating a temporary file beside it", long.display());
        assert_eq!(error.to_string(), named);
        assert!(error.source().is_some());

        let directory = dir.path().join("directory");
        fs::create_dir(&directory).unwrap();
        let error = write_atomically(&directory, b"new", 0o600).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with(": putting the new file in its place"),
            "{error}"
        );
        assert_eq!(
            names(dir.path()).len(),
            2,
            "the temporary file was left behind"
        );

        let error = write_atomically(&dir.path().join("none/keys.json"), b"", 0o600).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("creating a temporary file beside it"),
            "{error}"
        );
        assert!(write_atomically(Path::new("/"), b"", 0o600).is_err());
    }

    #[test]
    fn a_full_disk_fails_the_writing() {
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = fill(&mut full, b"{}", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
