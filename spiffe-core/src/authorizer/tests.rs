//! Policies, held up to one peer.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::testing::TestAuthority;
use crate::verify::{Role, x509_peer};
use crate::{BundleSet, spiffe_id, trust_domain};

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const OPS: SpiffeId = spiffe_id!("spiffe://a.test/ops");

#[test]
fn reserved_paths() {
    const AGENT: SpiffeId = spiffe_id!("spiffe://a.test/spire/agent/join_token/abc");
    const SERVER: SpiffeId = spiffe_id!("spiffe://a.test/spire/server");
    const LIKE_IT: SpiffeId = spiffe_id!("spiffe://a.test/spire-like/server");
    let by_pattern =
        |text: &str| -> Box<dyn Authorizer> { Box::new(pattern(text.parse().unwrap())) };
    let whole = || prefix(spiffe_id!("spiffe://a.test"));
    // Which of agent, server and a workload with a like name pass.
    for (name, allow, passing) in [
        (
            "/**",
            by_pattern("spiffe://a.test/**"),
            [false, false, true],
        ),
        (
            "/*/**",
            by_pattern("spiffe://a.test/*/**"),
            [false, false, true],
        ),
        (
            "/*/server",
            by_pattern("spiffe://a.test/*/server"),
            [false, false, true],
        ),
        (
            "/spire/**",
            by_pattern("spiffe://a.test/spire/**"),
            [true, true, false],
        ),
        (
            "/spire/server",
            by_pattern("spiffe://a.test/spire/server"),
            [false, true, false],
        ),
        ("all below", Box::new(whole()), [false, false, true]),
        (
            "below /spire",
            Box::new(prefix(spiffe_id!("spiffe://a.test/spire"))),
            [true, true, false],
        ),
        ("one", Box::new(exactly(AGENT)), [true, false, false]),
        (
            "members",
            Box::new(member_of(AGENT.trust_domain())),
            [true, true, true],
        ),
    ] {
        let passes = [AGENT, SERVER, LIKE_IT].map(|id| allow.authorize_id(&id).unwrap().is_ok());
        assert_eq!(passes, passing, "{name}");
    }
    assert!(AGENT.is_reserved() && !LIKE_IT.is_reserved());
    assert!(!SpiffeId::from(&AGENT.trust_domain()).is_reserved());
}

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
        // By the ID alone it is decided likewise, or not at all.
        let by_id = allow.authorize_id(&WEB);
        assert!(
            by_id.is_none_or(|by_id| by_id == allow.authorize(&peer)),
            "case {at}"
        );
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

#[test]
fn an_id_alone_is_judged_by_what_needs_no_more_and_nothing_is_made_of_the_rest() {
    let certain = |_: &Peer| Ok(());
    let web = || exactly(WEB);
    let ops = || exactly(OPS);
    let cases: Vec<(Box<dyn Authorizer>, Option<bool>)> = vec![
        (boxed(web()), Some(true)),
        (boxed(ops()), Some(false)),
        (boxed(anyone()), Some(true)),
        (boxed(whose_id(|id| id.path() == "/web")), Some(true)),
        (boxed(whose_id(|id| id.path() == "/ops")), Some(false)),
        (boxed(certain), None),
        (boxed(certain.not()), None),
        (boxed(certain.and(web())), None),
        (boxed(web().and(certain)), None),
        (boxed(certain.and(ops())), Some(false)),
        (boxed(certain.or(web())), Some(true)),
        (boxed(web().or(certain)), Some(true)),
        (boxed(certain.or(ops())), None),
        (boxed(ops().or(certain).not()), None),
        (boxed(ops().not()), Some(true)),
        (boxed(any_of([])), Some(false)),
        (boxed(any_of([boxed(ops()), boxed(certain)])), None),
        (boxed(any_of([boxed(certain), boxed(web())])), Some(true)),
    ];
    for (at, (allow, may)) in cases.iter().enumerate() {
        let judged = allow.authorize_id(&WEB).map(|judged| judged.is_ok());
        assert_eq!(judged, *may, "case {at}");
    }
}

#[test]
fn one_authorizer_serves_at_several_places() {
    let web = Arc::new(exactly(WEB));
    let of_any_kind: Arc<dyn Authorizer> = Arc::new(exactly(OPS));
    let peer = peer();
    assert_eq!(boxed(Arc::clone(&web)).authorize(&peer), Ok(()));
    assert_eq!(
        boxed(web.clone().or(of_any_kind.clone())).authorize_id(&OPS),
        Some(Ok(()))
    );
    assert!(boxed(of_any_kind).authorize(&peer).is_err());
    assert_eq!(web.expected(), Expected::Id(WEB));
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
