//! Authorizers made of authorizers.

use super::{Authorizer, Denied, Expected};
use crate::SpiffeId;
use crate::verify::Peer;

pub(super) struct AnyOf(pub(super) Vec<Box<dyn Authorizer>>);

impl Authorizer for AnyOf {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        let mut expected = Expected::AnyOf(Vec::new());
        for authorizer in &self.0 {
            match authorizer.authorize(peer) {
                Ok(()) => return Ok(()),
                Err(denied) => expected = expected.or(denied.expected().clone()),
            }
        }
        Err(Denied::not(peer, expected))
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        let nobody = Some(Err(Denied::id(id, Expected::AnyOf(Vec::new()))));
        self.0
            .iter()
            .map(|one| one.authorize_id(id))
            .fold(nobody, |before, next| either(id, before, next))
    }

    fn expected(&self) -> Expected {
        self.0
            .iter()
            .map(Authorizer::expected)
            .fold(Expected::AnyOf(Vec::new()), Expected::or)
    }
}

pub(super) struct And<A, B>(pub(super) A, pub(super) B);

impl<A: Authorizer, B: Authorizer> Authorizer for And<A, B> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        self.0.authorize(peer)?;
        self.1.authorize(peer)
    }

    /// A denial decides, whatever the other would have said.
    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        match (self.0.authorize_id(id), self.1.authorize_id(id)) {
            (Some(Err(denied)), _) | (_, Some(Err(denied))) => Some(Err(denied)),
            (Some(Ok(())), Some(Ok(()))) => Some(Ok(())),
            _ => None,
        }
    }

    fn expected(&self) -> Expected {
        Expected::AllOf(vec![self.0.expected(), self.1.expected()])
    }
}

pub(super) struct Or<A, B>(pub(super) A, pub(super) B);

impl<A: Authorizer, B: Authorizer> Authorizer for Or<A, B> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        let Err(first) = self.0.authorize(peer) else {
            return Ok(());
        };
        let Err(second) = self.1.authorize(peer) else {
            return Ok(());
        };
        let expected = first.expected().clone().or(second.expected().clone());
        Err(Denied::not(peer, expected))
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        either(id, self.0.authorize_id(id), self.1.authorize_id(id))
    }

    fn expected(&self) -> Expected {
        self.0.expected().or(self.1.expected())
    }
}

pub(super) struct Not<A>(pub(super) A);

impl<A: Authorizer> Authorizer for Not<A> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        match self.0.authorize(peer) {
            Ok(()) => Err(Denied::not(peer, self.expected())),
            Err(_) => Ok(()),
        }
    }

    // What cannot be decided cannot be turned round.
    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        Some(match self.0.authorize_id(id)? {
            Ok(()) => Err(Denied::id(id, self.expected())),
            Err(_) => Ok(()),
        })
    }

    fn expected(&self) -> Expected {
        Expected::Not(Box::new(self.0.expected()))
    }
}

/// What two say of one ID, of whom one is enough.
fn either(
    id: &SpiffeId,
    first: Option<Result<(), Denied>>,
    second: Option<Result<(), Denied>>,
) -> Option<Result<(), Denied>> {
    match (first, second) {
        (Some(Ok(())), _) | (_, Some(Ok(()))) => Some(Ok(())),
        (Some(Err(first)), Some(Err(second))) => {
            let expected = first.expected().clone().or(second.expected().clone());
            Some(Err(Denied::id(id, expected)))
        }
        _ => None,
    }
}
