//! Why a verified peer was turned away.

use std::fmt;

use crate::verify::Peer;
use crate::{IdPattern, SpiffeId, TrustDomain};

/// Why a verified peer, or the holder of a verified token, was turned away. For our own log: the peer
/// learns only that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is not {expected}")]
pub struct Denied {
    peer: SpiffeId,
    expected: Expected,
}

impl Denied {
    /// A denial of `peer`, who is not what was `expected`, e.g. "a member of example.org".
    #[must_use]
    pub fn new(peer: &Peer, expected: impl fmt::Display) -> Self {
        Self::not(peer, Expected::Told(expected.to_string()))
    }

    /// A denial of `peer`, who is not what was `expected`.
    #[must_use]
    pub fn not(peer: &Peer, expected: Expected) -> Self {
        Self::id(peer.id(), expected)
    }

    /// A denial of whoever goes by this ID, and is not what was `expected`.
    #[must_use]
    pub fn id(id: &SpiffeId, expected: Expected) -> Self {
        Self {
            peer: id.clone(),
            expected,
        }
    }

    /// Who was turned away.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// Who would have been let pass.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }
}

/// Whom an authorizer lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// Who is all of this at once.
    AllOf(Vec<Self>),
    /// Who is any of this; nobody, where the list is empty.
    AnyOf(Vec<Self>),
    /// Every verified peer.
    Anyone,
    /// This ID.
    Id(SpiffeId),
    /// Every ID that the pattern matches.
    Matching(IdPattern),
    /// Every member of this trust domain.
    MemberOf(TrustDomain),
    /// Who is not this.
    Not(Box<Self>),
    /// What the program tells in its own words.
    Told(String),
    /// This ID, and all below it.
    Within(SpiffeId),
}

impl Expected {
    /// Either, as one flat list.
    pub(super) fn or(self, other: Self) -> Self {
        let mut all = self.alternatives();
        all.extend(other.alternatives());
        // More than one empty list is still one.
        let empty = Self::AnyOf(Vec::new());
        if all.len() > 1 {
            all.retain(|one| *one != empty);
        }
        match all.len() {
            0 => empty,
            1 => all.remove(0),
            _ => Self::AnyOf(all),
        }
    }

    fn alternatives(self) -> Vec<Self> {
        match self {
            Self::AnyOf(all) if !all.is_empty() => all,
            one => vec![one],
        }
    }

    /// Whether it has to be set in parentheses beside others.
    fn is_compound(&self) -> bool {
        matches!(self, Self::AllOf(all) | Self::AnyOf(all) if all.len() > 1)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllOf(all) => joined(f, all, " and "),
            Self::AnyOf(all) if all.is_empty() => f.write_str("anyone at all: the list is empty"),
            Self::AnyOf(all) => joined(f, all, " or "),
            Self::Anyone => f.write_str("anyone"),
            Self::Id(id) => id.fmt(f),
            Self::Matching(pattern) => pattern.fmt(f),
            Self::MemberOf(trust_domain) => write!(f, "a member of {trust_domain}"),
            Self::Not(inner) => {
                f.write_str("somebody other than ")?;
                in_parentheses(f, inner)
            }
            Self::Told(words) => f.write_str(words),
            Self::Within(id) => write!(f, "{id} or below it"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, all: &[Expected], word: &str) -> fmt::Result {
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            f.write_str(word)?;
        }
        in_parentheses(f, one)?;
    }
    Ok(())
}

fn in_parentheses(f: &mut fmt::Formatter<'_>, expected: &Expected) -> fmt::Result {
    if expected.is_compound() {
        write!(f, "({expected})")
    } else {
        write!(f, "{expected}")
    }
}
