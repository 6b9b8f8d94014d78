use std::collections::BTreeSet;
use std::time::Duration;

use spiffe_core::x509::Certificate;
use spiffe_issuer::domain::{AuthorityId, EntryFilter, NewEntry, Page, Revision};
use spiffe_issuer::server::store::{
    DataStore, Dissolve, JournalId, JournalWrite, Put, StoreError, StoredBundle, X509Authority,
};

use crate::{at, create, entry, on_each, root, td};

fn bundle(name: &str, certificates: &[&Certificate]) -> StoredBundle {
    let authority = |certificate: &&Certificate| X509Authority {
        certificate: (*certificate).clone(),
        tainted: false,
    };
    StoredBundle {
        trust_domain: td(name),
        x509_authorities: certificates.iter().map(authority).collect(),
        refresh_hint: Duration::from_secs(300),
        sequence_number: 7,
    }
}

#[tokio::test]
async fn a_bundle_comes_back_as_it_was_also_after_a_restart() {
    on_each(async |site| {
        let (a, b) = (root("a", at(0)), root("b", at(0)));
        let mut put = bundle("a.test", &[&a, &b]);
        put.x509_authorities[1].tainted = true;
        put.sequence_number = u64::MAX;
        let store = site.open().await;
        store.put_bundle(put.clone(), Put::Set).await.unwrap();
        let read = site.open().await.find_bundle(&td("a.test")).await.unwrap();
        assert_eq!(read, Some(put));
        assert_eq!(store.find_bundle(&td("b.test")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_bundle_is_put_as_it_is_meant() {
    on_each(async |site| {
        let store = site.open().await;
        let put = |how| store.put_bundle(bundle("a.test", &[]), how);
        assert!(matches!(put(Put::Replace).await, Err(StoreError::NotFound)));
        put(Put::Create).await.unwrap();
        assert!(matches!(put(Put::Create).await, Err(StoreError::Exists)));
        put(Put::Replace).await.unwrap();
        put(Put::Set).await.unwrap();
        assert_eq!(store.count_bundles().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn appending_raises_the_sequence_only_for_what_is_new() {
    on_each(async |site| {
        let store = site.open().await;
        let (a, b) = (root("a", at(0)), root("b", at(0)));
        for (authorities, sequence, count) in [
            (vec![a.clone()], 1, 1),
            (vec![a.clone()], 1, 1),
            (vec![a.clone(), b.clone(), b.clone()], 2, 2),
            (vec![], 2, 2),
        ] {
            let bundle = store
                .append_authorities(&td("td"), &authorities)
                .await
                .unwrap();
            assert_eq!(bundle.sequence_number, sequence);
            assert_eq!(bundle.x509_authorities.len(), count);
            assert_eq!(store.find_bundle(&td("td")).await.unwrap(), Some(bundle));
        }
    })
    .await;
}

// conformance: FD-3+ FD-3-
#[tokio::test]
async fn pruning_takes_expired_authorities_but_never_the_last() {
    on_each(async |site| {
        let store = site.open().await;
        let (old, new) = (root("old", at(10)), root("new", at(100)));
        let both = [old.clone(), new.clone()];
        store.append_authorities(&td("td"), &both).await.unwrap();
        assert!(
            store
                .prune_authorities(&td("td"), at(10))
                .await
                .unwrap()
                .is_empty()
        );
        let gone = store.prune_authorities(&td("td"), at(11)).await.unwrap();
        assert_eq!(gone, [old]);
        let bundle = store.find_bundle(&td("td")).await.unwrap().unwrap();
        assert_eq!(bundle.sequence_number, 2);
        assert!(
            store
                .prune_authorities(&td("td"), at(101))
                .await
                .unwrap()
                .is_empty()
        );
        let same = store.find_bundle(&td("td")).await.unwrap();
        assert_eq!(same, Some(bundle));
        assert!(
            store
                .prune_authorities(&td("none"), at(0))
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn bundles_are_listed_in_pages() {
    on_each(async |site| {
        let store = site.open().await;
        for name in ["c.test", "a.test", "b.test"] {
            let put = bundle(name, &[]);
            store.put_bundle(put, Put::Create).await.unwrap();
        }
        // Replacing one does not move it.
        let put = bundle("c.test", &[]);
        store.put_bundle(put, Put::Set).await.unwrap();
        let first = store.list_bundles(&Page::first(2)).await.unwrap();
        let names = |bundles: &[StoredBundle]| -> Vec<_> {
            bundles.iter().map(|b| b.trust_domain.to_string()).collect()
        };
        assert_eq!(names(&first.items), ["c.test", "a.test"]);
        let rest = Page::after(first.next.unwrap(), 2);
        let rest = store.list_bundles(&rest).await.unwrap();
        assert_eq!(
            (names(&rest.items), rest.next),
            (vec!["b.test".to_owned()], None)
        );
    })
    .await;
}

async fn federated(store: &dyn DataStore) -> NewEntry {
    for name in ["a.test", "b.test"] {
        let put = bundle(name, &[]);
        store.put_bundle(put, Put::Create).await.unwrap();
    }
    let body = NewEntry {
        federates_with: BTreeSet::from([td("a.test"), td("b.test")]),
        ..entry("/a", "/p", &["t:a"])
    };
    create(store, body.clone()).await;
    body
}

#[tokio::test]
async fn deleting_a_bundle_does_with_its_entries_what_was_asked() {
    on_each(async |site| {
        let store = site.open().await;
        let body = federated(&*store).await;
        let refused = store.delete_bundle(&td("a.test"), Dissolve::Restrict).await;
        assert!(matches!(refused, Err(StoreError::InUse(1))));
        assert!(store.find_bundle(&td("a.test")).await.unwrap().is_some());

        assert!(
            store
                .delete_bundle(&td("a.test"), Dissolve::Dissociate)
                .await
                .unwrap()
        );
        let all = EntryFilter::default();
        let entries = store.list_entries(&all, &Page::ALL).await.unwrap().items;
        assert_eq!(
            entries[0].body.federates_with,
            BTreeSet::from([td("b.test")])
        );
        assert_eq!(entries[0].body.selectors, body.selectors);
        assert_eq!(entries[0].revision, Revision(1));

        assert!(
            store
                .delete_bundle(&td("b.test"), Dissolve::Delete)
                .await
                .unwrap()
        );
        assert_eq!(store.count_entries(&all).await.unwrap(), 0);
        assert!(
            !store
                .delete_bundle(&td("b.test"), Dissolve::Restrict)
                .await
                .unwrap()
        );
    })
    .await;
}

#[tokio::test]
async fn a_journal_is_found_by_its_active_authority_and_published_with_its_roots() {
    on_each(async |site| {
        let store = site.open().await;
        let ids = ["aa", "bb", "cc"].map(AuthorityId::from_text);
        let certificate = root("a", at(0));
        let own = td("td");
        let write = |id, found_by, body, publishes| JournalWrite {
            id,
            found_by,
            body,
            trust_domain: &own,
            publishes,
        };
        let root = std::slice::from_ref(&certificate);
        let first = write(None, &ids[0], b"one", root);
        let first = store.write_journal(first).await.unwrap();
        let bundle = store.find_bundle(&own).await.unwrap().unwrap();
        assert_eq!(bundle.x509_authorities[0].certificate, certificate);

        let second = write(None, &ids[1], b"two", &[]);
        store.write_journal(second).await.unwrap();
        let moved = write(Some(first), &ids[2], b"three", &[]);
        assert_eq!(store.write_journal(moved).await.unwrap(), first);

        let store = site.open().await;
        let found = async |ids: &[AuthorityId]| store.find_journal(ids).await.unwrap();
        assert_eq!(found(&ids[..1]).await, None);
        assert_eq!(found(&ids[1..2]).await.unwrap().body, b"two");
        let third = found(&[ids[0].clone(), ids[2].clone()]).await.unwrap();
        assert_eq!((third.id, &third.body[..]), (first, &b"three"[..]));
        assert_eq!(found(&[]).await, None);

        let lost = write(Some(JournalId(99)), &ids[0], b"", root);
        let lost = store.write_journal(lost).await.unwrap_err();
        assert!(matches!(lost, StoreError::NotFound));
    })
    .await;
}
