//! The key file is private whatever the umask. Alone in its file: the umask is the whole process's.

use std::os::unix::fs::PermissionsExt;

use nix::sys::stat::{Mode, umask};
use spiffe_core::x509::KeyKind;
use spiffe_issuer::keys::{DiskKeys, KeyId, KeyManager};

#[tokio::test]
async fn key_file_mode_with_umask_0() {
    umask(Mode::empty());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let keys = DiskKeys::new(path.clone());
    for id in &KeyId::X509_CA {
        keys.generate(id, KeyKind::EcP256).await.unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    // Nothing else was left beside it, which would hold the keys as well.
    let files = std::fs::read_dir(dir.path()).unwrap();
    assert_eq!(files.count(), 1);
}
