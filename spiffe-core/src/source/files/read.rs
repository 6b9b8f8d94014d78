//! From files to a snapshot: read when they are at rest, judged, and the bad half left out.

use std::fs::{self, File};
use std::io::Read;
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::FileError;
use crate::TrustDomain;
use crate::bundle::{BundleSet, TrustBundle};
use crate::snapshot::IdentitySnapshot;
use crate::telemetry;
use crate::verify::own_svid;
use crate::with_causes;
use crate::x509::X509Svid;

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) directory: PathBuf,
    pub(super) identity: Identity,
    pub(super) trust: Trust,
}

#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// None, and then the bundle is that of this trust domain.
    None(TrustDomain),
    Pem {
        svid: PathBuf,
        key: PathBuf,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// The bundle of our own trust domain.
    Pem(PathBuf),
    /// A SPIFFE bundle map.
    Map(PathBuf),
}

/// What the files hold, or why one cannot be read.
#[derive(PartialEq, Eq)]
pub(super) struct Content {
    svid: Bytes,
    key: Bytes,
    trust: Bytes,
}

type Bytes = Result<Zeroizing<Vec<u8>>, Unread>;

/// Why a file was not read, in a form that can be compared.
#[derive(Clone)]
enum Unread {
    Io(Arc<std::io::Error>),
    NotAFile,
    TooLarge,
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl PartialEq for Unread {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Io(one), Self::Io(two)) => one.kind() == two.kind(),
            (Self::NotAFile, Self::NotAFile) | (Self::TooLarge, Self::TooLarge) => true,
            _ => false,
        }
    }
}

impl Eq for Unread {}

impl Layout {
    /// Reads the files when they are at rest: twice the same. Whoever replaces them one by one, or
    /// swaps a link that leads to all of them, may be half done at any moment.
    ///
    /// # Errors
    ///
    /// Where they do not come to rest.
    pub(super) fn content(&self) -> Result<Content, FileError> {
        let mut before = self.read_once();
        for _ in 0..MAX_READS {
            let after = self.read_once();
            if before == after {
                return Ok(after);
            }
            before = after;
        }
        Err(FileError::Unsettled {
            directory: self.directory.clone(),
        })
    }

    fn read_once(&self) -> Content {
        let (svid, key) = match &self.identity {
            Identity::None(_) => (Ok(Zeroizing::default()), Ok(Zeroizing::default())),
            Identity::Pem { svid, key } => (self.bytes(svid), self.bytes(key)),
        };
        let trust = match &self.trust {
            Trust::Map(path) | Trust::Pem(path) => self.bytes(path),
        };
        Content { svid, key, trust }
    }

    fn bytes(&self, name: &Path) -> Bytes {
        let path = self.directory.join(name);
        let mut bytes = Zeroizing::new(Vec::new());
        // Asked before it is opened as well: some devices do something when they are.
        if !fs::metadata(&path)?.is_file() {
            return Err(Unread::NotAFile);
        }
        regular(&path)?.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_LEN {
            return Err(Unread::TooLarge);
        }
        Ok(bytes)
    }

    /// What the content means for who had `old`. The good half of it is taken where the other one is
    /// bad, and what was wrong is told.
    pub(super) fn judge(
        &self,
        content: &Content,
        old: &IdentitySnapshot,
        now: SystemTime,
    ) -> (IdentitySnapshot, Option<FileError>) {
        let mut flaws = Vec::new();
        let fresh = match &self.identity {
            Identity::None(home) => {
                let bundles = self.trusted(content, Some(home), old, &mut flaws);
                let snapshot = IdentitySnapshot::new(Vec::new(), bundles);
                return (snapshot, flaws.into_iter().next());
            }
            Identity::Pem { svid, key } => self
                .svid(svid, key, content)
                .and_then(|svid| self.believed(svid, content, old, now)),
        };
        let fresh = fresh.map_err(|flaw| flaws.push(flaw)).ok();
        let svid = fresh.or_else(|| old.svid().filter(|old| now <= old.not_after()).cloned());
        let home = svid.as_ref().or_else(|| old.svid());
        let home = home.map(|svid| svid.id().trust_domain());
        let bundles = self.trusted(content, home.as_ref(), old, &mut flaws);
        let snapshot = IdentitySnapshot::new(svid.into_iter().collect(), bundles);
        (snapshot, flaws.into_iter().next())
    }

    fn svid(&self, svid: &Path, key: &Path, content: &Content) -> Result<X509Svid, FileError> {
        let chain = self.readable(svid, &content.svid)?;
        let key = self.readable(key, &content.key)?;
        X509Svid::from_pem(chain, key).map_err(|source| FileError::Svid {
            path: self.directory.join(svid),
            source,
        })
    }

    /// The SVID, if peers would believe it that have the bundle beside it.
    fn believed(
        &self,
        svid: X509Svid,
        content: &Content,
        old: &IdentitySnapshot,
        now: SystemTime,
    ) -> Result<X509Svid, FileError> {
        telemetry::own_clock_skew(svid.leaf(), now);
        let home = svid.id().trust_domain();
        let bundles = self.trusted(content, Some(&home), old, &mut Vec::new());
        match own_svid(&svid, &bundles, now) {
            Ok(()) => Ok(svid),
            Err(source) => Err(FileError::Unbelievable {
                directory: self.directory.clone(),
                id: svid.id().clone(),
                source,
            }),
        }
    }

    /// The bundles; without a word on whom to believe, it is as before.
    fn trusted(
        &self,
        content: &Content,
        home: Option<&TrustDomain>,
        old: &IdentitySnapshot,
        flaws: &mut Vec<FileError>,
    ) -> BundleSet {
        let bundles = self.bundles(content, home.cloned());
        let bundles = bundles.map_err(|flaw| flaws.push(flaw)).ok().flatten();
        bundles.unwrap_or_else(|| old.bundles().clone())
    }

    /// The bundles; nothing where it is not known whose bundle it is.
    fn bundles(
        &self,
        content: &Content,
        home: Option<TrustDomain>,
    ) -> Result<Option<BundleSet>, FileError> {
        match &self.trust {
            Trust::Map(name) => {
                let text = self.readable(name, &content.trust)?;
                let map = BundleSet::from_bundle_map(text);
                let map = map.map_err(|source| FileError::BundleMap {
                    path: self.directory.join(name),
                    source,
                })?;
                for skipped in &map.skipped {
                    tracing::warn!(error = %with_causes(skipped), "part of a bundle map ignored");
                }
                Ok(Some(map.value))
            }
            Trust::Pem(name) => {
                let text = self.readable(name, &content.trust)?;
                let read = |home| TrustBundle::from_pem(home, text);
                let bundle = home.map(read).transpose();
                let bundle = bundle.map_err(|source| FileError::Bundle {
                    path: self.directory.join(name),
                    source,
                })?;
                Ok(bundle.map(BundleSet::from))
            }
        }
    }

    fn readable<'a>(&self, name: &Path, bytes: &'a Bytes) -> Result<&'a [u8], FileError> {
        let path = || self.directory.join(name);
        match bytes {
            Ok(bytes) => Ok(bytes),
            Err(Unread::Io(source)) => Err(FileError::Read {
                path: path(),
                source: Arc::clone(source),
            }),
            Err(Unread::NotAFile) => Err(FileError::NotAFile { path: path() }),
            Err(Unread::TooLarge) => Err(FileError::TooLarge {
                path: path(),
                limit: MAX_LEN,
            }),
        }
    }
}

/// Opens a file, whatever has come into its place by now.
// The endpoint of bundles in `spiffe-hyper` has the same (`federation/file.rs`): to share it would make
// it part of what this crate promises to everybody. What is mended in one belongs in the other.
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
const MAX_LEN: u64 = 4 * 1024 * 1024;

/// How often files are read until they are twice the same.
const MAX_READS: usize = 5;

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
        let path = directory.path().join("svid.pem");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(regular(&path).err()));
        let why = told.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(why, Some(Unread::NotAFile)));
    }
}
