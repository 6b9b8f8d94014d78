//! Policies, held up to one peer.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::testing::TestAuthority;
use crate::verify::{Role, x509_peer};
use crate::{BundleSet, spiffe_id, trust_domain};

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const OPS: SpiffeId = spiffe_id!("spiffe://a.test/ops");

#[test]
fn each_policy_lets_pass_whom_it_names_and_says_why_not_the_others() {
    let a = || member_of(trust_domain!("a.test"));
    let b = || member_of(trust_domain!("b.test"));
    let refuse = |peer: &Peer| Err(Denied::new(peer, "in the mood"));
    let like = |text: &str| pattern(text.parse().unwrap());
    let cases: Vec<(Box<dyn Authorizer>, &str)> = vec![
        (Box::new(anyone()), ""),
        (Box::new(exactly(WEB)), ""),
        (Box::new(exactly(OPS)), "spiffe://a.test/ops"),
        (Box::new(one_of([OPS, WEB])), ""),
        (Box::new(one_of([])), "anyone at all: the list is empty"),
        (
            Box::new(one_of([OPS, spiffe_id!("spiffe://a.test/db")])),
            "spiffe://a.test/db or spiffe://a.test/ops",
        ),
        (Box::new(a()), ""),
        (
            Box::new(member_of(trust_domain!("a.tes"))),
            "a member of a.tes",
        ),
        (Box::new(prefix(WEB)), ""),
        (Box::new(prefix(spiffe_id!("spiffe://a.test"))), ""),
        (
            Box::new(prefix(spiffe_id!("spiffe://a.test/we"))),
            "spiffe://a.test/we or below it",
        ),
        (Box::new(like("spiffe://a.test/*")), ""),
        (
            Box::new(like("spiffe://a.test/*/**")),
            "spiffe://a.test/*/**",
        ),
        (Box::new(any_of([])), "anyone at all: the list is empty"),
        (Box::new(any_of([boxed(exactly(OPS)), boxed(a())])), ""),
        (
            Box::new(any_of([boxed(exactly(OPS)), boxed(b())])),
            "spiffe://a.test/ops or a member of b.test",
        ),
        (Box::new(a().and(exactly(WEB))), ""),
        (Box::new(a().and(exactly(OPS))), "spiffe://a.test/ops"),
        (Box::new(b().and(exactly(OPS))), "a member of b.test"),
        (Box::new(b().or(exactly(WEB))), ""),
        (
            Box::new(b().or(exactly(OPS)).or(refuse)),
            "a member of b.test or spiffe://a.test/ops or in the mood",
        ),
        (Box::new(one_of([]).or(exactly(OPS))), "spiffe://a.test/ops"),
        (Box::new(exactly(OPS).not()), ""),
        (
            Box::new(exactly(WEB).not()),
            "somebody other than spiffe://a.test/web",
        ),
        (
            Box::new(a().and(one_of([OPS, WEB]).not())),
            "somebody other than (spiffe://a.test/ops or spiffe://a.test/web)",
        ),
        (
            Box::new(a().and(prefix(WEB)).not()),
            "somebody other than (a member of a.test and spiffe://a.test/web or below it)",
        ),
        (Box::new(b().and(anyone()).not()), ""),
        (Box::new(refuse.not()), ""),
        (Box::new(anyone().not()), "somebody other than anyone"),
    ];
    let peer = peer();
    for (at, (allow, why)) in cases.iter().enumerate() {
        match allow.authorize(&peer) {
            Ok(()) => assert_eq!(*why, "", "case {at}"),
            Err(denied) => {
                assert_eq!(denied.to_string(), format!("{WEB} is not {why}"));
                assert_eq!(denied.peer(), &WEB);
            }
        }
    }
}

#[test]
fn a_denial_can_be_told_apart_without_reading_it() {
    let peer = peer();
    let denied = exactly(OPS).authorize(&peer).unwrap_err();
    assert_eq!(denied.expected(), &Expected::Id(OPS));
    let allow: Arc<dyn Authorizer> = Arc::new(any_of([boxed(prefix(OPS)), boxed(one_of([]))]));
    let denied = allow.authorize(&peer).unwrap_err();
    assert_eq!(denied.expected(), &Expected::Within(OPS));
    assert_eq!(allow.expected(), Expected::Within(OPS));
}

fn boxed(authorizer: impl Authorizer) -> Box<dyn Authorizer> {
    Box::new(authorizer)
}

fn peer() -> Peer {
    let authority = TestAuthority::new("a.test");
    let chain = [authority.svid(WEB.path()).leaf().der().clone()];
    let bundles = BundleSet::from(authority.bundle());
    x509_peer(&chain, &bundles, Role::Client, SystemClock.now()).unwrap()
}
