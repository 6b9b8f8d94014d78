//! Authorities: the keys that a trust domain signs with, and how far each of them has come; and the
//! trust domains whose authorities are believed beside our own.

use std::fmt;

use spiffe_core::{SpiffeId, TrustDomain};

/// What an authority is called: for X.509 the subject key ID of its certificate, in hex; for tokens the
/// key ID in their headers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(Box<str>);

impl AuthorityId {
    /// The X.509 authority with this subject key ID.
    #[must_use]
    pub fn from_key_id(key_id: &[u8]) -> Self {
        Self(key_id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The authority that a caller, or the store, names.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorityKind {
    /// JWT-SVIDs.
    Jwt,
    /// WIT-SVIDs.
    Wit,
    /// X.509-SVIDs.
    X509,
}

impl fmt::Display for AuthorityKind {
    /// As it is called in texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jwt => "JWT",
            Self::Wit => "WIT",
            Self::X509 => "X.509",
        })
    }
}

/// How far an authority has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It signs.
    Active,
    /// It signed before; what it signed is still good.
    Old,
    /// It is in the bundle and will sign next.
    Prepared,
}

/// What is agreed with another trust domain: where its bundle is had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relationship {
    /// The other trust domain.
    pub trust_domain: TrustDomain,
    /// The URL of its bundle endpoint.
    pub bundle_endpoint_url: String,
    /// How the server there proves who it is.
    pub profile: EndpointProfile,
}

/// How the server of a bundle endpoint proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointProfile {
    /// By an X.509-SVID of this ID.
    HttpsSpiffe(SpiffeId),
    /// By a certificate of a web authority.
    HttpsWeb,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_x509_authority_is_called_by_its_key_id_in_hex() {
        let id = AuthorityId::from_key_id(&[0, 0x0a, 0xff]);
        assert_eq!(id.as_str(), "000aff");
        assert_eq!(id, AuthorityId::from_text("000aff"));
    }
}
