//! Who called, and how to turn them away.

use spiffe_core::authorizer::Denied;
use spiffe_core::{Peer, SpiffeId};
use tonic::{Request, Status};

/// Asks a request who sent it.
pub trait RequestExt {
    /// The verified peer, where the request came over mutual TLS.
    fn peer(&self) -> Option<&Peer>;

    /// Its identity.
    fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.peer().map(Peer::id)
    }
}

impl<T> RequestExt for Request<T> {
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
