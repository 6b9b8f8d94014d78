//! Trust bundles: the authorities that the members of a trust domain are believed by.

use std::time::{Duration, SystemTime};

use spiffe_core::TrustDomain;
use spiffe_core::bundle::TrustBundle;
use spiffe_core::jwt::Jwk;
use spiffe_core::x509::{Certificate, PublicKey};

use super::{AuthorityId, AuthorityKind};

/// A trust bundle, with what only servers say of it: what is tainted, and when keys end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose bundle it is.
    pub trust_domain: TrustDomain,
    /// The certificates that its members' certificates chain to.
    pub x509_authorities: Vec<X509Authority>,
    /// The keys that its members' JWT-SVIDs are signed with.
    pub jwt_authorities: Vec<TokenAuthority>,
    /// The keys that its members' WIT-SVIDs are signed with.
    pub wit_authorities: Vec<TokenAuthority>,
    /// How long to wait before looking for a newer one; zero where nothing is said.
    pub refresh_hint: Duration,
    /// How often it was changed.
    pub sequence_number: u64,
}

/// A certificate of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509Authority {
    /// The certificate.
    pub certificate: Certificate,
    /// Whether what it signed is to be replaced.
    pub tainted: bool,
}

impl X509Authority {
    /// Whether this is what the authority is called.
    #[must_use]
    pub fn is_called(&self, id: &AuthorityId) -> bool {
        let key_id = self.certificate.subject_key_id();
        key_id.is_some_and(|key_id| AuthorityId::from_key_id(key_id) == *id)
    }
}

/// A key of a bundle that tokens are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAuthority {
    /// What tokens call it.
    pub key_id: String,
    /// The key.
    pub public_key: PublicKey,
    /// When it ends; `None` where nothing is said.
    pub expires_at: Option<SystemTime>,
    /// Whether what it signed is to be replaced.
    pub tainted: bool,
}

/// Authorities that come to a bundle, or that went from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorityList {
    /// Certificates.
    pub x509: Vec<Certificate>,
    /// Keys of JWT-SVIDs.
    pub jwt: Vec<TokenAuthority>,
    /// Keys of WIT-SVIDs.
    pub wit: Vec<TokenAuthority>,
}

impl AuthorityList {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.x509.is_empty() && self.jwt.is_empty() && self.wit.is_empty()
    }
}

impl From<Vec<Certificate>> for AuthorityList {
    fn from(x509: Vec<Certificate>) -> Self {
        Self {
            x509,
            ..Self::default()
        }
    }
}

/// What becomes of the entries that federate with a bundle when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dissolve {
    /// They are deleted as well.
    Delete,
    /// They no longer federate with it.
    Dissociate,
    /// There may be none.
    Restrict,
}

impl Bundle {
    /// A bundle that nothing is in yet, and that was never changed.
    #[must_use]
    pub fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            wit_authorities: Vec::new(),
            refresh_hint: Duration::ZERO,
            sequence_number: 0,
        }
    }

    /// Whether the authority of this name is tainted; `None` where it is not in here.
    #[must_use]
    pub fn taint_of(&self, kind: AuthorityKind, id: &AuthorityId) -> Option<bool> {
        let keys = match kind {
            AuthorityKind::Jwt => &self.jwt_authorities,
            AuthorityKind::Wit => &self.wit_authorities,
            AuthorityKind::X509 => {
                let mut roots = self.x509_authorities.iter();
                return Some(roots.find(|root| root.is_called(id))?.tainted);
            }
        };
        Some(keys.iter().find(|key| key.key_id == id.as_str())?.tainted)
    }

    /// When the authority of this name ends, if it is in here and an end is told.
    #[must_use]
    pub fn end_of(&self, kind: AuthorityKind, id: &AuthorityId) -> Option<SystemTime> {
        let keys = match kind {
            AuthorityKind::Jwt => &self.jwt_authorities,
            AuthorityKind::Wit => &self.wit_authorities,
            AuthorityKind::X509 => {
                let mut roots = self.x509_authorities.iter();
                let root = roots.find(|root| root.is_called(id))?;
                return Some(root.certificate.not_after());
            }
        };
        let key = keys.iter().find(|key| key.key_id == id.as_str());
        key?.expires_at
    }

    /// What is published of it, and what its members are verified with. A key that no token can be
    /// verified with is left out.
    #[must_use]
    pub fn trust_bundle(&self) -> TrustBundle {
        let roots = self.x509_authorities.iter();
        let roots = roots.map(|authority| authority.certificate.clone());
        let keys = self.jwt_authorities.iter().filter_map(|authority| {
            let key = Jwk::from_spki_der(authority.public_key.spki_der()).ok()?;
            Some(key.with_key_id(&authority.key_id))
        });
        TrustBundle::new(self.trust_domain.clone(), roots.collect())
            .with_jwt_authorities(keys.collect())
            .with_sequence(Some(self.sequence_number).filter(|number| *number != 0))
            .with_refresh_hint(Some(self.refresh_hint).filter(|hint| !hint.is_zero()))
    }
}

/// A bundle as others publish theirs: nothing is tainted, and no key says when it ends. A key that no
/// token can name is left out.
impl From<&TrustBundle> for Bundle {
    fn from(published: &TrustBundle) -> Self {
        let roots = published.x509_authorities().iter();
        let keys = published.jwt_authorities().iter().filter_map(|key| {
            Some(TokenAuthority {
                key_id: key.key_id()?.to_owned(),
                public_key: PublicKey::from_spki_der(&key.to_spki_der()).ok()?,
                expires_at: None,
                tainted: false,
            })
        });
        Self {
            x509_authorities: roots.cloned().map(X509Authority::from).collect(),
            jwt_authorities: keys.collect(),
            // The store keeps whole seconds.
            refresh_hint: Duration::from_secs(published.refresh_hint().map_or(0, |h| h.as_secs())),
            sequence_number: published.sequence().unwrap_or(0),
            ..Self::empty(published.trust_domain().clone())
        }
    }
}

impl From<Certificate> for X509Authority {
    fn from(certificate: Certificate) -> Self {
        Self {
            certificate,
            tainted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    #[test]
    fn what_is_published_survives_the_way_there_and_back() {
        let authority = TestAuthority::new("a.test");
        let keys = authority.bundle().jwt_authorities().to_vec();
        let bundle = authority.x509_bundle().with_jwt_authorities(keys);
        for (number, hint) in [(None, None), (Some(7), Some(300))] {
            let hint = hint.map(Duration::from_secs);
            let bundle = bundle.clone().with_sequence(number).with_refresh_hint(hint);
            assert_eq!(Bundle::from(&bundle).trust_bundle(), bundle);
        }
    }
}
