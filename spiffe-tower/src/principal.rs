//! Who makes a request, whichever way that was proven.

use std::fmt;

use http::{Extensions, Request};
use spiffe_core::authorizer::{Authorizer, Denied, Expected};
#[cfg(feature = "incubating-wit")]
use spiffe_core::verify::VerifiedWit;
use spiffe_core::{Peer, SpiffeId, VerifiedJwt};

use crate::guard::Guard;
use crate::peer::peer;
use crate::refusal::Refusal;

/// Who makes a request, by what proof.
///
/// It is the holder of the token, where a layer of this crate has verified one, and the peer of the
/// connection otherwise. A token never stands in for the peer: behind a proxy the peer is the proxy,
/// and [`peer`] goes on saying so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Principal {
    /// The holder of a JWT-SVID, which a `JwtBearerLayer` verified.
    Jwt(VerifiedJwt),
    /// The other end of the connection.
    Peer(Peer),
    /// The holder of a WIT-SVID and of its key, which a `WitVerifyLayer` verified.
    #[cfg(feature = "incubating-wit")]
    Wit(VerifiedWit),
}

impl Principal {
    /// Who makes the request that these extensions belong to, if anybody has proven that. Of two
    /// tokens that of which the key was proven counts.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        #[cfg(feature = "incubating-wit")]
        if let Some(wit) = extensions.get() {
            return Some(Self::Wit(VerifiedWit::clone(wit)));
        }
        match extensions.get() {
            Some(jwt) => Some(Self::Jwt(VerifiedJwt::clone(jwt))),
            None => peer(extensions).cloned().map(Self::Peer),
        }
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        match self {
            Self::Jwt(jwt) => jwt.id(),
            Self::Peer(peer) => peer.id(),
            #[cfg(feature = "incubating-wit")]
            Self::Wit(wit) => wit.id(),
        }
    }

    /// Asks a policy. The holder of a token has no certificate to show, so only a policy that can do
    /// [by the ID alone](Authorizer::authorize_id) lets it pass.
    ///
    /// # Errors
    ///
    /// [`Denied`], where it may not proceed.
    pub fn authorize(&self, allow: &dyn Authorizer) -> Result<(), Denied> {
        if let Self::Peer(peer) = self {
            return allow.authorize(peer);
        }
        let by_id = allow.authorize_id(self.id());
        by_id.unwrap_or_else(|| Err(self.denied(NO_PEER)))
    }

    /// A denial of this one, who is not what was `expected`.
    #[must_use]
    pub fn denied(&self, expected: impl fmt::Display) -> Denied {
        Denied::id(self.id(), Expected::Told(expected.to_string()))
    }
}

/// The identity of who makes the request that these extensions belong to: that of
/// [`Principal::of`].
#[must_use]
pub fn spiffe_id(extensions: &Extensions) -> Option<&SpiffeId> {
    #[cfg(feature = "incubating-wit")]
    if let Some(wit) = extensions.get() {
        return Some(VerifiedWit::id(wit));
    }
    match extensions.get() {
        Some(jwt) => Some(VerifiedJwt::id(jwt)),
        None => peer(extensions).map(Peer::id),
    }
}

/// Whom a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Who makes the request.
    Caller,
    /// The other end of the connection, whatever token comes over it.
    Peer,
}

impl Whom {
    /// The one to be judged, and a guard of the call where it came over a connection with a peer.
    pub(crate) fn find<B>(
        self,
        request: &Request<B>,
    ) -> Result<(Principal, Option<Guard>), Refusal> {
        match self {
            Self::Caller => Guard::of_caller(request),
            Self::Peer => {
                let guard = Guard::of(request)?;
                Ok((Principal::Peer(guard.peer().clone()), Some(guard)))
            }
        }
    }

    /// Notes in a request by what proof it was judged, for layers further in.
    pub(crate) fn note(self, who: &Principal, extensions: &mut Extensions) {
        if self == Self::Caller {
            extensions.insert(match who {
                Principal::Peer(_) => TakenForCaller::Peer,
                Principal::Jwt(_) => TakenForCaller::Jwt,
                #[cfg(feature = "incubating-wit")]
                Principal::Wit(_) => TakenForCaller::Wit,
            });
        }
    }
}

/// By what proof somebody was taken for who makes the request, when a policy about that one was asked.
/// A proof that counts for more, and is verified further in, would escape that policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TakenForCaller {
    // In the order of `Principal::of`, the one that counts for least first.
    Peer,
    Jwt,
    #[cfg(feature = "incubating-wit")]
    Wit,
}

impl TakenForCaller {
    /// Whether a policy was asked about somebody else than who is known by this proof.
    #[cfg(feature = "jwt")]
    pub(crate) fn is_escaped_by(self, extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(|taken| *taken < self)
    }
}

const NO_PEER: &str = "somebody with a certificate, by which alone this policy can judge";
