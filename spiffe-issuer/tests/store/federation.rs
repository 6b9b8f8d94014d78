use std::time::Duration;

use spiffe_core::x509::Certificate;
use spiffe_issuer::domain::{EndpointProfile, Page, Relationship};
use spiffe_issuer::server::store::{
    Changed, DataStore, FeedRevision, FetchStatus, Put, StoreError, StoredBundle,
    StoredRelationship, X509Authority,
};

use crate::{at, id, on_each, root, td};

fn with(name: &str) -> Relationship {
    Relationship {
        trust_domain: td(name),
        bundle_endpoint_url: format!("https://{name}/bundle"),
        profile: EndpointProfile::HttpsWeb,
    }
}

fn bundle(of: &str, authority: &Certificate, sequence_number: u64) -> StoredBundle {
    StoredBundle {
        x509_authorities: vec![X509Authority {
            certificate: authority.clone(),
            tainted: false,
        }],
        refresh_hint: Duration::from_secs(60),
        sequence_number,
        ..StoredBundle::empty(td(of))
    }
}

fn succeeded(second: u64) -> FetchStatus {
    FetchStatus {
        tried_at: Some(at(second)),
        succeeded_at: Some(at(second)),
        failure: None,
        next_at: Some(at(second + 60)),
    }
}

async fn find(store: &dyn DataStore, name: &str) -> Option<StoredRelationship> {
    store.find_relationship(&td(name)).await.unwrap()
}

#[tokio::test]
async fn a_relationship_comes_back_as_it_was_also_after_a_restart() {
    on_each(async |site| {
        let store = site.open().await;
        let spiffe = Relationship {
            profile: EndpointProfile::HttpsSpiffe(id("/endpoint")),
            ..with("b.test")
        };
        let first = bundle("b.test", &root("b", at(0)), 3);
        store
            .create_relationship(&with("a.test"), None)
            .await
            .unwrap();
        store
            .create_relationship(&spiffe, Some(first.clone()))
            .await
            .unwrap();
        let failed = FetchStatus {
            failure: Some("no route to host".to_owned()),
            ..succeeded(5)
        };
        store
            .record_fetch(&spiffe, None, failed.clone())
            .await
            .unwrap();

        let store = site.open().await;
        let read = find(&*store, "a.test").await.unwrap();
        assert_eq!(read.relationship, with("a.test"));
        assert_eq!(read.status, FetchStatus::default());
        let read = find(&*store, "b.test").await.unwrap();
        assert_eq!((read.relationship, read.status), (spiffe, failed));
        let read = store.find_bundle(&td("b.test")).await.unwrap();
        assert_eq!(read, Some(first));
        assert_eq!(find(&*store, "c.test").await, None);
    })
    .await;
}

#[tokio::test]
async fn a_relationship_is_made_once_and_changed_only_where_there_is_one() {
    on_each(async |site| {
        let store = site.open().await;
        let none = store.replace_relationship(&with("a.test"), None).await;
        assert!(matches!(none, Err(StoreError::NotFound)));
        assert!(!store.delete_relationship(&td("a.test")).await.unwrap());
        let first = with("a.test");
        let create = || store.create_relationship(&first, None);
        create().await.unwrap();
        assert!(matches!(create().await, Err(StoreError::Exists)));

        store
            .record_fetch(&with("a.test"), None, succeeded(1))
            .await
            .unwrap();
        let moved = Relationship {
            bundle_endpoint_url: "https://elsewhere/".to_owned(),
            ..with("a.test")
        };
        store.replace_relationship(&moved, None).await.unwrap();
        let read = find(&*store, "a.test").await.unwrap();
        assert_eq!(read.relationship, moved);
        assert_eq!(read.status, FetchStatus::default(), "it is fetched anew");

        assert!(store.delete_relationship(&td("a.test")).await.unwrap());
        assert_eq!(find(&*store, "a.test").await, None);
    })
    .await;
}

#[tokio::test]
async fn relationships_are_listed_in_pages_and_keep_their_places() {
    on_each(async |site| {
        let store = site.open().await;
        for name in ["c.test", "a.test", "b.test"] {
            store.create_relationship(&with(name), None).await.unwrap();
        }
        store
            .replace_relationship(&with("c.test"), None)
            .await
            .unwrap();
        let first = store.list_relationships(&Page::first(2)).await.unwrap();
        let names = |read: &[StoredRelationship]| -> Vec<_> {
            let name = |read: &StoredRelationship| read.relationship.trust_domain.to_string();
            read.iter().map(name).collect()
        };
        assert_eq!(names(&first.items), ["c.test", "a.test"]);
        let rest = Page::after(first.next.unwrap(), 2);
        let rest = store.list_relationships(&rest).await.unwrap();
        assert_eq!(
            (names(&rest.items), rest.next),
            (vec!["b.test".to_owned()], None)
        );
    })
    .await;
}

#[tokio::test]
async fn what_was_fetched_by_way_of_an_old_relationship_is_not_stored() {
    on_each(async |site| {
        let store = site.open().await;
        let fetched = || Some(bundle("a.test", &root("a", at(0)), 1));
        let record = |by| store.record_fetch(by, fetched(), succeeded(1));
        let old = with("a.test");
        store.create_relationship(&old, None).await.unwrap();
        let new = Relationship {
            profile: EndpointProfile::HttpsSpiffe(id("/endpoint")),
            ..old.clone()
        };
        store.replace_relationship(&new, None).await.unwrap();
        assert!(matches!(record(&old).await, Err(StoreError::Conflict)));
        store.delete_relationship(&td("a.test")).await.unwrap();
        assert!(matches!(record(&new).await, Err(StoreError::NotFound)));
        assert_eq!(store.find_bundle(&td("a.test")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_is_older_than_the_one_there_is_refused() {
    on_each(async |site| {
        let store = site.open().await;
        let (one, two) = (root("one", at(0)), root("two", at(0)));
        let by = with("a.test");
        store.create_relationship(&by, None).await.unwrap();
        for (authority, number, stored) in [
            (&one, 5, Some(5)),
            (&two, 4, None),
            // The same authorities, counted by a server beside the first.
            (&one, 4, Some(5)),
            (&two, 6, Some(6)),
            (&one, 6, Some(6)),
            // One that does not count any more.
            (&two, 0, Some(0)),
            (&one, 1, Some(1)),
        ] {
            let before = find(&*store, "a.test").await;
            let offered = bundle("a.test", authority, number);
            let done = store
                .record_fetch(&by, Some(offered.clone()), succeeded(number))
                .await;
            match (done, stored) {
                (Ok(()), Some(sequence_number)) => {
                    let read = store.find_bundle(&td("a.test")).await.unwrap();
                    let expected = StoredBundle {
                        sequence_number,
                        ..offered
                    };
                    assert_eq!(read, Some(expected));
                }
                (Err(StoreError::Rollback { held, offered }), None) => {
                    assert_eq!((held, offered), (5, 4));
                    assert_eq!(find(&*store, "a.test").await, before);
                }
                other => panic!("{number}: {other:?}"),
            }
        }
        let older = store.put_bundle(bundle("b.test", &one, 2), Put::Newer);
        older.await.unwrap();
        let older = store.put_bundle(bundle("b.test", &two, 1), Put::Newer);
        assert!(matches!(older.await, Err(StoreError::Rollback { .. })));
    })
    .await;
}

#[tokio::test]
async fn each_change_of_a_relationship_is_told() {
    on_each(async |site| {
        let store = site.open().await;
        let (by, first) = (with("a.test"), bundle("a.test", &root("a", at(0)), 1));
        store
            .create_relationship(&by, Some(first.clone()))
            .await
            .unwrap();
        store
            .record_fetch(&by, Some(first), succeeded(1))
            .await
            .unwrap();
        store.replace_relationship(&by, None).await.unwrap();
        store.delete_relationship(&td("a.test")).await.unwrap();
        let told = store.changes_since(FeedRevision(0), 10).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|change| change.subject).collect();
        let (relationship, bundle) = (
            Changed::Relationship(td("a.test")),
            Changed::Bundle(td("a.test")),
        );
        let expected = [
            relationship.clone(),
            // Told once: what was fetched is what was there.
            bundle,
            relationship.clone(),
            relationship.clone(),
            relationship,
        ];
        assert_eq!(told, expected);
    })
    .await;
}
