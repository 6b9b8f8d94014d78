use spiffe_issuer::domain::{
    AttestedNode, EntryFilter, Match, Matching, NewEntry, NodeFilter, Page, SelectorSet,
};
use spiffe_issuer::server::store::{DataStore, StoreError};

use crate::{at, create, entry, id, node, on_each, selectors, serial, svid};

async fn found(store: &dyn DataStore, filter: &NodeFilter) -> Vec<String> {
    let listed = store.list_nodes(filter, &Page::ALL).await.unwrap();
    let count = store.count_nodes(filter).await.unwrap();
    assert_eq!(count, listed.items.len() as u64);
    let name = |node: &AttestedNode| node.id.as_str().rsplit('/').next().unwrap().to_owned();
    listed.items.iter().map(name).collect()
}

#[tokio::test]
async fn a_node_comes_back_as_it_was_also_after_a_restart() {
    on_each(async |site| {
        let store = site.open().await;
        let admitted = store.admit(node("a", 1), None, at(0)).await.unwrap();
        assert_eq!(admitted, node("a", 1));
        let read = site.open().await.find_node(&admitted.id).await.unwrap();
        assert_eq!(read, Some(admitted));
    })
    .await;
}

#[tokio::test]
async fn attesting_again_keeps_the_old_serial_until_the_new_one_is_used() {
    on_each(async |site| {
        let store = site.open().await;
        store.admit(node("a", 1), None, at(0)).await.unwrap();
        let mut again = node("a", 2);
        again.authority = svid(2, at(7200)).authority;
        again.expires_at = at(7200);
        again.selectors = selectors(&["x509pop:cn:b"]);
        let known = store.admit(again.clone(), None, at(10)).await.unwrap();
        assert_eq!(known.serial, Some(serial(1)));
        assert_eq!(known.expires_at, at(3600));
        assert_eq!(known.renewed, Some(svid(2, at(7200))));
        assert_eq!(known.selectors, again.selectors);
        assert_eq!(
            store.find_node(&known.id).await.unwrap(),
            Some(known.clone())
        );

        let active = store.activate_renewed(&known.id, &serial(2)).await.unwrap();
        assert_eq!(active.serial, Some(serial(2)));
        assert_eq!((active.expires_at, active.renewed), (at(7200), None));
        assert_eq!(active.authority, again.authority);
    })
    .await;
}

#[tokio::test]
async fn only_the_renewed_serial_is_activated() {
    on_each(async |site| {
        let store = site.open().await;
        let a = store.admit(node("a", 1), None, at(0)).await.unwrap();
        store.renew_node(&a.id, svid(2, at(9))).await.unwrap();
        store.renew_node(&a.id, svid(3, at(99))).await.unwrap();
        let other = store.activate_renewed(&a.id, &serial(2)).await.unwrap();
        assert_eq!(other.serial, Some(serial(1)));
        assert_eq!(other.renewed, Some(svid(3, at(99))));
        let new = store.activate_renewed(&a.id, &serial(3)).await.unwrap();
        assert_eq!((new.serial, new.expires_at), (Some(serial(3)), at(99)));
    })
    .await;
}

#[tokio::test]
async fn a_banned_node_stays_known_and_is_let_in_by_nothing() {
    on_each(async |site| {
        let store = site.open().await;
        let a = store.admit(node("a", 1), None, at(0)).await.unwrap();
        store.renew_node(&a.id, svid(2, at(9))).await.unwrap();
        store.ban_node(&a.id).await.unwrap();
        let banned = store.find_node(&a.id).await.unwrap().unwrap();
        assert!(banned.is_banned());
        assert_eq!(banned.renewed, None);
        for refused in [
            store.admit(node("a", 3), None, at(1)).await.map(drop),
            store.renew_node(&a.id, svid(4, at(9))).await,
        ] {
            assert!(matches!(refused, Err(StoreError::NodeBanned)));
        }
        let still = store.activate_renewed(&a.id, &serial(2)).await.unwrap();
        assert!(still.is_banned());

        // Evicted, it may attest again.
        store.delete_node(&a.id).await.unwrap();
        assert!(store.admit(node("a", 5), None, at(2)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_of_an_unknown_node_is_refused() {
    on_each(async |site| {
        let store = site.open().await;
        let nobody = id("/spire/agent/x509pop/nobody");
        for refused in [
            store.renew_node(&nobody, svid(1, at(0))).await,
            store.ban_node(&nobody).await,
            store.set_agent_version(&nobody, "1").await,
            store.activate_renewed(&nobody, &serial(1)).await.map(drop),
        ] {
            assert!(matches!(refused, Err(StoreError::NotFound)));
        }
        assert_eq!(store.find_node(&nobody).await.unwrap(), None);
        assert_eq!(store.delete_node(&nobody).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn the_version_that_an_agent_tells_stays_when_it_attests_again() {
    on_each(async |site| {
        let store = site.open().await;
        let a = store.admit(node("a", 1), None, at(0)).await.unwrap();
        store.set_agent_version(&a.id, "1.15.3").await.unwrap();
        let again = store.admit(node("a", 2), None, at(0)).await.unwrap();
        assert_eq!(again.agent_version, "1.15.3");
    })
    .await;
}

#[tokio::test]
async fn filters_narrow_what_is_listed_and_counted() {
    on_each(async |site| {
        let store = site.open().await;
        let mut other = node("b", 2);
        other.attestation_type = "join_token".to_owned();
        other.can_reattest = false;
        other.selectors = SelectorSet::new();
        other.expires_at = at(50);
        for node in [node("a", 1), other, node("c", 3)] {
            store.admit(node, None, at(0)).await.unwrap();
        }
        let c = id("/spire/agent/x509pop/c");
        store.ban_node(&c).await.unwrap();

        let none = NodeFilter::default;
        let matching = |texts: &[&str], how| NodeFilter {
            selectors: Some(Matching {
                set: selectors(texts),
                how,
            }),
            ..none()
        };
        for (filter, names) in [
            (none(), &["a", "b", "c"][..]),
            (
                NodeFilter {
                    attestation_type: Some("join_token".into()),
                    ..none()
                },
                &["b"],
            ),
            (
                NodeFilter {
                    banned: Some(true),
                    ..none()
                },
                &["c"],
            ),
            (
                NodeFilter {
                    banned: Some(false),
                    ..none()
                },
                &["a", "b"],
            ),
            (
                NodeFilter {
                    can_reattest: Some(false),
                    ..none()
                },
                &["b"],
            ),
            (
                NodeFilter {
                    can_reattest: Some(true),
                    ..none()
                },
                &["a", "c"],
            ),
            (
                NodeFilter {
                    expires_before: Some(at(51)),
                    ..none()
                },
                &["b"],
            ),
            (matching(&["x509pop:cn:a"], Match::Superset), &["a", "c"]),
            (matching(&["x509pop:cn:a"], Match::Exact), &[]),
        ] {
            assert_eq!(found(&*store, &filter).await, names, "{filter:?}");
        }
        let first = store.list_nodes(&none(), &Page::first(2)).await.unwrap();
        let rest = Page::after(first.next.unwrap(), 2);
        let rest = store.list_nodes(&none(), &rest).await.unwrap();
        assert_eq!((rest.items[0].id.clone(), rest.next), (c, None));
    })
    .await;
}

#[tokio::test]
async fn deleting_a_node_takes_its_alias_and_leaves_other_entries() {
    on_each(async |site| {
        let store = site.open().await;
        let agent = "/spire/agent/join_token/t";
        let alias = format!("spiffe_id:spiffe://td{agent}");
        let mut admitted = node("x", 1);
        admitted.id = id(agent);
        store.admit(admitted, None, at(0)).await.unwrap();
        create(&*store, entry("/alias", agent, &[&alias])).await;
        create(&*store, entry("/workload", agent, &["unix:uid:0"])).await;
        let more = NewEntry {
            ..entry("/more", agent, &[&alias, "unix:uid:0"])
        };
        create(&*store, more).await;

        assert!(store.delete_node(&id(agent)).await.unwrap().is_some());
        let all = EntryFilter::default();
        let left = store.list_entries(&all, &Page::ALL).await.unwrap();
        let left: Vec<_> = left.items.iter().map(|e| e.body.spiffe_id.path()).collect();
        assert_eq!(left, ["/workload", "/more"]);
    })
    .await;
}
