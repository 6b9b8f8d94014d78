//! Entries in a store of their own.

use std::collections::BTreeSet;
use std::time::SystemTime;

use spiffe_core::clock::SystemClock;
use spiffe_core::spiffe_id;

use super::*;
use crate::domain::{Revision, SelectorSet};
use crate::server::store::sql::SqlStore;

/// An entry that breaks no rule in the trust domain `td`.
pub(in crate::server) fn entry() -> NewEntry {
    NewEntry::new(
        spiffe_id!("spiffe://td/workload"),
        spiffe_id!("spiffe://td/spire/agent/join_token/a"),
        SelectorSet::from(["unix:uid:1".parse().unwrap()]),
    )
}

async fn entries() -> (Entries, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.sqlite3");
    let at = path.to_str().unwrap().parse().unwrap();
    let store = Arc::new(SqlStore::open(&at).await.unwrap());
    let td = TrustDomain::from_static("td");
    (Entries::new(td, store, Arc::new(SystemClock)), dir)
}

async fn made(entries: &Entries, entry: NewEntry) -> Entry {
    match entries.create(vec![entry]).await.unwrap().remove(0) {
        Ok(MadeEntry::New(entry)) => entry,
        other => panic!("not made: {other:?}"),
    }
}

#[tokio::test]
async fn of_a_batch_each_entry_is_told_its_own_outcome() {
    let (entries, _dir) = entries().await;
    let chosen = |id: &str, path: &str| NewEntry {
        id: Some(id.parse().unwrap()),
        spiffe_id: format!("spiffe://td{path}").parse().unwrap(),
        ..entry()
    };
    let foreign = NewEntry {
        spiffe_id: spiffe_id!("spiffe://other/a"),
        ..entry()
    };
    let federated = NewEntry {
        federates_with: BTreeSet::from([TrustDomain::from_static("other")]),
        ..chosen("f", "/f")
    };
    let outcomes = entries
        .create(vec![
            chosen("a", "/a"),
            foreign,
            chosen("b", "/a"),
            chosen("a", "/b"),
            federated,
            chosen("c", "/c"),
        ])
        .await
        .unwrap();
    let [first, foreign, similar, taken, federated, last] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(matches!(first, Ok(MadeEntry::New(e)) if e.id.as_str() == "a"));
    assert!(matches!(foreign, Err(EntriesError::Rule(_))), "{foreign:?}");
    assert!(matches!(similar, Ok(MadeEntry::Similar(e)) if e.id.as_str() == "a"));
    assert!(matches!(taken, Err(EntriesError::IdTaken)), "{taken:?}");
    let federated = federated.as_ref().unwrap_err();
    assert_eq!(federated.kind(), Kind::Invalid, "{federated:?}");
    assert!(matches!(last, Ok(MadeEntry::New(e)) if e.id.as_str() == "c"));
    assert_eq!(entries.count(&EntryFilter::default()).await.unwrap(), 2);
}

#[tokio::test]
async fn an_update_raises_the_revision_and_keeps_to_the_rules() {
    let (entries, _dir) = entries().await;
    let id = made(&entries, entry()).await.id;
    let change =
        |admin| move |body| -> Result<NewEntry, EntriesError> { Ok(NewEntry { admin, ..body }) };
    let updated = entries.update(&id, change(true)).await.unwrap();
    assert_eq!((updated.revision, updated.body.admin), (Revision(1), true));

    let spoil = |body| -> Result<NewEntry, EntriesError> {
        Ok(NewEntry {
            parent_id: spiffe_id!("spiffe://other/a"),
            ..body
        })
    };
    let refused = entries.update(&id, spoil).await.unwrap_err();
    assert!(matches!(refused, EntriesError::Rule(_)), "{refused:?}");
    assert_eq!(entries.find(&id).await.unwrap(), updated);
}

#[tokio::test]
async fn updates_at_the_same_time_all_count() {
    let (entries, _dir) = entries().await;
    let id = made(&entries, entry()).await.id;
    let name = |name: &'static str| {
        move |body: NewEntry| -> Result<NewEntry, EntriesError> {
            let mut dns_names = body.dns_names.clone();
            dns_names.push(name.to_owned());
            Ok(NewEntry { dns_names, ..body })
        }
    };
    let (a, b, c) = tokio::join!(
        entries.update(&id, name("a")),
        entries.update(&id, name("b")),
        entries.update(&id, name("c")),
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let names: BTreeSet<_> = entries
        .find(&id)
        .await
        .unwrap()
        .body
        .dns_names
        .into_iter()
        .collect();
    assert_eq!(names, ["a", "b", "c"].map(str::to_owned).into());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (entries, _dir) = entries().await;
    let id = EntryId::random();
    let keep = |body| -> Result<NewEntry, EntriesError> { Ok(body) };
    for refused in [
        entries.find(&id).await.unwrap_err(),
        entries.delete(&id).await.unwrap_err(),
        entries.update(&id, keep).await.unwrap_err(),
    ] {
        assert!(matches!(refused, EntriesError::NotFound), "{refused:?}");
    }
    let made = made(&entries, entry()).await;
    assert_eq!(entries.delete(&made.id).await.unwrap(), made);
}

#[tokio::test]
async fn rights_are_those_of_all_entries_that_have_not_ended() {
    let (entries, _dir) = entries().await;
    let id = entry().spiffe_id;
    assert_eq!(entries.rights(&id).await.unwrap(), Rights::default());
    let below = |parent: &str| NewEntry {
        parent_id: format!("spiffe://td/{parent}").parse().unwrap(),
        ..entry()
    };
    made(
        &entries,
        NewEntry {
            admin: true,
            expires_at: Some(SystemTime::UNIX_EPOCH),
            ..below("a")
        },
    )
    .await;
    assert_eq!(entries.rights(&id).await.unwrap(), Rights::default());
    for (parent, admin, downstream) in [("b", true, false), ("c", false, true)] {
        made(
            &entries,
            NewEntry {
                admin,
                downstream,
                ..below(parent)
            },
        )
        .await;
    }
    let all = Rights {
        admin: true,
        downstream: true,
    };
    assert_eq!(entries.rights(&id).await.unwrap(), all);
}
