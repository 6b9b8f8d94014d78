use spiffe_core::TrustBundle;

use super::samples::{Authority, at, entry, selectors};
use super::*;
use crate::domain::{Hint, Revision};

const TD: TrustDomain = TrustDomain::from_static("td");

fn cache(limit: usize) -> Cache {
    Cache::new(TD, limit)
}

/// A changed copy of an entry.
fn but(entry: &Arc<Entry>, change: impl FnOnce(&mut Entry)) -> Arc<Entry> {
    let mut changed = (**entry).clone();
    change(&mut changed);
    Arc::new(changed)
}

fn ids(entries: &[Arc<Entry>]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}

/// Signs all that is to be signed.
fn sign_all(cache: &Cache, now: u64) -> usize {
    let authority = Authority::new();
    let work = cache.work(at(now)).entries;
    let signed = work.iter().map(|entry| {
        let svid = authority.svid(entry, now + 3600);
        (entry.clone(), svid, at(now + 1800))
    });
    cache.signed(signed.collect::<Vec<_>>(), at(now));
    work.len()
}

fn served(rights: &watch::Receiver<Option<Rights>>) -> Vec<String> {
    let rights = rights.borrow();
    let identities = &rights.as_ref().unwrap().identities;
    let served = identities
        .iter()
        .map(|identity| identity.entry.id.to_string());
    served.collect()
}

#[test]
fn nothing_is_known_before_the_first_sync() {
    let cache = cache(10);
    let mut reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    assert!(reader.borrow().is_none());
    cache.sync_bundles(BundleSet::default(), at(0));
    assert!(!reader.has_changed().unwrap());
    cache.sync_entries([], at(0));
    let rights = reader.borrow_and_update().clone().unwrap();
    assert!(!rights.has_any());
}

#[test]
fn an_identity_is_awaited_then_had_and_told_once() {
    let cache = cache(10);
    cache.sync_entries([entry("e", 1, &["a:1"])], at(0));
    let mut reader = cache.subscribe(&selectors(&["a:1", "b:2"]), at(0));
    let rights = reader.borrow_and_update().clone().unwrap();
    assert_eq!((rights.awaited, rights.identities.len()), (1, 0));
    assert!(rights.has_any());

    assert_eq!(sign_all(&cache, 0), 1);
    let rights = reader.borrow_and_update().clone().unwrap();
    assert_eq!((rights.awaited, rights.identities.len()), (0, 1));

    cache.sync_entries([entry("e", 1, &["a:1"])], at(1));
    assert_eq!(sign_all(&cache, 1), 0);
    assert!(!reader.has_changed().unwrap(), "all is as it was");
}

#[test]
fn the_oldest_entry_is_the_default_whatever_the_order_they_came_in() {
    let (old, new) = (entry("z", 1, &["a:1"]), entry("a", 2, &["a:1"]));
    for entries in [[old.clone(), new.clone()], [new, old]] {
        let cache = cache(10);
        cache.sync_entries(entries, at(0));
        sign_all(&cache, 0);
        let reader = cache.subscribe(&selectors(&["a:1"]), at(0));
        assert_eq!(served(&reader), ["z", "a"]);
    }
}

#[test]
fn of_entries_that_share_a_hint_the_oldest_is_told() {
    let hinted = |id: &str, created, hint: &str| {
        but(&entry(id, created, &["a:1"]), |entry| {
            entry.body.hint = Hint::new(hint).unwrap();
        })
    };
    let cache = cache(10);
    cache.sync_entries(
        [
            hinted("newer", 3, "h"),
            hinted("older", 2, "h"),
            hinted("plain", 4, ""),
            hinted("plain2", 5, ""),
        ],
        at(0),
    );
    sign_all(&cache, 0);
    let reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    assert_eq!(served(&reader), ["older", "plain", "plain2"]);
}

#[test]
fn what_goes_to_a_store_is_neither_signed_nor_told() {
    let stored = but(&entry("e", 1, &["a:1"]), |entry| {
        entry.body.store_svid = true
    });
    let cache = cache(10);
    cache.sync_entries([stored], at(0));
    let reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    assert!(cache.work(at(0)).entries.is_empty());
    assert!(!reader.borrow().as_ref().unwrap().has_any());
}

#[test]
fn a_deleted_entry_takes_its_identity_back() {
    let cache = cache(10);
    cache.sync_entries([entry("e", 1, &["a:1"])], at(0));
    sign_all(&cache, 0);
    let mut reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    assert_eq!(served(&reader), ["e"]);
    cache.sync_entries([], at(1));
    assert!(!reader.borrow_and_update().as_ref().unwrap().has_any());
    assert_eq!(cache.sizes(), (0, 0));
}

#[test]
fn what_was_signed_for_an_entry_that_is_gone_is_dropped() {
    let cache = cache(10);
    let gone = entry("e", 1, &["a:1"]);
    cache.sync_entries([gone.clone()], at(0));
    cache.sync_entries([], at(0));
    let svid = Authority::new().svid(&gone, 3600);
    cache.signed([(gone, svid, at(1800))], at(0));
    assert_eq!(cache.sizes(), (0, 0));
}

#[test]
fn a_refused_identity_holds_up_no_other() {
    let cache = cache(10);
    let (good, bad) = (entry("good", 1, &["a:1"]), entry("bad", 2, &["a:1"]));
    cache.sync_entries([good.clone(), bad.clone()], at(0));
    let reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    let svid = Authority::new().svid(&good, 3600);
    cache.signed([(good, svid, at(1800))], at(0));
    cache.refused(&bad, at(0));
    let rights = reader.borrow().clone().unwrap();
    assert_eq!((rights.awaited, rights.refused), (0, 1));
    assert_eq!(served(&reader), ["good"]);
    assert!(cache.work(at(0)).entries.is_empty());

    // A changed entry may be signed after all.
    let changed = but(&bad, |entry| entry.revision = Revision(1));
    cache.sync_entries([entry("good", 1, &["a:1"]), changed], at(1));
    assert_eq!(ids(&cache.work(at(1)).entries), ["bad"]);
}

#[test]
fn those_who_wait_come_first_then_renewals_then_what_may_be_wanted() {
    let cache = cache(10);
    cache.sync_entries([entry("due", 9, &["c:3"])], at(0));
    sign_all(&cache, 0);
    cache.sync_entries(
        [
            entry("due", 9, &["c:3"]),
            entry("free", 1, &["b:2"]),
            entry("awaited", 5, &["a:1"]),
        ],
        at(1800),
    );
    let _reader = cache.subscribe(&selectors(&["a:1"]), at(1800));
    let work = cache.work(at(1800));
    assert_eq!(ids(&work.entries), ["awaited", "due", "free"]);
}

#[test]
fn prefetching_has_a_limit_and_waiting_has_none() {
    let cache = cache(2);
    let names = ["a", "b", "c", "d"];
    let all = names.map(|id| entry(id, 1, &[&format!("x:{id}")]));
    cache.sync_entries(all.clone(), at(0));
    assert_eq!(ids(&cache.work(at(0)).entries), ["a", "b"]);

    let readers = names.map(|id| cache.subscribe(&selectors(&[&format!("x:{id}")]), at(0)));
    assert_eq!(sign_all(&cache, 0), 4);
    drop(readers);
    let _waits = cache.subscribe(&selectors(&["x:a"]), at(0));
    cache.work(at(0));
    assert_eq!(cache.sizes().1, 2);
    let _again = cache.subscribe(&selectors(&["x:d"]), at(0));
    assert_eq!(cache.sizes().1, 2, "the last ones used are kept");
}

#[test]
fn an_entry_without_prefetch_is_signed_when_asked_for() {
    let shy = but(&entry("e", 1, &["a:1"]), |entry| {
        entry.body.disable_x509_svid_prefetch = true;
    });
    let cache = cache(10);
    cache.sync_entries([shy], at(0));
    assert!(cache.work(at(0)).entries.is_empty());
    let _reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    assert_eq!(ids(&cache.work(at(0)).entries), ["e"]);
}

#[test]
fn shared_selector_bound() {
    // A workload that has the selector which all entries share, and no more, pins none of them.
    let cache = cache(10);
    let entries =
        (0..1000).map(|n| entry(&format!("e{n}"), 1, &["ns:shared", &format!("pod:{n}")]));
    cache.sync_entries(entries, at(0));
    let _reader = cache.subscribe(&selectors(&["ns:shared"]), at(0));
    assert_eq!(cache.work(at(0)).entries.len(), 10);
}

#[test]
fn nobody_is_woken_for_what_is_refused_and_not_wanted() {
    let cache = cache(0);
    let bad = entry("e", 1, &["a:1"]);
    cache.sync_entries([bad.clone()], at(0));
    cache.refused(&bad, at(0));
    let later = cache.work(at(0)).next.unwrap();
    assert!(later > at(0));
    let work = cache.work(later);
    assert!(work.entries.is_empty());
    assert_eq!(work.next, None);
}

#[test]
fn bundles_come_by_federation_and_only_what_changed_is_told() {
    let authority = Authority::new();
    let bundles: BundleSet = ["td", "far", "farther"]
        .map(|td| authority.bundle(td))
        .into_iter()
        .collect();
    let federated = but(&entry("e", 1, &["a:1"]), |entry| {
        entry.body.federates_with = [TrustDomain::from_static("far")].into();
    });
    let cache = cache(10);
    cache.sync_entries([federated, entry("other", 1, &["b:2"])], at(0));
    cache.sync_bundles(bundles.clone(), at(0));
    sign_all(&cache, 0);
    let names = |bundles: &[TrustBundle]| -> Vec<_> {
        let names = bundles
            .iter()
            .map(|bundle| bundle.trust_domain().to_string());
        names.collect()
    };
    let mut reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    let mut other = cache.subscribe(&selectors(&["b:2"]), at(0));
    let rights = reader.borrow_and_update().clone().unwrap();
    assert_eq!(names(&rights.foreign), ["far"]);
    assert_eq!(rights.bundle.as_ref(), bundles.get(&TD));
    assert!(names(&other.borrow_and_update().as_ref().unwrap().foreign).is_empty());
    let fresh = Authority::new().bundle("far");
    cache.sync_bundles(bundles.with(fresh), at(1));
    assert!(reader.has_changed().unwrap());
    assert!(!other.has_changed().unwrap());
}

#[test]
fn withdrawn_means_for_everyone_and_for_good() {
    let cache = cache(10);
    cache.sync_entries([entry("e", 1, &["a:1"])], at(0));
    sign_all(&cache, 0);
    let mut reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    cache.withdraw(at(1));
    assert!(!reader.borrow_and_update().as_ref().unwrap().has_any());
    let reader = cache.subscribe(&selectors(&["a:1"]), at(1));
    assert!(!reader.borrow().as_ref().unwrap().has_any());
}

#[tokio::test]
async fn who_signs_is_woken_when_there_may_be_work() {
    let cache = cache(10);
    let _reader = cache.subscribe(&selectors(&["a:1"]), at(0));
    cache.wanted().await;
    cache.sync_entries([entry("e", 1, &["a:1"])], at(0));
    cache.wanted().await;
    sign_all(&cache, 0);
    assert_eq!(cache.taint(&[b"unknown".to_vec()].into()), 0);
}
