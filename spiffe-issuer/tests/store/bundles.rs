use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use spiffe_core::x509::{Certificate, KeyKind, PrivateKey};
use spiffe_issuer::domain::{
    AuthorityId, AuthorityKind, EntryFilter, NewEntry, NodeFilter, Page, Revision, TokenAuthority,
};
use spiffe_issuer::server::store::{
    AuthorityList, DataStore, Dissolve, JournalId, JournalWrite, Put, StoreError, StoredBundle,
    X509Authority,
};

use crate::{at, create, entry, node, on_each, root, svid, td};

fn bundle(name: &str, certificates: &[&Certificate]) -> StoredBundle {
    let authority = |certificate: &&Certificate| X509Authority {
        certificate: (*certificate).clone(),
        tainted: false,
    };
    StoredBundle {
        x509_authorities: certificates.iter().map(authority).collect(),
        refresh_hint: Duration::from_secs(300),
        sequence_number: 7,
        ..StoredBundle::empty(td(name))
    }
}

fn key(key_id: &str, expires_at: Option<SystemTime>) -> TokenAuthority {
    let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
    TokenAuthority {
        key_id: key_id.to_owned(),
        public_key: key.public_key().clone(),
        expires_at,
        tainted: false,
    }
}

#[tokio::test]
async fn a_bundle_comes_back_as_it_was_also_after_a_restart() {
    on_each(async |site| {
        let (a, b) = (root("a", at(0)), root("b", at(0)));
        let mut put = bundle("a.test", &[&a, &b]);
        put.x509_authorities[1].tainted = true;
        put.jwt_authorities = vec![key("one", Some(at(9))), key("two", None)];
        put.jwt_authorities[1].tainted = true;
        put.wit_authorities = vec![key("three", None)];
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
                .append_authorities(&td("td"), &authorities.into())
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
        let both = both.to_vec().into();
        store.append_authorities(&td("td"), &both).await.unwrap();
        assert!(
            store
                .prune_authorities(&td("td"), at(10))
                .await
                .unwrap()
                .is_empty()
        );
        let gone = store.prune_authorities(&td("td"), at(11)).await.unwrap();
        assert_eq!(gone.x509, [old]);
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
async fn keys_of_tokens_come_once_under_each_id_and_go_when_they_end() {
    on_each(async |site| {
        let store = site.open().await;
        let (old, new) = (key("old", Some(at(10))), key("new", Some(at(100))));
        let forever = key("forever", None);
        let list = |jwt: &[&TokenAuthority], wit: &[&TokenAuthority]| AuthorityList {
            jwt: jwt.iter().copied().cloned().collect(),
            wit: wit.iter().copied().cloned().collect(),
            ..AuthorityList::default()
        };
        let append = async |list| store.append_authorities(&td("td"), &list).await;
        append(list(&[&old, &new], &[&old, &forever]))
            .await
            .unwrap();
        let bundle = append(list(&[&new], &[])).await.unwrap();
        assert_eq!(bundle.sequence_number, 1);
        let impostor = append(list(&[&key("new", None)], &[])).await;
        assert!(matches!(impostor, Err(StoreError::KeyIdTaken(id)) if id == "new"));

        let gone = store.prune_authorities(&td("td"), at(11)).await.unwrap();
        assert_eq!(gone, list(&[&old], &[&old]));
        let gone = store.prune_authorities(&td("td"), at(101)).await.unwrap();
        assert!(gone.is_empty(), "the last key stays");
        let bundle = store.find_bundle(&td("td")).await.unwrap().unwrap();
        assert_eq!(
            (bundle.jwt_authorities, bundle.wit_authorities),
            (vec![new], vec![forever])
        );
    })
    .await;
}

#[tokio::test]
async fn an_authority_is_tainted_once_and_revoked_only_then() {
    on_each(async |site| {
        let store = site.open().await;
        let (a, b) = (root("a", at(0)), root("b", at(0)));
        let name = |root: &Certificate| AuthorityId::from_key_id(root.subject_key_id().unwrap());
        let list = AuthorityList {
            x509: vec![a.clone(), b.clone()],
            jwt: vec![key("a", None), key("b", None)],
            wit: vec![key("a", None), key("b", None)],
        };
        store.append_authorities(&td("td"), &list).await.unwrap();
        let nobody = AuthorityId::from_text("nobody");
        let mut sequence = 1;
        for (kind, id) in [
            (AuthorityKind::X509, name(&a)),
            (AuthorityKind::Jwt, AuthorityId::from_text("a")),
            (AuthorityKind::Wit, AuthorityId::from_text("a")),
        ] {
            let own = td("td");
            let taint = async |id| store.taint_authority(&own, kind, id).await;
            let revoke = async |id| store.revoke_authority(&own, kind, id).await;
            match taint(&nobody).await {
                Err(StoreError::NoRootToTaint) => assert_eq!(kind, AuthorityKind::X509),
                Err(StoreError::NoAuthority(k)) if k != AuthorityKind::X509 => assert_eq!(k, kind),
                other => panic!("{other:?}"),
            }
            assert!(matches!(revoke(&nobody).await, Err(StoreError::NoAuthority(k)) if k == kind));
            assert!(matches!(revoke(&id).await, Err(StoreError::Untainted(k)) if k == kind));
            taint(&id).await.unwrap();
            assert!(matches!(taint(&id).await, Err(StoreError::AlreadyTainted(k)) if k == kind));
            let bundle = store.find_bundle(&td("td")).await.unwrap().unwrap();
            sequence += 1;
            assert_eq!(bundle.sequence_number, sequence);
            revoke(&id).await.unwrap();
            sequence += 1;
        }
        let bundle = store.find_bundle(&td("td")).await.unwrap().unwrap();
        assert_eq!(bundle.sequence_number, sequence);
        let left: Vec<_> = bundle
            .x509_authorities
            .iter()
            .map(|x| name(&x.certificate))
            .collect();
        assert_eq!(left, [name(&b)]);
        for keys in [bundle.jwt_authorities, bundle.wit_authorities] {
            let left: Vec<_> = keys.iter().map(|key| &*key.key_id).collect();
            assert_eq!(left, ["b"]);
        }
        let missing = store
            .taint_authority(&td("none"), AuthorityKind::X509, &name(&a))
            .await;
        let missing = missing.unwrap_err().to_string();
        assert_eq!(missing, "no ca found with provided subject key ID");
    })
    .await;
}

#[tokio::test]
async fn nodes_are_found_by_the_authority_of_what_they_hold() {
    on_each(async |site| {
        let store = site.open().await;
        for name in ["renewed", "plain", "banned"] {
            store.admit(node(name, 1), None, at(0)).await.unwrap();
        }
        store
            .renew_node(&node("renewed", 1).id, svid(2, at(7200)))
            .await
            .unwrap();
        store.ban_node(&node("banned", 1).id).await.unwrap();
        for (authority, second, found) in [
            ("aa", 0, vec!["renewed", "plain"]),
            ("aa", 3600, vec![]),
            ("bb", 0, vec!["renewed"]),
            ("bb", 7200, vec![]),
            ("cc", 0, vec![]),
        ] {
            let holds = Some((AuthorityId::from_text(authority), at(second)));
            let filter = NodeFilter {
                holds,
                ..NodeFilter::default()
            };
            let nodes = store.list_nodes(&filter, &Page::ALL).await.unwrap().items;
            let names: Vec<_> = nodes
                .iter()
                .map(|n| n.id.path().rsplit('/').next().unwrap())
                .collect();
            assert_eq!(names, found, "{authority} at {second}");
        }
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
        let (root, nothing) = (vec![certificate.clone()].into(), AuthorityList::default());
        let first = write(None, &ids[0], b"one", &root);
        let first = store.write_journal(first).await.unwrap();
        let bundle = store.find_bundle(&own).await.unwrap().unwrap();
        assert_eq!(bundle.x509_authorities[0].certificate, certificate);

        let second = write(None, &ids[1], b"two", &nothing);
        store.write_journal(second).await.unwrap();
        let moved = write(Some(first), &ids[2], b"three", &nothing);
        assert_eq!(store.write_journal(moved).await.unwrap(), first);

        let store = site.open().await;
        let found = async |ids: &[AuthorityId]| store.find_journal(ids).await.unwrap();
        assert_eq!(found(&ids[..1]).await, None);
        assert_eq!(found(&ids[1..2]).await.unwrap().body, b"two");
        let third = found(&[ids[0].clone(), ids[2].clone()]).await.unwrap();
        assert_eq!((third.id, &third.body[..]), (first, &b"three"[..]));
        assert_eq!(found(&[]).await, None);

        let lost = write(Some(JournalId(99)), &ids[0], b"", &root);
        let lost = store.write_journal(lost).await.unwrap_err();
        assert!(matches!(lost, StoreError::NotFound));
    })
    .await;
}
