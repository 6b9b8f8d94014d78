//! Authorizers made of authorizers.

use super::{Authorizer, Denied, Expected};
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

    fn expected(&self) -> Expected {
        Expected::Not(Box::new(self.0.expected()))
    }
}
