//! Authorizers that look at the ID alone.

use std::collections::HashSet;

use super::{Authorizer, Denied, Expected};
use crate::verify::Peer;
use crate::{IdPattern, SpiffeId, TrustDomain};

/// Whom to let pass, by ID.
pub(super) enum Who {
    Anyone,
    Matching(IdPattern),
    MemberOf(TrustDomain),
    One(SpiffeId),
    OneOf(HashSet<SpiffeId>),
    Within(SpiffeId),
}

impl Who {
    fn holds(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Matching(pattern) => pattern.matches(id),
            Self::MemberOf(trust_domain) => id.is_member_of(trust_domain),
            Self::One(only) => only == id,
            Self::OneOf(ids) => ids.contains(id),
            // A whole trust domain was named, and not what SPIRE keeps for itself in it.
            Self::Within(prefix) if prefix.path().is_empty() && id.is_reserved() => false,
            Self::Within(prefix) => id.starts_with(prefix),
        }
    }
}

impl Authorizer for Who {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        judged(self.holds(peer.id()), self, peer.id())
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        Some(judged(self.holds(id), self, id))
    }

    fn expected(&self) -> Expected {
        match self {
            Self::Anyone => Expected::Anyone,
            Self::Matching(pattern) => Expected::Matching(pattern.clone()),
            Self::MemberOf(trust_domain) => Expected::MemberOf(trust_domain.clone()),
            Self::One(only) => Expected::Id(only.clone()),
            Self::OneOf(ids) => {
                let mut told: Vec<_> = ids.iter().collect();
                told.sort();
                match *told {
                    [only] => Expected::Id(only.clone()),
                    _ => Expected::AnyOf(told.into_iter().cloned().map(Expected::Id).collect()),
                }
            }
            Self::Within(prefix) => Expected::Within(prefix.clone()),
        }
    }
}

/// Whom to let pass, as a function says of the ID.
pub(super) struct Fitting<F>(pub(super) F);

impl<F: Fn(&SpiffeId) -> bool + Send + Sync + 'static> Authorizer for Fitting<F> {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        judged((self.0)(peer.id()), self, peer.id())
    }

    fn authorize_id(&self, id: &SpiffeId) -> Option<Result<(), Denied>> {
        Some(judged((self.0)(id), self, id))
    }
}

fn judged(holds: bool, allow: &impl Authorizer, id: &SpiffeId) -> Result<(), Denied> {
    match holds {
        true => Ok(()),
        false => Err(Denied::id(id, allow.expected())),
    }
}
