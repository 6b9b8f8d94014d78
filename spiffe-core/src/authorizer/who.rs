//! Authorizers that look at the ID alone.

use std::collections::BTreeSet;

use super::{Authorizer, Denied, Expected};
use crate::verify::Peer;
use crate::{IdPattern, SpiffeId, TrustDomain};

/// Whom to let pass, by ID.
pub(super) enum Who {
    Anyone,
    Matching(IdPattern),
    MemberOf(TrustDomain),
    OneOf(BTreeSet<SpiffeId>),
    Within(SpiffeId),
}

impl Who {
    fn holds(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Matching(pattern) => pattern.matches(id),
            Self::MemberOf(trust_domain) => id.is_member_of(trust_domain),
            Self::OneOf(ids) => ids.contains(id),
            Self::Within(prefix) => id.starts_with(prefix),
        }
    }
}

impl Authorizer for Who {
    fn authorize(&self, peer: &Peer) -> Result<(), Denied> {
        if self.holds(peer.id()) {
            return Ok(());
        }
        Err(Denied::not(peer, self.expected()))
    }

    fn expected(&self) -> Expected {
        match self {
            Self::Anyone => Expected::Anyone,
            Self::Matching(pattern) => Expected::Matching(pattern.clone()),
            Self::MemberOf(trust_domain) => Expected::MemberOf(trust_domain.clone()),
            Self::OneOf(ids) => match ids.first() {
                Some(id) if ids.len() == 1 => Expected::Id(id.clone()),
                _ => Expected::AnyOf(ids.iter().cloned().map(Expected::Id).collect()),
            },
            Self::Within(prefix) => Expected::Within(prefix.clone()),
        }
    }
}
