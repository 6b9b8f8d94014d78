//! Bundles on disk, for the next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use spiffe_core::with_causes;
use spiffe_core::{TrustBundle, TrustDomain};
use tracing::warn;

use crate::federation::file::{self, Unread};

/// A folder with a bundle document for each trust domain that is federated with (SPIFFE Federation
/// section 4.2).
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    /// One change at a time, of what is held at that time: an older bundle never ends up last.
    turn: Mutex<()>,
}

impl Store {
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            turn: Mutex::default(),
        })
    }

    /// What was held of a trust domain. A file that is of no use is told and left out.
    pub(super) fn load(&self, trust_domain: &TrustDomain) -> Option<TrustBundle> {
        let path = self.path(trust_domain);
        let text = match file::read(&path) {
            Ok(text) => text,
            Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), error = %with_causes(&error), "a stored bundle cannot be read");
                return None;
            }
        };
        match TrustBundle::from_document(trust_domain.clone(), &text) {
            Ok(loaded) => Some(loaded.value),
            Err(error) => {
                warn!(path = %path.display(), error = %with_causes(&error), "a stored bundle is of no use");
                None
            }
        }
    }

    /// Makes the file of a trust domain hold what is held now, or takes it away where nothing is.
    pub(super) fn settle(
        &self,
        trust_domain: &TrustDomain,
        held: impl FnOnce() -> Option<TrustBundle>,
    ) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(trust_domain);
        let settled = match held() {
            Some(bundle) => write(&path, &bundle),
            None => remove(&path),
        };
        settled.inspect_err(|error| {
            warn!(path = %path.display(), error = %with_causes(error), "a bundle cannot be stored");
        })
    }

    fn path(&self, trust_domain: &TrustDomain) -> PathBuf {
        let name = trust_domain.as_str();
        if name.len() <= LONGEST_NAME {
            return self.directory.join(format!("{name}.json"));
        }
        let digest = digest(&SHA256, name.as_bytes());
        let hex = digest.as_ref().iter();
        let hex: String = hex.map(|byte| format!("{byte:02x}")).collect();
        // No name of a trust domain has an `=`.
        self.directory.join(format!("sha256={hex}.json"))
    }
}

/// File systems let names have 255 bytes, and the file written beside has `.json.new` at its end.
const LONGEST_NAME: usize = 255 - ".json.new".len();

/// Writes beside and renames, so that whoever reads finds the old one or the new one.
fn write(path: &Path, bundle: &TrustBundle) -> io::Result<()> {
    let document = bundle.to_document().map_err(io::Error::other)?;
    let beside = path.with_extension("json.new");
    // What lies there may be no file, and to open it would wait for good.
    remove(&beside)?;
    let mut file = File::create_new(&beside)?;
    file.write_all(document.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    #[test]
    fn what_is_held_is_found_again_and_what_is_not_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("new")).unwrap();
        let (one, two) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
        let bundle = one.bundle().with_sequence(Some(3));
        let store_bundle = || store.settle(one.trust_domain(), || Some(bundle.clone()));
        store_bundle().unwrap();
        assert_eq!(store.load(one.trust_domain()), Some(bundle.clone()));
        assert_eq!(store.load(two.trust_domain()), None);
        let files = fs::read_dir(&store.directory).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["a.test.json"], "nothing else");

        fs::write(store.path(two.trust_domain()), "{").unwrap();
        assert_eq!(store.load(two.trust_domain()), None, "of no use, no error");
        for _ in 0..2 {
            store.settle(one.trust_domain(), || None).unwrap();
            assert_eq!(store.load(one.trust_domain()), None);
        }
        fs::remove_dir_all(&store.directory).unwrap();
        store_bundle().unwrap_err();
    }

    #[test]
    fn what_is_no_regular_file_or_is_too_large_is_left_out_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned()).unwrap();
        let authority = TestAuthority::new("a.test");
        let path = store.path(authority.trust_domain());
        let fifo = |path: &Path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        };
        fifo(&path);
        fifo(&path.with_extension("json.new"));
        assert!(matches!(file::read(&path), Err(Unread::NotAFile)));
        assert_eq!(store.load(authority.trust_domain()), None);
        let held = || Some(authority.bundle());
        store.settle(authority.trust_domain(), held).unwrap();
        assert_eq!(store.load(authority.trust_domain()), held());

        let file = File::create(&path).unwrap();
        file.set_len(file::MAX_LEN + 1).unwrap();
        assert!(matches!(file::read(&path), Err(Unread::TooLarge)));
        assert_eq!(store.load(authority.trust_domain()), None);
    }

    #[test]
    fn a_trust_domain_of_any_length_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned()).unwrap();
        for len in [1, 246, 247, 250, 251, 255] {
            let [one, two] = ["a", "b"].map(|last| {
                let name = "x".repeat(len - 1) + last;
                TestAuthority::new(&name)
            });
            for authority in [&one, &two] {
                let held = || Some(authority.bundle());
                store.settle(authority.trust_domain(), held).unwrap();
            }
            for authority in [one, two] {
                let loaded = store.load(authority.trust_domain());
                assert_eq!(loaded, Some(authority.bundle()), "{len}");
            }
        }
    }
}
