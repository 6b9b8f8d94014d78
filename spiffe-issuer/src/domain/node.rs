//! Nodes that were attested, what they are called, and the join tokens that let them in.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::digest;
use spiffe_core::{IdError, SpiffeId, TrustDomain};
use zeroize::Zeroizing;

use super::{AuthorityId, SelectorSet};

/// A node as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedNode {
    /// The agent's ID.
    pub id: SpiffeId,
    /// The type of its attestation, e.g. `join_token`.
    pub attestation_type: String,
    /// The serial number of its SVID; `None` where the agent is banned.
    pub serial: Option<Serial>,
    /// When that SVID expires.
    pub expires_at: SystemTime,
    /// The authority that signed that SVID; `None` where nobody wrote it down.
    pub authority: Option<AuthorityId>,
    /// An SVID that was handed out and not yet used. It becomes the current one at first use, so a
    /// lost answer never locks an agent out.
    pub renewed: Option<NodeSvid>,
    /// Whether it can attest again by itself.
    pub can_reattest: bool,
    /// What attestation found.
    pub selectors: SelectorSet,
    /// The version that the agent told, or empty.
    pub agent_version: String,
}

impl AttestedNode {
    /// Whether this node was banned.
    #[must_use]
    pub fn is_banned(&self) -> bool {
        self.serial.is_none()
    }
}

/// The SVID of a node, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSvid {
    /// Its serial number.
    pub serial: Serial,
    /// When it expires.
    pub expires_at: SystemTime,
    /// The authority that signed it; `None` where nobody wrote it down.
    pub authority: Option<AuthorityId>,
}

/// The serial number of a certificate, in decimal, as SPIRE stores and tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<str>);

impl Serial {
    /// The serial number that these big-endian unsigned bytes are.
    #[must_use]
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        // Twenty bytes at the most (RFC 5280 section 4.1.2.2), so the plain way is quick enough.
        let mut digits = vec![0u8];
        for byte in bytes {
            let mut carry = u32::from(*byte);
            for digit in &mut digits {
                let value = u32::from(*digit) * 256 + carry;
                *digit = (value % 10) as u8;
                carry = value / 10;
            }
            while carry > 0 {
                digits.push((carry % 10) as u8);
                carry /= 10;
            }
        }
        Self(
            digits
                .iter()
                .rev()
                .map(|digit| char::from(b'0' + digit))
                .collect(),
        )
    }

    /// The serial number that the store holds.
    #[must_use]
    pub fn from_decimal(text: &str) -> Self {
        Self(text.into())
    }

    /// The serial number in decimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of an agent's ID that its attestor chooses: what follows
/// `/spire/agent/<attestor>/`. An attestor cannot name anyone else's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName(Vec<String>);

impl AgentName {
    /// A name of these segments.
    ///
    /// # Errors
    ///
    /// Where there are none, or one of them is no path segment.
    pub fn new(segments: impl IntoIterator<Item = String>) -> Result<Self, AgentNameError> {
        let segments: Vec<_> = segments.into_iter().collect();
        if segments.is_empty() {
            return Err(AgentNameError::Empty);
        }
        // Any trust domain does: the rules of a segment do not depend on it.
        SpiffeId::from_segments(
            &TrustDomain::from_static("td"),
            segments.iter().map(|s| &**s),
        )?;
        Ok(Self(segments))
    }

    /// The agent's ID in this trust domain.
    ///
    /// # Errors
    ///
    /// Where the attestor's name is no path segment, or the ID would be too long.
    pub fn to_id(&self, trust_domain: &TrustDomain, attestor: &str) -> Result<SpiffeId, IdError> {
        let own = self.0.iter().map(|segment| &**segment);
        SpiffeId::from_segments(
            trust_domain,
            ["spire", "agent", attestor].into_iter().chain(own),
        )
    }
}

/// Why segments are not the name of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentNameError {
    /// No segments.
    #[error("an agent's name needs a segment")]
    Empty,
    /// A segment that breaks a rule of the path.
    #[error("the agent's name is no path")]
    Segment(#[from] IdError),
}

/// The secret that lets one agent attest once. Printed nowhere but where it is handed out.
#[derive(Clone)]
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// A new random token.
    #[must_use]
    pub fn random() -> Self {
        Self(Zeroizing::new(uuid::Uuid::new_v4().to_string()))
    }

    /// The token that a caller chose or presents.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The token itself, for the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store knows it by.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        TokenHash(hash)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({:?})", self.hash())
    }
}

/// The SHA-256 of a join token: equal only where the token is, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first bytes tell two tokens apart in a log; nobody needs more.
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_told_in_decimal() {
        for (bytes, decimal) in [
            (&[][..], "0"),
            (&[0], "0"),
            (&[0, 255], "255"),
            (&[1, 0], "256"),
            (&[0xff; 16], "340282366920938463463374607431768211455"),
        ] {
            assert_eq!(Serial::from_be_bytes(bytes).as_str(), decimal);
        }
    }

    #[test]
    fn an_attestor_names_agents_below_its_own_prefix_only() {
        let td = TrustDomain::from_static("td");
        let name = AgentName::new(["a".to_owned(), "b".to_owned()]).unwrap();
        let id = name.to_id(&td, "x509pop").unwrap();
        assert_eq!(id.as_str(), "spiffe://td/spire/agent/x509pop/a/b");
        for bad in ["..", "", "a/b"] {
            assert!(AgentName::new([bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(AgentName::new([]), Err(AgentNameError::Empty));
    }

    #[test]
    fn a_token_is_printed_as_its_hash() {
        let token = JoinToken::from_text("secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.hash(), JoinToken::from_text("secret").hash());
        assert_ne!(token.hash(), JoinToken::from_text("secret ").hash());
    }
}
