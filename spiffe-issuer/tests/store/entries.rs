use std::collections::BTreeSet;
use std::time::Duration;

use spiffe_issuer::domain::{
    Cursor, Entry, EntryFilter, EntryId, Hint, Match, Matching, NewEntry, Page, Revision,
};
use spiffe_issuer::server::store::{Created, DataStore, Put, StoreError, StoredBundle};

use crate::{at, create, entry, id, on_each, selectors, td};

/// An entry that says all that an entry can say.
fn full() -> NewEntry {
    NewEntry {
        id: Some("my-entry".parse().unwrap()),
        x509_svid_ttl: Some(Duration::from_secs(600)),
        jwt_svid_ttl: Some(Duration::from_secs(60)),
        federates_with: BTreeSet::from([td("a.test"), td("b.test")]),
        admin: true,
        downstream: true,
        expires_at: Some(at(100)),
        dns_names: vec!["b.test".to_owned(), "a.test".to_owned()],
        store_svid: true,
        hint: Hint::new("a 'hint'").unwrap(),
        disable_x509_svid_prefetch: true,
        jwt_svid_include_jti: true,
        ..entry("/full", "/p", &["unix:uid:0", "k8s:ns:a:b"])
    }
}

async fn federate(store: &dyn DataStore, names: &[&str]) {
    for name in names {
        let bundle = StoredBundle::empty(td(name));
        store.put_bundle(bundle, Put::Set).await.unwrap();
    }
}

async fn found(store: &dyn DataStore, filter: &EntryFilter) -> Vec<String> {
    let listed = store.list_entries(filter, &Page::ALL).await.unwrap();
    let count = store.count_entries(filter).await.unwrap();
    assert_eq!(count, listed.items.len() as u64);
    let path = |entry: &Entry| entry.body.spiffe_id.path().to_owned();
    listed.items.iter().map(path).collect()
}

#[tokio::test]
async fn an_entry_comes_back_as_it_was_also_after_a_restart() {
    on_each(async |site| {
        let store = site.open().await;
        federate(&*store, &["a.test", "b.test"]).await;
        let made = create(&*store, full()).await;
        assert_eq!(made.id.as_str(), "my-entry");
        assert_eq!((made.revision, made.created_at), (Revision(0), at(0)));
        assert_eq!(made.body, NewEntry { id: None, ..full() });

        let read = site.open().await.find_entry(&made.id).await.unwrap();
        assert_eq!(read, Some(made));
    })
    .await;
}

#[tokio::test]
async fn an_entry_without_an_id_gets_one() {
    on_each(async |site| {
        let store = site.open().await;
        let a = create(&*store, entry("/a", "/p", &["unix:uid:0"])).await;
        let b = create(&*store, entry("/b", "/p", &["unix:uid:0"])).await;
        assert_ne!(a.id, b.id);
    })
    .await;
}

#[tokio::test]
async fn duplicates_return_the_existing_entry() {
    on_each(async |site| {
        let store = site.open().await;
        let body = entry("/a", "/p", &["unix:uid:0", "unix:gid:0"]);
        let made = create(&*store, body.clone()).await;
        let again = NewEntry {
            admin: true,
            id: Some("other".parse().unwrap()),
            ..body.clone()
        };
        let twice = store.create_entries(vec![again, body.clone()], at(9)).await;
        let existing = Created::Existing(made);
        assert_eq!(twice.unwrap(), [existing.clone(), existing]);

        for other in [
            entry("/b", "/p", &["unix:uid:0", "unix:gid:0"]),
            entry("/a", "/q", &["unix:uid:0", "unix:gid:0"]),
            entry("/a", "/p", &["unix:uid:0"]),
            entry("/a", "/p", &["unix:uid:0", "unix:gid:0", "unix:gid:1"]),
            entry("/a", "/p", &["unix:uid:0\",\"unix:gid:0"]),
        ] {
            create(&*store, other).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_tells_of_each_what_came_of_it() {
    on_each(async |site| {
        let store = site.open().await;
        let named = |path: &str, name: &str| NewEntry {
            id: Some(name.parse().unwrap()),
            ..entry(path, "/p", &["unix:uid:0"])
        };
        let federated = NewEntry {
            federates_with: BTreeSet::from([td("a.test")]),
            ..entry("/f", "/p", &["unix:uid:0"])
        };
        let batch = vec![
            named("/a", "one"),
            named("/b", "one"),
            named("/a", "two"),
            federated,
            named("/c", "two"),
        ];
        let created = store.create_entries(batch, at(0)).await.unwrap();
        assert!(matches!(&created[0], Created::New(e) if e.id.as_str() == "one"));
        assert_eq!(created[1], Created::IdTaken);
        assert!(matches!(&created[2], Created::Existing(e) if e.id.as_str() == "one"));
        assert_eq!(created[3], Created::NoBundle(td("a.test")));
        assert!(matches!(&created[4], Created::New(e) if e.id.as_str() == "two"));
        assert_eq!(found(&*store, &EntryFilter::default()).await, ["/a", "/c"]);
    })
    .await;
}

#[tokio::test]
async fn an_entry_is_replaced_only_at_the_revision_it_was_read_at() {
    on_each(async |site| {
        let store = site.open().await;
        let first = create(&*store, entry("/a", "/p", &["unix:uid:0"])).await;
        create(&*store, entry("/b", "/p", &["unix:uid:0"])).await;
        let mut changed = first.clone();
        changed.body.selectors = selectors(&["unix:uid:1"]);
        changed.body.admin = true;
        changed.created_at = at(77);
        let replaced = store.replace_entry(changed.clone()).await.unwrap();
        assert_eq!(replaced.revision, Revision(1));
        assert_eq!(replaced.created_at, first.created_at);
        assert_eq!(replaced.body, changed.body);
        assert_eq!(
            store.find_entry(&first.id).await.unwrap(),
            Some(replaced.clone())
        );

        let late = store.replace_entry(first.clone()).await.unwrap_err();
        assert!(matches!(late, StoreError::Conflict));
        let mut foreign = replaced.clone();
        foreign.body.federates_with = BTreeSet::from([td("a.test")]);
        let foreign = store.replace_entry(foreign).await.unwrap_err();
        assert!(matches!(foreign, StoreError::NoBundle(missing) if missing == td("a.test")));
        assert_eq!(found(&*store, &EntryFilter::default()).await, ["/a", "/b"]);

        store.delete_entry(&first.id).await.unwrap();
        let gone = store.replace_entry(replaced).await.unwrap_err();
        assert!(matches!(gone, StoreError::NotFound));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_entry_is_told_once_and_gone() {
    on_each(async |site| {
        let store = site.open().await;
        let made = create(&*store, entry("/a", "/p", &["unix:uid:0"])).await;
        let deleted = store.delete_entry(&made.id).await.unwrap();
        assert_eq!(deleted.as_ref(), Some(&made));
        assert_eq!(store.delete_entry(&made.id).await.unwrap(), None);
        assert_eq!(store.find_entry(&made.id).await.unwrap(), None);
        // What it was searched by is gone with it.
        create(&*store, entry("/a", "/p", &["unix:uid:0"])).await;
        let filter = EntryFilter {
            selectors: Some(Matching {
                set: selectors(&["unix:uid:0"]),
                how: Match::Any,
            }),
            ..EntryFilter::default()
        };
        assert_eq!(found(&*store, &filter).await, ["/a"]);
    })
    .await;
}

#[tokio::test]
async fn filters_by_selectors_are_set_relations() {
    on_each(async |site| {
        let store = site.open().await;
        for (path, texts) in [
            ("/a", &["t:a"][..]),
            ("/ab", &["t:a", "t:b"]),
            ("/abc", &["t:a", "t:b", "t:c"]),
            ("/d", &["t:d"]),
            // The same characters with the border elsewhere.
            ("/x", &["t:a:b"]),
        ] {
            create(&*store, entry(path, "/p", texts)).await;
        }
        for (how, asked, paths) in [
            (Match::Exact, &["t:a", "t:b"][..], &["/ab"][..]),
            (Match::Subset, &["t:a", "t:b"], &["/a", "/ab"]),
            (Match::Superset, &["t:a", "t:b"], &["/ab", "/abc"]),
            (Match::Any, &["t:b", "t:d"], &["/ab", "/abc", "/d"]),
            (Match::Any, &["t:z"], &[]),
            (Match::Exact, &[], &[]),
            (Match::Subset, &[], &[]),
        ] {
            let filter = EntryFilter {
                selectors: Some(Matching {
                    set: selectors(asked),
                    how,
                }),
                ..EntryFilter::default()
            };
            assert_eq!(found(&*store, &filter).await, paths, "{how:?} {asked:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn filters_narrow_what_is_listed_and_counted() {
    on_each(async |site| {
        let store = site.open().await;
        federate(&*store, &["a.test", "b.test"]).await;
        create(&*store, entry("/a", "/p", &["t:a"])).await;
        create(&*store, entry("/b", "/q", &["t:a"])).await;
        create(&*store, full()).await;
        let none = EntryFilter::default;
        let federates = |names: &[&str], how| EntryFilter {
            federates_with: Some(Matching {
                set: names.iter().copied().map(td).collect(),
                how,
            }),
            ..none()
        };
        for (filter, paths) in [
            (none(), &["/a", "/b", "/full"][..]),
            (
                EntryFilter {
                    spiffe_id: Some(id("/a")),
                    ..none()
                },
                &["/a"],
            ),
            (
                EntryFilter {
                    parent_id: Some(id("/p")),
                    ..none()
                },
                &["/a", "/full"],
            ),
            (
                EntryFilter {
                    downstream: Some(true),
                    ..none()
                },
                &["/full"],
            ),
            (
                EntryFilter {
                    downstream: Some(false),
                    ..none()
                },
                &["/a", "/b"],
            ),
            (
                EntryFilter {
                    hint: Hint::new("a 'hint'"),
                    ..none()
                },
                &["/full"],
            ),
            (
                EntryFilter {
                    hint: Hint::new("a hint"),
                    ..none()
                },
                &[],
            ),
            (federates(&["a.test"], Match::Any), &["/full"]),
            (federates(&["a.test"], Match::Superset), &["/full"]),
            (federates(&["a.test"], Match::Exact), &[]),
            (federates(&["a.test", "b.test"], Match::Exact), &["/full"]),
            (
                federates(&["a.test", "b.test", "c.test"], Match::Subset),
                &["/full"],
            ),
            (
                EntryFilter {
                    parent_id: Some(id("/p")),
                    spiffe_id: Some(id("/b")),
                    ..none()
                },
                &[],
            ),
        ] {
            assert_eq!(found(&*store, &filter).await, paths, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_hold_every_entry_once_though_some_go_meanwhile() {
    on_each(async |site| {
        let store = site.open().await;
        let mut made = Vec::new();
        for n in 0..7 {
            made.push(create(&*store, entry(&format!("/{n}"), "/p", &["t:a"])).await);
        }
        let all = EntryFilter::default();
        let mut seen = Vec::new();
        let mut page = Page::first(3);
        loop {
            let read = store.list_entries(&all, &page).await.unwrap();
            assert!(read.items.len() <= 3);
            seen.extend(read.items.iter().map(|entry| entry.id.clone()));
            let Some(next) = read.next else { break };
            // Also where the entry that the page ended with goes.
            let last: &EntryId = seen.last().unwrap();
            store.delete_entry(last).await.unwrap();
            let token: Cursor = next.to_string().parse().unwrap();
            page = Page::after(token, 3);
        }
        let made: Vec<_> = made.into_iter().map(|entry| entry.id).collect();
        assert_eq!(seen, made);
    })
    .await;
}

#[tokio::test]
async fn the_last_full_page_says_that_it_is_the_last() {
    on_each(async |site| {
        let store = site.open().await;
        for n in 0..4 {
            create(&*store, entry(&format!("/{n}"), "/p", &["t:a"])).await;
        }
        let all = EntryFilter::default();
        let first = store.list_entries(&all, &Page::first(2)).await.unwrap();
        let second = Page::after(first.next.unwrap(), 2);
        let second = store.list_entries(&all, &second).await.unwrap();
        assert_eq!((second.items.len(), second.next), (2, None));
    })
    .await;
}

#[tokio::test]
async fn huge_page_size_is_clamped() {
    on_each(async |site| {
        let store = site.open().await;
        create(&*store, entry("/a", "/p", &["t:a"])).await;
        let all = EntryFilter::default();
        for limit in [usize::MAX, usize::MAX - 1, isize::MAX.unsigned_abs()] {
            let read = store.list_entries(&all, &Page::first(limit)).await.unwrap();
            assert_eq!((read.items.len(), read.next), (1, None), "{limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn pruning_takes_what_has_ended_and_no_more() {
    on_each(async |site| {
        let store = site.open().await;
        for (path, end) in [
            ("/a", Some(10)),
            ("/b", Some(20)),
            ("/c", None),
            ("/d", Some(5)),
        ] {
            let body = NewEntry {
                expires_at: end.map(at),
                ..entry(path, "/p", &["t:a"])
            };
            create(&*store, body).await;
        }
        let first = store.prune_entries(at(15), 1).await.unwrap();
        assert_eq!(first[0].body.spiffe_id, id("/d"));
        let rest = store.prune_entries(at(15), 10).await.unwrap();
        assert_eq!(rest[0].body.spiffe_id, id("/a"));
        assert!(store.prune_entries(at(15), 10).await.unwrap().is_empty());
        assert_eq!(found(&*store, &EntryFilter::default()).await, ["/b", "/c"]);
    })
    .await;
}
