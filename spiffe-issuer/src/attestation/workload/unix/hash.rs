//! SHA-256 of programs, each hashed once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use nix::sys::stat::{FileStat, fstat};

use super::per_user::PerUser;

/// The hashes of the programs seen last.
#[derive(Debug)]
pub(super) struct Hashes {
    known: Mutex<HashMap<Version, Arc<str>>>,
    /// For each user one program is hashed at a time: a user with a crowd of huge programs waits for
    /// himself and for no one else.
    pub(super) turns: PerUser<Mutex<()>>,
    /// How coarse the times of files are.
    grain: Duration,
}

/// A file in one state. Whoever changes the content changes the time of change with it, and that
/// time cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Hashes {
    /// The hash of this file, in hexadecimal, for a process of this user.
    pub(super) fn of(&self, file: &File, facts: &FileStat, uid: u32) -> io::Result<Arc<str>> {
        let version = Version::of(facts);
        if let Some(hash) = self.find(&version) {
            return Ok(hash);
        }
        let turn = self.turns.of(uid);
        let _alone = turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waited may have waited for this very program.
        if let Some(hash) = self.find(&version) {
            return Ok(hash);
        }
        let hash: Arc<str> = sha256(file, Instant::now() + BUDGET)?.into();
        if Version::of(&fstat(file)?) != version {
            return Err(io::Error::other("the program changed while it was hashed"));
        }
        if version.is_settled(self.grain)? {
            self.keep(version, hash.clone());
        }
        Ok(hash)
    }

    fn find(&self, version: &Version) -> Option<Arc<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(version).cloned()
    }

    fn keep(&self, version: Version, hash: Arc<str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            // Nobody runs so many programs for good; who does pays with hashing them again.
            known.clear();
        }
        known.insert(version, hash);
    }
}

impl Default for Hashes {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            turns: PerUser::new(Mutex::default),
            grain: GRAIN,
        }
    }
}

impl Version {
    fn of(facts: &FileStat) -> Self {
        Self {
            device: facts.st_dev,
            inode: facts.st_ino,
            size: facts.st_size,
            modified: (facts.st_mtime, facts.st_mtime_nsec),
            changed: (facts.st_ctime, facts.st_ctime_nsec),
        }
    }

    /// Whether a change from now on would show: times have a grain, and two changes within one
    /// grain look like one.
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with a time that the kernel's own clock gave"
    )]
    fn is_settled(&self, grain: Duration) -> io::Result<bool> {
        let now = std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let changed = Duration::from_secs(self.changed.0.unsigned_abs());
        Ok(now > changed + grain)
    }
}

fn sha256(mut file: &File, deadline: Instant) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut part = vec![0; 64 * 1024];
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => context.update(&part[..read]),
        }
        if Instant::now() > deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// How long one program may take.
const BUDGET: Duration = Duration::from_secs(10);

const MOST_KNOWN: usize = 1024;

/// The coarsest times that file systems keep (FAT).
const GRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(hashes: &Hashes, path: &std::path::Path) -> String {
        let file = File::open(path).unwrap();
        let facts = fstat(&file).unwrap();
        hashes.of(&file, &facts, 0).unwrap().to_string()
    }

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_that_just_changed_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let hashes = Hashes::default();
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(hash_of(&hashes, &path), ABC);
        assert!(hashes.known.lock().unwrap().is_empty());

        std::fs::write(&path, "abd").unwrap();
        assert_ne!(hash_of(&hashes, &path), ABC);
    }

    #[test]
    fn a_settled_file_is_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        std::fs::write(&path, "abc").unwrap();
        let hashes = Hashes {
            grain: Duration::ZERO,
            ..Hashes::default()
        };
        assert_eq!(hash_of(&hashes, &path), ABC);
        // What is known is told without a look at the file.
        for hash in hashes.known.lock().unwrap().values_mut() {
            *hash = "known".into();
        }
        assert_eq!(hash_of(&hashes, &path), "known");
    }

    #[test]
    fn sha256_budget() {
        let file = File::open("/dev/zero").unwrap();
        let begun = Instant::now();
        let error = sha256(&file, begun + Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_memory_has_a_bound() {
        let hashes = Hashes::default();
        let facts = fstat(File::open("/dev/null").unwrap()).unwrap();
        for inode in 0..3 * MOST_KNOWN as u64 {
            let version = Version {
                inode,
                ..Version::of(&facts)
            };
            hashes.keep(version, "".into());
        }
        assert!(hashes.known.lock().unwrap().len() <= MOST_KNOWN);
    }
}
