//! Who called, and how to turn them away.

use spiffe_core::authorizer::Denied;
use spiffe_core::{Peer, SpiffeId};
use spiffe_tower::Principal;
use tonic::{Request, Status};

/// Asks a request who sent it.
pub trait RequestExt {
    /// The identity of who calls: of the holder of the token, where a layer has verified one, and of
    /// the peer otherwise.
    fn spiffe_id(&self) -> Option<&SpiffeId>;

    /// Who calls, and by what proof.
    fn principal(&self) -> Option<Principal>;

    /// The verified peer, where the request came over mutual TLS; behind a proxy that is the proxy.
    fn peer(&self) -> Option<&Peer>;
}

impl<T> RequestExt for Request<T> {
    fn spiffe_id(&self) -> Option<&SpiffeId> {
        spiffe_tower::spiffe_id(self.extensions())
    }

    fn principal(&self) -> Option<Principal> {
        Principal::of(self.extensions())
    }

    fn peer(&self) -> Option<&Peer> {
        spiffe_tower::peer(self.extensions())
    }
}

/// What a handler answers to a peer that it may not serve: `PERMISSION_DENIED`. The peer is told
/// its own name; what was expected stays with us.
#[must_use]
pub fn status(denied: &Denied) -> Status {
    Status::permission_denied(format!("{} is not authorized", denied.peer()))
}
