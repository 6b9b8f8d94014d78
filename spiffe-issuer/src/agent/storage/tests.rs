use std::error::Error;
use std::os::unix::fs::PermissionsExt;

use super::super::cache::samples::{Authority, entry};
use super::*;

fn chain() -> Vec<Certificate> {
    let svid = Authority::new().svid(&entry("agent", 0, &["a:1"]), 3600);
    svid.chain().to_vec()
}

async fn open(dir: &Path) -> Result<(Storage, Found), StorageError> {
    Storage::open(dir).await
}

#[tokio::test]
async fn what_was_kept_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/the/way");
    let (storage, found) = open(&dir).await.unwrap();
    assert_eq!(found, Found::default());

    let (svid, authorities) = (
        chain(),
        Authority::new().bundle("td").x509_authorities().to_vec(),
    );
    storage.keep_svid(&svid, true, None).await.unwrap();
    storage.keep_bundle(&authorities).await.unwrap();
    let (storage, found) = open(&dir).await.unwrap();
    assert_eq!(
        found,
        Found {
            chain: svid,
            can_reattest: true,
            authorities: authorities.clone(),
        }
    );

    storage.forget_svid().await.unwrap();
    let (_, found) = open(&dir).await.unwrap();
    assert_eq!((found.chain, found.can_reattest), (vec![], false));
    assert_eq!(found.authorities, authorities);
    let mode = fs::metadata(dir.join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_of_spire_is_read_and_what_only_spire_knows_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let svid = chain();
    let text = format!(
        r#"{{"svid":["{}"],"bundle":null,"reattestable":true,
            "bootstrap_use":1,"bootstrap_start_time":"0001-01-01T00:00:00Z","connection_attempts":3}}"#,
        STANDARD.encode(svid[0].der())
    );
    fs::write(dir.path().join(FILE), text).unwrap();
    let (storage, found) = open(dir.path()).await.unwrap();
    assert_eq!((&found.chain, found.can_reattest), (&svid, true));
    storage.forget_svid().await.unwrap();
    let written = fs::read(dir.path().join(FILE)).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["connection_attempts"], 3);
    assert_eq!(written["bootstrap_use"], 1);
}

#[tokio::test]
async fn a_garbled_file_is_named_with_what_heals_it_and_stays_as_it_is() {
    for text in [
        "",
        "{\"svid\":[\"MII",
        "[]",
        "{\"svid\":[\"MIIB\"]}",
        "{\"svid\":[\"!\"]}",
        "{\"svid\":1}",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, text).unwrap();
        let error = open(dir.path()).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(told.contains("move it away"), "{told}");
        assert!(error.source().is_some());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_told_before_anything_is_spent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file).await.unwrap_err();
    assert!(error.to_string().contains("data directory"), "{error}");
    // Even root may not write here.
    let error = open(Path::new("/proc/self")).await.unwrap_err();
    assert!(matches!(error, StorageError::Write(_)), "{error:?}");
}

#[tokio::test]
async fn what_could_not_be_written_is_written_with_the_next_change_or_try() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (storage, _) = open(&data).await.unwrap();
    let svid = chain();
    storage.keep_svid(&svid, false, None).await.unwrap();
    // The disk goes away, and comes back with what it had.
    let away = dir.path().join("away");
    fs::rename(&data, &away).unwrap();
    let next = chain();
    let error = storage.keep_svid(&next, false, None).await.unwrap_err();
    assert!(matches!(error, StorageError::Write(_)), "{error:?}");
    fs::rename(&away, &data).unwrap();
    let (_, found) = open(&data).await.unwrap();
    assert_eq!(found.chain, svid, "the old one is whole");

    storage.catch_up().await.unwrap();
    assert_eq!(open(&data).await.unwrap().1.chain, next);
    // What is written is not written again.
    fs::remove_file(data.join(FILE)).unwrap();
    storage.catch_up().await.unwrap();
    assert!(!data.join(FILE).exists());
    storage.keep_bundle(&[]).await.unwrap();
    assert_eq!(open(&data).await.unwrap().1.chain, next);
}
