//! A `FileSource` on a directory that is written as sidecars do, on paused time.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{FileError, FileSource, FileSourceBuilder};
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::verify::{PeerError, VerifyError};
use spiffe_core::x509::KeyId;
use spiffe_core::{BundleSet, IdentitySource, SourceExt, TrustBundle, X509Svid, with_causes};
use tempfile::TempDir;
use tokio::io::duplex;
use tokio::time::{Instant, sleep};

const LOOK: Duration = Duration::from_secs(7);

struct World {
    directory: TempDir,
    authority: TestAuthority,
    clock: TestClock,
    now: SystemTime,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        Self {
            directory: tempfile::tempdir().unwrap(),
            authority: TestAuthority::at("a.test", now),
            clock: TestClock::at(now),
            now,
        }
    }

    /// A source of files that are good.
    fn opened() -> (Self, FileSource, X509Svid) {
        let world = Self::new();
        let svid = world.authority.svid("/web");
        write(world.path(), &svid, &world.authority.bundle());
        let source = world.builder().open().unwrap();
        (world, source, svid)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn builder(&self) -> FileSourceBuilder {
        FileSource::builder(self.path()).clock(Arc::new(self.clock))
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).unwrap();
    }
}

fn write(directory: &Path, svid: &X509Svid, bundle: &TrustBundle) {
    fs::write(directory.join("svid.pem"), chain(svid)).unwrap();
    fs::write(directory.join("svid_key.pem"), &*svid.key().to_pem()).unwrap();
    fs::write(directory.join("svid_bundle.pem"), roots(bundle)).unwrap();
}

fn chain(svid: &X509Svid) -> String {
    svid.chain().iter().map(|c| c.to_pem()).collect()
}

fn roots(bundle: &TrustBundle) -> String {
    bundle
        .x509_authorities()
        .iter()
        .map(|c| c.to_pem())
        .collect()
}

fn shows(source: &FileSource, svid: &X509Svid) -> bool {
    source.snapshot().svid().unwrap().leaf() == svid.leaf()
}

#[tokio::test(start_paused = true)]
async fn files_of_spiffe_helper_are_read_and_their_replacements_too() {
    let (world, source, svid) = World::opened();
    assert!(shows(&source, &svid));
    let own = world.authority.trust_domain();
    let snapshot = source.snapshot();
    assert_eq!(
        snapshot.bundles().get(own),
        Some(&world.authority.x509_bundle())
    );

    let mut changed = source.subscribe();
    let renewed = world.authority.svid("/web");
    write(world.path(), &renewed, &world.authority.bundle());
    changed.changed().await.unwrap();
    assert!(shows(&source, &renewed));

    sleep(Duration::from_secs(600)).await;
    assert!(!changed.has_changed().unwrap(), "nothing was written");
    assert!(source.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn files_are_not_looked_at_without_a_pause_whatever_is_asked() {
    let (world, source, _) = World::opened();
    source.shutdown().await;
    let source = world.builder().every(Duration::ZERO).open().unwrap();
    let (mut changed, begun) = (source.subscribe(), Instant::now());
    let renewed = world.authority.svid("/web");
    write(world.path(), &renewed, &world.authority.bundle());
    changed.changed().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(shows(&source, &renewed));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_swapped_replaces_all_at_once() {
    let world = World::new();
    let first = TestAuthority::at("a.test", world.now);
    let second = TestAuthority::at("a.test", world.now);
    let svids = [first.svid("/web"), second.svid("/web")];
    for (name, svid, authority) in [("one", &svids[0], &first), ("two", &svids[1], &second)] {
        let directory = world.path().join(name);
        fs::create_dir(&directory).unwrap();
        write(&directory, svid, &authority.bundle());
    }
    let link = world.path().join("..data");
    symlink("one", &link).unwrap();
    for name in ["svid.pem", "svid_key.pem", "svid_bundle.pem"] {
        symlink(Path::new("..data").join(name), world.path().join(name)).unwrap();
    }
    let source = world.builder().open().unwrap();
    assert!(shows(&source, &svids[0]));

    let mut changed = source.subscribe();
    symlink("two", world.path().join("..new")).unwrap();
    fs::rename(world.path().join("..new"), &link).unwrap();
    changed.changed().await.unwrap();
    assert!(shows(&source, &svids[1]));
    let snapshot = source.snapshot();
    let bundle = snapshot.bundles().get(second.trust_domain());
    assert_eq!(bundle, Some(&second.x509_bundle()));
}

#[tokio::test(start_paused = true)]
async fn files_of_two_moments_are_not_taken_for_one() {
    let (world, source, svid) = World::opened();
    let renewed = world.authority.svid("/web");
    world.put("svid.pem", chain(&renewed));
    sleep(LOOK).await;
    assert!(shows(&source, &svid), "the key is still the old one");
    let why = source.last_error().unwrap();
    assert!(matches!(why, FileError::Svid { .. }), "{why}");

    world.put("svid_key.pem", &*renewed.key().to_pem());
    sleep(LOOK).await;
    assert!(shows(&source, &renewed));
    assert!(source.last_error().is_none());
}

/// PyPI's spiffe-tls puts the new certificate beside the old key for a moment.
#[tokio::test(start_paused = true)]
async fn key_and_certificate_that_are_swapped_in_two_steps_are_shown_in_one() {
    for key_first in [true, false] {
        let (world, source, old) = World::opened();
        let source = Arc::new(source);
        let client = world.authority.source("/client");
        let acceptor = source.server(anyone()).acceptor();
        let connector = client.client(anyone()).connector();
        let presented = async || {
            let (near, far) = duplex(64 * 1024);
            let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
            ours.unwrap();
            theirs.unwrap().peer().certificates()[0].clone()
        };
        let renewed = world.authority.svid("/web");
        let key = ("svid_key.pem", renewed.key().to_pem().to_string());
        let certificate = ("svid.pem", chain(&renewed));
        let (first, second) = match key_first {
            true => (key, certificate),
            false => (certificate, key),
        };
        world.put(first.0, first.1);
        sleep(LOOK).await;
        assert_eq!(presented().await, *old.leaf().der(), "half of it is there");
        world.put(second.0, second.1);
        sleep(LOOK).await;
        assert_eq!(presented().await, *renewed.leaf().der());
    }
}

#[tokio::test(start_paused = true)]
async fn renewal_failure_keeps_valid_svid_in_files() {
    let (world, source, svid) = World::opened();
    let good = world.authority.svid("/web");
    let stranger = TestAuthority::at("a.test", world.now).svid("/web");
    let ended = world.authority.draft("/web").expired().svid();
    for (name, chain, key) in [
        ("cut", chain(&good)[..100].to_owned(), good.key().to_pem()),
        ("empty", String::new(), good.key().to_pem()),
        ("a stranger's", chain(&stranger), stranger.key().to_pem()),
        ("ended", chain(&ended), ended.key().to_pem()),
    ] {
        world.put("svid.pem", chain);
        world.put("svid_key.pem", &*key);
        sleep(LOOK).await;
        assert!(shows(&source, &svid), "{name}");
        assert!(source.last_error().is_some(), "{name}");
    }
    for name in ["svid.pem", "svid_key.pem", "svid_bundle.pem"] {
        fs::remove_file(world.path().join(name)).unwrap();
        sleep(LOOK).await;
        assert!(shows(&source, &svid), "without {name}");
    }
    let why = source.last_error().unwrap().to_string();
    assert!(
        why.starts_with("cannot read") && why.contains("svid.pem"),
        "{why}"
    );

    sleep(Duration::from_secs(3600)).await;
    write(world.path(), &ended, &world.authority.bundle());
    sleep(LOOK).await;
    assert!(source.snapshot().svid().is_none(), "it ended meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_bad_half_never_holds_up_the_good_one() {
    let (world, source, svid) = World::opened();
    let own = world.authority.trust_domain();
    let other = TestAuthority::at("a.test", world.now);
    let both = [world.authority.x509_bundle(), other.x509_bundle()];
    let both: String = both.iter().map(roots).collect();
    world.put("svid.pem", "garbled");
    world.put("svid_bundle.pem", both);
    sleep(LOOK).await;
    assert!(shows(&source, &svid));
    let roots_now = || {
        let snapshot = source.snapshot();
        snapshot
            .bundles()
            .get(own)
            .unwrap()
            .x509_authorities()
            .len()
    };
    assert_eq!(roots_now(), 2, "the new trust counts");

    let renewed = other.svid("/web");
    world.put("svid.pem", chain(&renewed));
    world.put("svid_key.pem", &*renewed.key().to_pem());
    world.put("svid_bundle.pem", "garbled");
    sleep(LOOK).await;
    assert!(shows(&source, &renewed), "the new SVID counts");
    assert_eq!(roots_now(), 2);
    let why = source.last_error().unwrap();
    assert!(matches!(why, FileError::Bundle { .. }), "{why}");

    // The SVID of another trust domain does not give our bundle another name.
    let stranger = TestAuthority::at("b.test", world.now).svid("/web");
    write(world.path(), &stranger, &other.bundle());
    sleep(LOOK).await;
    assert!(shows(&source, &renewed));
    assert_eq!(roots_now(), 1);
    assert_eq!(source.snapshot().bundles().iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_can_be_chosen_and_a_bundle_map_brings_other_trust_domains() {
    let world = World::new();
    let friend = TestAuthority::at("b.test", world.now);
    let svid = world.authority.svid("/web");
    let map: BundleSet = [world.authority.bundle(), friend.bundle()]
        .into_iter()
        .collect();
    world.put("tls.crt", chain(&svid));
    world.put("tls.key", &*svid.key().to_pem());
    world.put("map.json", map.to_bundle_map().unwrap());
    let builder = world
        .builder()
        .svid("tls.crt", "tls.key")
        .bundle_map("map.json");
    let source = builder.open().unwrap();
    assert!(shows(&source, &svid));
    assert_eq!(source.snapshot().bundles().iter().count(), 2);

    world.put("map.json", "{}");
    sleep(LOOK).await;
    assert_eq!(source.snapshot().bundles().iter().count(), 2);
    let why = source.last_error().unwrap();
    assert!(matches!(why, FileError::BundleMap { .. }), "{why}");
}

#[tokio::test(start_paused = true)]
async fn whom_to_believe_can_be_read_alone() {
    let world = World::new();
    world.put("svid_bundle.pem", roots(&world.authority.bundle()));
    let own = world.authority.trust_domain();
    let source = world.builder().without_svid(own.clone()).open().unwrap();
    let snapshot = source.snapshot();
    assert!(snapshot.svid().is_none());
    assert_eq!(
        snapshot.bundles().get(own),
        Some(&world.authority.x509_bundle())
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_opened_is_named_and_can_be_waited_for() {
    let world = World::new();
    let why = with_causes(&FileSource::spiffe_helper(world.path()).unwrap_err());
    assert!(why.contains("svid.pem: No such file"), "{why}");
    let begin = Instant::now();
    assert!(world.builder().connect().await.is_err());
    assert!((30..32).contains(&begin.elapsed().as_secs()));
    // However long one will wait, there is a moment to begin with.
    let patient = world.builder().initial_timeout(Duration::MAX).connect();
    assert!(tokio::time::timeout(LOOK, patient).await.is_err());

    let svid = world.authority.svid("/web");
    let late = async {
        sleep(Duration::from_secs(10)).await;
        write(world.path(), &svid, &world.authority.bundle());
    };
    let (source, ()) = tokio::join!(world.builder().connect(), late);
    assert!(shows(&source.unwrap(), &svid));

    world.put("svid.pem", vec![b'x'; 5 * 1024 * 1024]);
    let why = world.builder().open().unwrap_err();
    assert!(matches!(why, FileError::TooLarge { .. }), "{why}");
}

// To open a FIFO waits for whoever writes into it, and that may be nobody.
#[tokio::test(start_paused = true)]
async fn what_is_no_regular_file_is_refused_and_holds_up_nothing() {
    let (world, source, svid) = World::opened();
    let chain_at = world.path().join("svid.pem");
    let refused = |why: &FileError| matches!(why, FileError::NotAFile { .. });
    fs::remove_file(&chain_at).unwrap();
    for (kind, what) in ["fifo", "device", "directory"].into_iter().enumerate() {
        let odd = world.path().join(what);
        match kind {
            0 => {
                let made = Command::new("mkfifo").arg(&odd).status().unwrap();
                assert!(made.success());
            }
            1 => symlink("/dev/zero", &odd).unwrap(),
            _ => fs::create_dir(&odd).unwrap(),
        }
        symlink(&odd, &chain_at).unwrap();
        let why = world.builder().open().unwrap_err();
        assert!(refused(&why), "{what}: {why}");
        let patience = Duration::from_secs(3);
        let why = world.builder().initial_timeout(patience).connect().await;
        assert!(refused(&why.unwrap_err()), "{what}");
        sleep(LOOK).await;
        assert!(refused(&source.last_error().unwrap()), "{what}");
        assert!(shows(&source, &svid), "{what}");
        fs::remove_file(&chain_at).unwrap();
    }
    world.put("svid.pem", chain(&svid));
    sleep(LOOK).await;
    assert!(source.last_error().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_watch_of_files_ends_when_told() {
    let (world, source, svid) = World::opened();
    let clone = source.clone();
    source.shutdown().await;
    write(
        world.path(),
        &world.authority.svid("/web"),
        &world.authority.bundle(),
    );
    sleep(LOOK).await;
    assert!(shows(&clone, &svid));
}

#[tokio::test(start_paused = true)]
async fn a_source_of_files_is_told_whom_to_distrust_and_new_files_do_not_undo_it() {
    let (world, source, _) = World::opened();
    let clock = Arc::new(world.clock);
    let tainted = world.authority.intermediate().authority();
    let client = tainted.source("/client").client(anyone());
    let (connector, server) = (client.clock(clock.clone()), source.server(anyone()));
    let (connector, acceptor) = (connector.connector(), server.clock(clock).acceptor());
    let meet = async || {
        let (near, far) = duplex(64 * 1024);
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
        (ours, theirs)
    };
    let (stream, _theirs) = meet().await;
    let peer = stream.unwrap().peer().clone();

    let signed = tainted.svid("/any");
    source.distrust([KeyId::new(signed.leaf().authority_key_id().unwrap()).unwrap()]);
    let why = peer.ended().await;
    assert_eq!(why, PeerError::Unverified(VerifyError::Distrusted));

    let renewed = world.authority.svid("/web");
    write(world.path(), &renewed, &world.authority.bundle());
    sleep(LOOK).await;
    assert!(shows(&source, &renewed));
    assert!(meet().await.0.is_err());
    source.distrust([]);
    meet().await.0.unwrap();
}
