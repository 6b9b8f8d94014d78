use std::sync::Arc;

use spiffe_issuer::domain::JoinToken;
use spiffe_issuer::server::store::{
    Changed, DataStore, Dissolve, FeedRevision, Put, StoreError, StoredBundle, TokenRecord,
};
use tokio::task::JoinSet;

use crate::{at, create, entry, id, node, on_each, serial, svid, td};

async fn all(store: &dyn DataStore) -> Vec<Changed> {
    let changes = store.changes_since(FeedRevision(0), usize::MAX).await;
    let changes = changes.unwrap();
    let latest = store.latest_revision().await.unwrap();
    assert_eq!(
        changes.last().map_or(FeedRevision(0), |last| last.revision),
        latest
    );
    changes.into_iter().map(|change| change.subject).collect()
}

#[tokio::test]
async fn each_write_tells_what_it_changed() {
    on_each(async |site| {
        let store = site.open().await;
        assert!(all(&*store).await.is_empty());
        let made = create(&*store, entry("/a", "/p", &["t:a"])).await;
        store.replace_entry(made.clone()).await.unwrap();
        store.delete_entry(&made.id).await.unwrap();
        let changed = Changed::Entry(made.id);
        assert_eq!(all(&*store).await, vec![changed; 3]);

        let before = store.latest_revision().await.unwrap();
        let a = node("a", 1).id;
        store.admit(node("a", 1), None, at(0)).await.unwrap();
        store.renew_node(&a, svid(2, at(1))).await.unwrap();
        store.activate_renewed(&a, &serial(2)).await.unwrap();
        store.ban_node(&a).await.unwrap();
        store.delete_node(&a).await.unwrap();
        let bundle = StoredBundle::empty(td("a.test"));
        store.put_bundle(bundle, Put::Set).await.unwrap();
        store
            .delete_bundle(&td("a.test"), Dissolve::Restrict)
            .await
            .unwrap();
        let after = store.changes_since(before, usize::MAX).await.unwrap();
        let after: Vec<_> = after.into_iter().map(|change| change.subject).collect();
        let mut expected = vec![Changed::Node(a); 5];
        expected.extend(vec![Changed::Bundle(td("a.test")); 2]);
        assert_eq!(after, expected);
    })
    .await;
}

#[tokio::test]
async fn admitting_tells_of_the_node_and_of_its_alias() {
    on_each(async |site| {
        let store = site.open().await;
        let token = JoinToken::from_text("t").hash();
        let record = TokenRecord {
            expires_at: at(10),
            agent_id: Some(id("/agent")),
        };
        store.create_token(&token, record).await.unwrap();
        store.admit(node("a", 1), Some(token), at(0)).await.unwrap();
        let changes = all(&*store).await;
        assert_eq!(changes[0], Changed::Node(node("a", 1).id));
        assert!(matches!(changes[1], Changed::Entry(_)));
        assert_eq!(changes.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_leaves_no_change() {
    on_each(async |site| {
        let store = site.open().await;
        let made = create(&*store, entry("/a", "/p", &["t:a"])).await;
        let before = store.latest_revision().await.unwrap();
        let twice = entry("/a", "/p", &["t:a"]);
        store.create_entries(vec![twice], at(0)).await.unwrap();
        let mut late = made;
        late.revision.0 = 5;
        assert!(store.replace_entry(late).await.is_err());
        assert!(store.ban_node(&id("/nobody")).await.is_err());
        assert_eq!(store.latest_revision().await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
async fn revisions_have_no_gaps_however_many_write_at_once() {
    on_each(async |site| {
        let store = site.open().await;
        let mut writers = JoinSet::new();
        for writer in 0..16 {
            let store: Arc<dyn DataStore> = Arc::clone(&store);
            writers.spawn(async move {
                for n in 0..4 {
                    let path = format!("/{writer}/{n}");
                    create(&*store, entry(&path, "/p", &["t:a"])).await;
                    // A write that fails must not use up a revision either.
                    assert!(store.ban_node(&id("/nobody")).await.is_err());
                }
            });
        }
        // Whoever reads meanwhile sees the beginning of the same list, never one with holes.
        let mut seen = FeedRevision(0);
        while seen < FeedRevision(64) {
            for change in store.changes_since(seen, 5).await.unwrap() {
                assert_eq!(change.revision.0, seen.0 + 1);
                let Changed::Entry(id) = change.subject else {
                    panic!("{change:?}");
                };
                assert!(store.find_entry(&id).await.unwrap().is_some());
                seen = change.revision;
            }
            tokio::task::yield_now().await;
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        assert_eq!(store.latest_revision().await.unwrap(), FeedRevision(64));
    })
    .await;
}

#[tokio::test]
async fn who_is_too_far_behind_is_told_to_read_all_anew() {
    on_each(async |site| {
        let store = site.open().await;
        for n in 0..5 {
            create(&*store, entry(&format!("/{n}"), "/p", &["t:a"])).await;
        }
        assert_eq!(store.prune_changes(2).await.unwrap(), 3);
        let since = async |last| store.changes_since(FeedRevision(last), 10).await;
        assert!(matches!(since(2).await, Err(StoreError::FeedPruned)));
        assert_eq!(since(3).await.unwrap().len(), 2);
        assert_eq!(since(5).await.unwrap().len(), 0);
        // The latest change always stays, so nobody takes an empty feed for a quiet one.
        assert_eq!(store.prune_changes(0).await.unwrap(), 1);
        assert!(matches!(since(3).await, Err(StoreError::FeedPruned)));
        // Revisions go on where they were.
        create(&*store, entry("/more", "/p", &["t:a"])).await;
        assert_eq!(since(5).await.unwrap()[0].revision, FeedRevision(6));
    })
    .await;
}
