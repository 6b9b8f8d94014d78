//! Authorization: may this verified peer proceed?
//!
//! An authorizer runs after verification, never instead of it. There is no default one: whoever
//! builds a server or a client says whom to talk to.

use std::collections::BTreeSet;
use std::fmt;

use crate::verify::Peer;
use crate::{SpiffeId, TrustDomain};

/// Decides whether a verified peer may proceed.
pub trait Authorizer: Send + Sync + 'static {
    /// Lets the peer pass, or tells why not.
    ///
    /// # Errors
    ///
    /// [`Denied`], where the peer may not proceed.
    fn authorize(&self, peer: &Peer) -> Result<(), Denied>;
}

impl<F: Fn(&Peer) -> Result<(), Denied> + Send + Sync + 'static> Authorizer for F {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        self(peer)
    }
}

impl Authorizer for Box<dyn Authorizer> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        (**self).authorize(peer)
    }
}

impl Authorizer for std::sync::Arc<dyn Authorizer> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        (**self).authorize(peer)
    }
}

/// Why a verified peer was turned away. For our own log: the peer learns only that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is not {expected}")]
pub struct Denied {
    peer: SpiffeId,
    expected: String,
}

impl Denied {
    /// A denial of `peer`, who is not what was `expected`, e.g. "a member of example.org".
    #[must_use]
    pub fn new(peer: &Peer, expected: impl fmt::Display) -> Self {
        Self {
            peer: peer.id().clone(),
            expected: expected.to_string(),
        }
    }

    /// Who was turned away.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }
}

/// Lets this one ID pass.
pub fn exactly(id: SpiffeId) -> impl Authorizer {
    one_of([id])
}

/// Lets these IDs pass.
pub fn one_of(ids: impl IntoIterator<Item = SpiffeId>) -> impl Authorizer {
    let ids: BTreeSet<_> = ids.into_iter().collect();
    move |peer: &Peer| {
        if ids.contains(peer.id()) {
            return Ok(());
        }
        if ids.is_empty() {
            return Err(Denied::new(peer, NOBODY));
        }
        let names: Vec<_> = ids.iter().map(SpiffeId::as_str).collect();
        Err(Denied::new(peer, names.join(" or ")))
    }
}

/// Lets every member of this trust domain pass.
pub fn member_of(trust_domain: TrustDomain) -> impl Authorizer {
    move |peer: &Peer| {
        if peer.id().is_member_of(&trust_domain) {
            return Ok(());
        }
        Err(Denied::new(
            peer,
            format_args!("a member of {trust_domain}"),
        ))
    }
}

/// Lets pass whom one of these lets pass; the last denial is the one that is told.
pub fn any_of(authorizers: impl IntoIterator<Item = Box<dyn Authorizer>>) -> impl Authorizer {
    let authorizers: Vec<_> = authorizers.into_iter().collect();
    move |peer: &Peer| {
        let mut denied = Err(Denied::new(peer, NOBODY));
        for authorizer in &authorizers {
            denied = authorizer.authorize(peer);
            if denied.is_ok() {
                break;
            }
        }
        denied
    }
}

/// Lets every verified peer pass, of whatever trust domain there is a bundle for. Write it out only
/// where that is meant.
pub fn anyone() -> impl Authorizer {
    |_: &Peer| Ok(())
}

/// What is expected of a peer where an empty list lets nobody pass.
const NOBODY: &str = "anyone at all: the list is empty";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::testing::TestAuthority;
    use crate::verify::{Role, x509_peer};
    use crate::{BundleSet, spiffe_id};

    const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
    const OPS: SpiffeId = spiffe_id!("spiffe://a.test/ops");

    #[test]
    fn each_policy_lets_pass_whom_it_names_and_says_why_not_the_others() {
        let boxed = |allow| -> Box<dyn Authorizer> { Box::new(exactly(allow)) };
        let cases: [(Box<dyn Authorizer>, Option<&str>); 8] = [
            (Box::new(exactly(WEB)), None),
            (Box::new(exactly(OPS)), Some("spiffe://a.test/ops")),
            (Box::new(one_of([OPS, WEB])), None),
            (Box::new(one_of([])), Some(NOBODY)),
            (Box::new(member_of(WEB.trust_domain())), None),
            (
                Box::new(member_of(TrustDomain::from_static("a.tes"))),
                Some("a member of a.tes"),
            ),
            (Box::new(any_of([boxed(OPS), boxed(WEB)])), None),
            (Box::new(any_of([])), Some(NOBODY)),
        ];
        let peer = peer();
        for (at, (allow, why)) in cases.iter().enumerate() {
            let expected = why.map_or(Ok(()), |expected| Err(Denied::new(&peer, expected)));
            assert_eq!(allow.authorize(&peer), expected, "case {at}");
        }
        assert_eq!(anyone().authorize(&peer), Ok(()));
    }

    #[test]
    fn the_last_denial_of_several_is_told() {
        let denied = any_of([
            Box::new(exactly(OPS)) as Box<dyn Authorizer>,
            Box::new(one_of([OPS, spiffe_id!("spiffe://a.test/db")])),
        ])
        .authorize(&peer())
        .unwrap_err();
        assert_eq!(denied.peer(), &WEB);
        assert_eq!(
            denied.to_string(),
            "spiffe://a.test/web is not spiffe://a.test/db or spiffe://a.test/ops"
        );
    }

    fn peer() -> Peer {
        let authority = TestAuthority::new("a.test");
        let chain = [authority.svid(WEB.path()).leaf().der().clone()];
        let bundles = BundleSet::from(authority.bundle());
        x509_peer(&chain, &bundles, Role::Client, SystemClock.now()).unwrap()
    }
}
