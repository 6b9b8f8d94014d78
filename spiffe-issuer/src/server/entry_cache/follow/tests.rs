use std::time::SystemTime;

use super::*;
use crate::domain::{AttestedNode, NewEntry, SelectorSet, Serial};
use crate::server::store::sql::SqlStore;
use crate::server::store::{Created, DataStore};

const TD: TrustDomain = TrustDomain::from_static("td");
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

async fn store() -> (tempfile::TempDir, SharedStore) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.sqlite3");
    let at = path.to_str().unwrap().parse().unwrap();
    let store = SqlStore::open(&at).await.unwrap();
    (dir, Arc::new(store))
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&TD, path).unwrap()
}

fn selectors(text: &str) -> SelectorSet {
    SelectorSet::from([text.parse().unwrap()])
}

async fn create(store: &dyn DataStore, parent: &str, path: &str, selector: &str) -> EntryId {
    let body = NewEntry::new(id(path), id(parent), selectors(selector));
    let mut made = store.create_entries(vec![body], NOW).await.unwrap();
    match made.remove(0) {
        Created::New(entry) => entry.id,
        other => panic!("{other:?}"),
    }
}

fn node(name: &str, selector: &str) -> AttestedNode {
    AttestedNode {
        id: id(name),
        attestation_type: "t".to_owned(),
        serial: Some(Serial::from_decimal("1")),
        expires_at: NOW,
        authority: None,
        renewed: None,
        can_reattest: true,
        selectors: selectors(selector),
        agent_version: String::new(),
    }
}

fn paths(cache: &EntryCache, agent: &str) -> Vec<String> {
    let entries = cache.entries_of(&id(agent));
    let path = |entry: &Arc<crate::domain::Entry>| entry.body.spiffe_id.path().to_owned();
    let mut paths: Vec<_> = entries.iter().map(path).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn what_is_written_is_seen_and_what_a_reader_holds_stays() {
    let (_dir, store) = store().await;
    create(&*store, "/spire/agent/a", "/old", "t:a").await;
    let mut follower = Follower::load(Arc::clone(&store), &TD).await.unwrap();
    let cache = follower.cache();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/old"]);

    let held = cache.entries_of(&id("/spire/agent/a"));
    let new = create(&*store, "/spire/agent/a", "/new", "t:a").await;
    create(&*store, "/spire/server", "/alias", "t:node").await;
    let shared = create(&*store, "/alias", "/shared", "t:a").await;
    store
        .admit(node("/spire/agent/a", "t:node"), None, NOW)
        .await
        .unwrap();
    follower.tick().await.unwrap();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/new", "/old", "/shared"]);
    assert_eq!(held.iter().count(), 1);
    assert!(held.get(&new).is_none());

    let now = cache.entries_of(&id("/spire/agent/a"));
    assert!(now.get(&new).is_some() && now.get(&shared).is_some());
    let other = cache.entries_of(&id("/spire/agent/b"));
    assert!(other.get(&new).is_none() && other.get(&shared).is_none());
    assert!(now.revision() > held.revision());
    assert!(cache.snapshot().node(&id("/spire/agent/a")).is_some());
    let giving = cache.snapshot();
    assert_eq!(giving.entries_giving(&id("/shared")).count(), 1);
}

#[tokio::test]
async fn what_is_taken_away_is_gone_at_the_next_look() {
    let (_dir, store) = store().await;
    let own = create(&*store, "/spire/agent/a", "/own", "t:a").await;
    let alias = create(&*store, "/spire/server", "/alias", "t:node").await;
    create(&*store, "/alias", "/shared", "t:a").await;
    store
        .admit(node("/spire/agent/a", "t:node"), None, NOW)
        .await
        .unwrap();
    let mut follower = Follower::load(Arc::clone(&store), &TD).await.unwrap();
    let cache = follower.cache();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/own", "/shared"]);

    store.delete_entry(&alias).await.unwrap();
    follower.tick().await.unwrap();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/own"]);
    create(&*store, "/spire/server", "/alias", "t:node").await;
    follower.tick().await.unwrap();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/own", "/shared"]);
    // The node loses the selector that the alias asks for.
    store
        .admit(node("/spire/agent/a", "t:other"), None, NOW)
        .await
        .unwrap();
    follower.tick().await.unwrap();
    assert_eq!(paths(&cache, "/spire/agent/a"), ["/own"]);
    store.delete_entry(&own).await.unwrap();
    store.delete_node(&id("/spire/agent/a")).await.unwrap();
    follower.tick().await.unwrap();
    assert!(paths(&cache, "/spire/agent/a").is_empty());
    assert!(cache.snapshot().node(&id("/spire/agent/a")).is_none());
}

#[tokio::test]
async fn a_pruned_feed_is_made_up_for_by_reading_all() {
    let (_dir, store) = store().await;
    let mut follower = Follower::load(Arc::clone(&store), &TD).await.unwrap();
    for n in 0..10 {
        create(&*store, "/spire/agent/a", &format!("/{n}"), "t:a").await;
    }
    store.prune_changes(2).await.unwrap();
    follower.tick().await.unwrap();
    assert_eq!(paths(&follower.cache(), "/spire/agent/a").len(), 10);
    let latest = store.latest_revision().await.unwrap();
    assert_eq!(follower.cache().snapshot().revision(), latest);
}

#[tokio::test]
async fn snapshot_never_regresses() {
    let (_dir, store) = store().await;
    for n in 0..3 {
        create(&*store, "/spire/agent/a", &format!("/{n}"), "t:a").await;
    }
    let mut follower = Follower::load(Arc::clone(&store), &TD).await.unwrap();
    let cache = follower.cache();

    // A backup from before, put back under the running server.
    let (_dir, backup) = self::store().await;
    create(&*backup, "/spire/agent/a", "/deleted-since", "t:a").await;
    follower.store = Arc::clone(&backup);
    for failed in [follower.tick().await, follower.load_all().await] {
        let failure = failed.unwrap_err();
        assert!(
            matches!(failure, CacheError::Backwards { .. }),
            "{failure:?}"
        );
        assert_eq!(paths(&cache, "/spire/agent/a"), ["/0", "/1", "/2"]);
    }

    // As the backup is written to it comes to revisions that the cache has seen, with other changes.
    for n in 0..3 {
        create(&*backup, "/spire/agent/a", &format!("/new/{n}"), "t:a").await;
    }
    follower.tick().await.unwrap();
    assert_eq!(
        paths(&cache, "/spire/agent/a"),
        ["/deleted-since", "/new/0", "/new/1", "/new/2"]
    );
}

#[tokio::test]
async fn a_store_that_was_behind_for_a_moment_is_followed_again() {
    let (_dir, store) = store().await;
    for n in 0..3 {
        create(&*store, "/spire/agent/a", &format!("/{n}"), "t:a").await;
    }
    let mut follower = Follower::load(Arc::clone(&store), &TD).await.unwrap();
    let cache = follower.cache();
    let (_dir, stale) = self::store().await;
    follower.store = stale;
    assert!(follower.tick().await.is_err());
    follower.store = store;
    create(&*follower.store, "/spire/agent/a", "/3", "t:a").await;
    follower.tick().await.unwrap();
    assert_eq!(paths(&cache, "/spire/agent/a").len(), 4);
}
