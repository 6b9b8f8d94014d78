//! Keys in one file, as SPIRE keeps them: JSON, `{"keys": {"<id>": "<base64 PKCS#8>"}}`, that nobody
//! but the owner may read.
//!
//! The file is read at first use and written whole, by rename, with each new key. A file that others
//! may read is refused and never repaired: whoever could read it may have read it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use spiffe_core::x509::{KeyKind, PrivateKey};
use tokio::task::spawn_blocking;
use tracing::warn;
use zeroize::{Zeroize, Zeroizing};

use super::memory::{SoftwareKey, make};
use super::{KeyError, KeyId, KeyManager, Signer};
use crate::config::{Issues, Node, path};
use crate::plugin::BuiltIn;
use crate::runtime::files::write_atomically;

/// The server's `KeyManager "disk" { keys_path = "..." }`.
pub const SERVER_DISK: BuiltIn<dyn KeyManager> = BuiltIn {
    name: "disk",
    make: |settings, _| made(settings, "keys_path", |path| path),
};

/// The agent's `KeyManager "disk" { directory = "..." }`.
pub const AGENT_DISK: BuiltIn<dyn KeyManager> = BuiltIn {
    name: "disk",
    make: |settings, _| {
        made(settings, "directory", |directory| {
            directory.join("keys.json")
        })
    },
};

fn made(
    settings: &Node,
    key: &'static str,
    file: fn(PathBuf) -> PathBuf,
) -> Result<Arc<dyn KeyManager>, Issues> {
    let mut issues = Issues::default();
    let place = settings.fields(&mut issues, |fields| fields.required(key, path));
    let place = issues.finish(place)?.logged();
    Ok(Arc::new(DiskKeys::new(file(place))))
}

/// Keeps keys in a file.
#[derive(Debug)]
pub struct DiskKeys {
    file: Arc<KeyFile>,
}

impl DiskKeys {
    /// Keys in this file, which the first key will make.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            file: Arc::new(KeyFile {
                path,
                keys: Mutex::new(None),
            }),
        }
    }
}

#[async_trait]
impl KeyManager for DiskKeys {
    async fn generate(&self, id: &KeyId, kind: KeyKind) -> Result<Arc<dyn Signer>, KeyError> {
        let key = make(id.clone(), kind).await?;
        let (file, id, made) = (Arc::clone(&self.file), id.clone(), Arc::clone(&key));
        beside(move || file.insert(id, made)).await?;
        Ok(key)
    }

    async fn find(&self, id: &KeyId) -> Result<Option<Arc<dyn Signer>>, KeyError> {
        let (file, id) = (Arc::clone(&self.file), id.clone());
        let key = beside(move || file.get(&id)).await?;
        Ok(key.map(|key| key as Arc<dyn Signer>))
    }
}

/// Reads and writes beside the reactor.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, KeyError> {
    spawn_blocking(work).await.map_err(|_| KeyError::Stopped)?
}

type Keys = BTreeMap<KeyId, Arc<SoftwareKey>>;

/// The file, and what it holds once it was read. The lock is held while the file is written: two
/// keys made at once must both be in it in the end.
#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
    keys: Mutex<Option<Keys>>,
}

impl KeyFile {
    fn get(&self, id: &KeyId) -> Result<Option<Arc<SoftwareKey>>, KeyError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.read_once(&mut keys)?;
        Ok(keys.get(id).cloned())
    }

    /// Nothing is known of the new key until it is on disk.
    fn insert(&self, id: KeyId, key: Arc<SoftwareKey>) -> Result<(), KeyError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.read_once(&mut keys)?;
        let mut changed = keys.clone();
        changed.insert(id, key);
        write(&self.path, &changed)?;
        *keys = changed;
        Ok(())
    }

    fn read_once<'a>(&self, keys: &'a mut Option<Keys>) -> Result<&'a mut Keys, KeyError> {
        match keys {
            Some(keys) => Ok(keys),
            unread => Ok(unread.insert(read(&self.path)?)),
        }
    }
}

/// The file's form. Key IDs that are not ours are kept as they are.
#[derive(Serialize, Deserialize)]
struct Document {
    keys: BTreeMap<String, Secret>,
}

/// The base64 of a private key.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn read(path: &Path) -> Result<Keys, KeyError> {
    let unreadable = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Keys::new()),
        opened => opened.map_err(unreadable)?,
    };
    // Asked of the file that is open, not of the path, which may be another file by now.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(unreadable(Errno::EISDIR.into()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Loose {
            path: path.to_owned(),
            mode,
        });
    }
    warn_of_loose_directory(path);
    let mut text = Zeroizing::new(Vec::new());
    file.take(MAX_LEN)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    parse(path, &text)
}

/// Whoever may write the directory can put another file in the place of this one. SPIRE makes its
/// directories 0755, which is fine; what is looser is the operator's to decide.
fn warn_of_loose_directory(path: &Path) {
    let directory = path
        .parent()
        .and_then(|directory| directory.metadata().ok());
    let mode = directory.map_or(0, |directory| directory.mode() & 0o7777);
    // In a directory like /tmp (sticky) only its owner can replace a file.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        warn!(
            path = %path.display(),
            mode = format_args!("{mode:04o}"),
            "Others than the owner may write the directory of the key file"
        );
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Keys, KeyError> {
    let document: Document = serde_json::from_slice(text).map_err(|source| KeyError::Format {
        path: path.to_owned(),
        source,
    })?;
    let entries = document.keys.iter();
    entries.map(|(id, secret)| key(path, id, secret)).collect()
}

fn key(path: &Path, id: &str, secret: &Secret) -> Result<(KeyId, Arc<SoftwareKey>), KeyError> {
    let id = KeyId::new(id);
    let garbled = |source: Box<dyn std::error::Error + Send + Sync>| KeyError::Garbled {
        path: path.to_owned(),
        id: id.clone(),
        source,
    };
    let der = STANDARD.decode(&secret.0).map(Zeroizing::new);
    let der = der.map_err(|error| garbled(error.into()))?;
    let key = PrivateKey::from_pkcs8_der(&der).map_err(|error| garbled(error.into()))?;
    let key = SoftwareKey::of(key).ok_or_else(|| garbled("it is of an unusual kind".into()))?;
    Ok((id, Arc::new(key)))
}

fn write(path: &Path, keys: &Keys) -> Result<(), KeyError> {
    let secret = |key: &SoftwareKey| Secret(STANDARD.encode(key.private_key().pkcs8_der()));
    let document = Document {
        keys: keys
            .iter()
            .map(|(id, key)| (id.as_str().to_owned(), secret(key)))
            .collect(),
    };
    // Texts in a map have no way to fail, and what is written is read back at the next start.
    let text = Zeroizing::new(serde_json::to_vec_pretty(&document).unwrap_or_default());
    write_atomically(path, &text, 0o600).map_err(KeyError::Write)
}

/// More than a thousand RSA keys; what is longer is no file of ours.
const MAX_LEN: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file_with(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    async fn refusal(text: &str, mode: u32) -> (KeyError, PathBuf) {
        let (_dir, path) = file_with(text, mode);
        let id = KeyId::new("a");
        let refused = DiskKeys::new(path.clone()).find(&id).await.unwrap_err();
        (refused, path)
    }

    #[tokio::test]
    async fn keys_are_found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let [a, b] = KeyId::X509_CA;
        let keys = DiskKeys::new(path.clone());
        assert!(keys.find(&a).await.unwrap().is_none());
        let first = keys.generate(&a, KeyKind::EcP256).await.unwrap();
        let second = keys.generate(&b, KeyKind::EcP384).await.unwrap();

        let again = DiskKeys::new(path.clone());
        for (id, key) in [(&a, &first), (&b, &second)] {
            let found = again.find(id).await.unwrap().unwrap();
            assert_eq!(found.public_key(), key.public_key(), "{id}");
        }
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600);
    }

    #[tokio::test]
    async fn the_file_is_in_the_form_of_spire() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let keys = DiskKeys::new(path.clone());
        let key = keys
            .generate(&KeyId::new("x509-CA-A"), KeyKind::EcP256)
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let pkcs8 = STANDARD
            .decode(json["keys"]["x509-CA-A"].as_str().unwrap())
            .unwrap();
        assert_eq!(pkcs8, key.in_memory().unwrap().pkcs8_der());
        assert_eq!(json.as_object().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn keys_made_at_once_are_both_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let keys = DiskKeys::new(path.clone());
        let [a, b] = KeyId::X509_CA;
        let (first, second) = tokio::join!(
            keys.generate(&a, KeyKind::EcP256),
            keys.generate(&b, KeyKind::EcP256)
        );
        first.and(second).unwrap();
        let again = DiskKeys::new(path);
        assert!(again.find(&a).await.unwrap().is_some());
        assert!(again.find(&b).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn refuses_group_readable_key() {
        for mode in [0o640, 0o604, 0o660, 0o602, 0o610] {
            let (refused, path) = refusal(r#"{"keys": {}}"#, mode).await;
            let told = refused.to_string();
            assert!(matches!(refused, KeyError::Loose { .. }), "{mode:o}");
            let path = path.display().to_string();
            assert!(told.contains(&format!("{path}: mode {mode:04o}")), "{told}");
            assert!(told.contains(&format!("chmod 600 {path}")), "{told}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let round = dir.path().join("round");
        std::os::unix::fs::symlink(&round, &round).unwrap();
        for path in [round, dir.path().to_owned()] {
            let id = KeyId::new("a");
            let keys = DiskKeys::new(path.clone());
            let refused = keys.find(&id).await.unwrap_err();
            assert!(matches!(refused, KeyError::Read { .. }), "{refused:?}");
            assert!(refused.to_string().contains(&path.display().to_string()));
        }
    }

    #[tokio::test]
    async fn a_garbled_file_is_named_with_the_key_that_is_wrong() {
        for text in ["", "{", "[]", r#"{"keys": 7}"#, r#"{"other": {}}"#] {
            let (refused, path) = refusal(text, 0o600).await;
            assert!(matches!(refused, KeyError::Format { .. }), "{text}");
            assert!(refused.to_string().contains(&path.display().to_string()));
        }
        for text in [r#"{"keys": {"a": "?"}}"#, r#"{"keys": {"a": "a2V5"}}"#] {
            let (refused, path) = refusal(text, 0o600).await;
            let told = refused.to_string();
            assert!(matches!(refused, KeyError::Garbled { .. }), "{text}");
            assert!(told.contains(&path.display().to_string()), "{told}");
            assert!(told.contains("`a`"), "{told}");
            assert!(refused.source().is_some());
        }
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_written_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("keys.json");
        let keys = DiskKeys::new(path);
        let id = KeyId::new("a");
        let refused = keys.generate(&id, KeyKind::EcP256).await.unwrap_err();
        assert!(matches!(refused, KeyError::Write(_)));
        assert!(keys.find(&id).await.unwrap().is_none());
    }
}
