//! One entry of the list `keys`: an authority, and what it is for.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::error::KeyFlaw;
use crate::json::Object;
use crate::jwt::{Jwk, JwkError, Key};
use crate::x509::Certificate;

/// What a key is for: the values of `use` (SPIFFE Trust Domain and Bundle section 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    X509,
    Jwt,
    #[cfg(feature = "incubating-wit")]
    Wit,
}

impl Use {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X509 => "x509-svid",
            Self::Jwt => "jwt-svid",
            #[cfg(feature = "incubating-wit")]
            Self::Wit => "wit-svid",
        }
    }

    /// What an entry says that it is for; the names are case-sensitive.
    pub(super) fn of(entry: &Object) -> Option<Self> {
        let name = entry.get(USE)?.as_str()?;
        let known = [
            Self::X509,
            Self::Jwt,
            #[cfg(feature = "incubating-wit")]
            Self::Wit,
        ];
        known.into_iter().find(|known| known.name() == name)
    }
}

/// Reads the certificate of an X.509 authority (X509-SVID section 6.2).
pub(super) fn x509(entry: &Object) -> Result<Certificate, KeyFlaw> {
    let key = Key::from_members(entry)?;
    // Only the first certificate counts.
    let der = entry
        .get(X5C)
        .and_then(|list| list.get(0))
        .and_then(Value::as_str)
        .and_then(|text| BASE64_STANDARD.decode(text).ok())
        .ok_or(KeyFlaw::NoCertificate)?;
    let certificate = Certificate::from_der(&der)?;
    if Key::from_spki_der(certificate.public_key().spki_der()) != Ok(key) {
        return Err(KeyFlaw::ForeignCertificate);
    }
    if !certificate.may_issue() {
        return Err(KeyFlaw::NotAnAuthority);
    }
    Ok(certificate)
}

/// Reads a key for tokens (JWT-SVID section 6.1).
pub(super) fn token_key(entry: &Object) -> Result<Jwk, KeyFlaw> {
    let key = Jwk::from_members(entry)?;
    match key.key_id() {
        Some(_) => Ok(key),
        None => Err(KeyFlaw::NoKeyId),
    }
}

/// Writes the entry of an X.509 authority, which has no ID (X509-SVID section 6.1).
pub(super) fn write_x509(authority: &Certificate) -> Result<Value, JwkError> {
    let mut entry = Key::from_spki_der(authority.public_key().spki_der())?.members();
    entry.insert(USE.to_owned(), Use::X509.name().into());
    let certificate = BASE64_STANDARD.encode(authority.der());
    entry.insert(X5C.to_owned(), vec![certificate].into());
    Ok(entry.into())
}

/// Writes the entry of a key for tokens, without any member that the standard does not define
/// (SPIFFE Trust Domain and Bundle section 4.2). `None` for a key without an ID.
pub(super) fn write_token_key(key: &Jwk, purpose: Use) -> Option<Value> {
    let key_id = key.key_id()?;
    let mut entry = key.key().members();
    entry.insert("kid".to_owned(), key_id.into());
    entry.insert(USE.to_owned(), purpose.name().into());
    Some(entry.into())
}

pub(super) const USE: &str = "use";
const X5C: &str = "x5c";
