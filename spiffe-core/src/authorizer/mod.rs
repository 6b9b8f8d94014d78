//! Authorization: may this verified peer proceed?
//!
//! An authorizer runs after verification, never instead of it. There is no default one: whoever
//! builds a server or a client says whom to talk to.
//!
//! By the ID:
//!
//! ```
//! use spiffe_core::authorizer::{anyone, exactly, member_of, one_of, pattern, prefix};
//! use spiffe_core::{TrustDomain, spiffe_id};
//!
//! let ledger = exactly(spiffe_id!("spiffe://prod.example/ledger"));
//! let either = one_of([spiffe_id!("spiffe://prod.example/a"), spiffe_id!("spiffe://prod.example/b")]);
//! let bank = prefix(spiffe_id!("spiffe://prod.example/ns/bank"));
//! let web = pattern("spiffe://prod.example/ns/*/sa/web".parse()?);
//! let ours = member_of(TrustDomain::from_static("prod.example"));
//! let all = anyone();                                 // whoever we have a bundle for
//! # let _ = (ledger, either, bank, web, ours, all);
//! # Ok::<_, spiffe_core::PatternError>(())
//! ```
//!
//! By what these make together:
//!
//! ```
//! use spiffe_core::authorizer::{Authorizer, AuthorizerExt, exactly, pattern};
//! use spiffe_core::{PatternError, spiffe_id};
//!
//! fn policy() -> Result<impl Authorizer, PatternError> {
//!     let web = pattern("spiffe://example.org/ns/*/sa/web".parse()?);
//!     let admin = exactly(spiffe_id!("spiffe://ops.example/admin"));
//!     let guest = exactly(spiffe_id!("spiffe://example.org/ns/guest/sa/web"));
//!     Ok(web.and(guest.not()).or(admin))
//! }
//! # policy().unwrap();
//! ```
//!
//! By a function, of the ID or of the peer and its certificates:
//!
//! ```
//! use spiffe_core::Peer;
//! use spiffe_core::authorizer::{Denied, whose_id};
//!
//! let web_servers = whose_id(|id| id.path().ends_with("/web"));
//! let signed_by_a_root = |peer: &Peer| match peer.certificates() {
//!     [_leaf] => Ok(()),
//!     _ => Err(Denied::new(peer, "signed by a root authority")),
//! };
//! # fn takes(_: impl spiffe_core::authorizer::Authorizer) {}
//! # takes(web_servers);
//! # takes(signed_by_a_root);
//! ```

mod combine;
mod denied;
#[cfg(test)]
mod tests;
mod who;

use std::sync::Arc;

pub use denied::{Denied, Expected};

use crate::verify::Peer;
use crate::{IdPattern, SpiffeId, TrustDomain};
use combine::{And, AnyOf, Not, Or};
use who::{Fitting, Who};

/// Decides whether a verified peer may proceed. Any function of this form is one, too.
pub trait Authorizer: Send + Sync + 'static {
    /// Lets the peer pass, or tells why not.
    ///
    /// # Errors
    ///
    /// [`Denied`], where the peer may not proceed.
    fn authorize(&self, peer: &Peer) -> Result<(), Denied>;

    /// The same by the ID alone, of callers that have shown a token and no certificate.
    ///
    /// Nothing, where that is not enough to decide, and then they may not proceed. All authorizers
    /// of this module can decide by the ID; what is made of them can where its parts can; a function
    /// of a [`Peer`] cannot.
    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        let _ = id;
        None
    }

    /// Whom it lets pass, for who reads the log.
    fn expected(&self) -> Expected {
        Expected::Told("whom the program lets pass".to_owned())
    }
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

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        (**self).authorize_id(id)
    }

    fn expected(&self) -> Expected {
        (**self).expected()
    }
}

/// One authorizer at more places than one: `Arc::new(member_of(..))`, cloned.
impl<A: Authorizer + ?Sized> Authorizer for Arc<A> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        (**self).authorize(peer)
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        (**self).authorize_id(id)
    }

    fn expected(&self) -> Expected {
        (**self).expected()
    }
}

/// Authorizers made of others.
pub trait AuthorizerExt: Authorizer + Sized {
    /// Lets pass whom both let pass; the first denial is the one that is told.
    fn and(self, other: impl Authorizer) -> impl Authorizer {
        And(self, other)
    }

    /// Lets pass whom this or the other lets pass.
    fn or(self, other: impl Authorizer) -> impl Authorizer {
        Or(self, other)
    }

    /// Lets pass whom this one does not. By itself it lets pass a lot of peers, and all of other
    /// trust domains: use it with [`and`](Self::and).
    fn not(self) -> impl Authorizer {
        Not(self)
    }
}

impl<A: Authorizer> AuthorizerExt for A {}

/// Lets this one ID pass.
pub fn exactly(id: SpiffeId) -> impl Authorizer {
    Who::One(id)
}

/// Lets these IDs pass.
pub fn one_of(ids: impl IntoIterator<Item = SpiffeId>) -> impl Authorizer {
    Who::OneOf(ids.into_iter().collect())
}

/// Lets this ID pass, and all below it by whole segments: `spiffe://td/web` has
/// `spiffe://td/web/1` below it, and not `spiffe://td/web-1`.
///
/// Below a bare trust domain it lets all pass but the [reserved](SpiffeId::is_reserved) ones, SPIRE's
/// servers and agents: below `spiffe://td/spire` they pass, and by [`member_of`].
pub fn prefix(id: SpiffeId) -> impl Authorizer {
    Who::Within(id)
}

/// Lets all IDs pass that the pattern matches. No wildcard matches SPIRE's servers and agents, see
/// [`IdPattern`].
pub fn pattern(pattern: IdPattern) -> impl Authorizer {
    Who::Matching(pattern)
}

/// Lets all IDs pass that the function says yes to.
pub fn whose_id(fits: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static) -> impl Authorizer {
    Fitting(fits)
}

/// Lets every member of this trust domain pass.
pub fn member_of(trust_domain: TrustDomain) -> impl Authorizer {
    Who::MemberOf(trust_domain)
}

/// Lets pass whom one of these lets pass.
pub fn any_of(authorizers: impl IntoIterator<Item = Box<dyn Authorizer>>) -> impl Authorizer {
    AnyOf(authorizers.into_iter().collect())
}

/// Lets every verified peer pass, of whatever trust domain there is a bundle for. Write it out only
/// where that is meant.
pub fn anyone() -> impl Authorizer {
    Who::Anyone
}
