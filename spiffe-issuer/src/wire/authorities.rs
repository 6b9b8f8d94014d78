//! Bundles with all that servers say of them, as messages.

use spiffe_core::TrustDomain;
use spiffe_core::x509::{Certificate, PublicKey};

use super::{Field, FieldError, FieldFault, seconds, whole_seconds};
use crate::domain::{Bundle, Fault, Kind, TokenAuthority, X509Authority};
use crate::proto::types;

/// The bundle of a message.
///
/// # Errors
///
/// Where its trust domain is none, or an authority or a number is not as it must be.
pub fn bundle_from_message(message: &types::Bundle) -> Result<Bundle, BundleFault> {
    let trust_domain = TrustDomain::from_id_or_name(&message.trust_domain)
        .map_err(|error| Field::named("trust_domain").is(FieldFault::Malformed(Box::new(error))))
        .map_err(BundleFault::TrustDomain)?;
    let hint = Field::named("refresh_hint").seconds(message.refresh_hint);
    Ok(Bundle {
        trust_domain,
        x509_authorities: x509_from_messages(&message.x509_authorities)?,
        jwt_authorities: jwt_from_messages(&message.jwt_authorities)?,
        wit_authorities: wit_from_messages(&message.wit_authorities)?,
        refresh_hint: hint.map_err(BundleFault::RefreshHint)?,
        sequence_number: message.sequence_number,
    })
}

/// A bundle as a message.
#[must_use]
pub fn bundle_to_message(bundle: &Bundle) -> types::Bundle {
    let certificates = bundle.x509_authorities.iter().map(x509_to_message);
    types::Bundle {
        trust_domain: bundle.trust_domain.to_string(),
        x509_authorities: certificates.collect(),
        jwt_authorities: bundle.jwt_authorities.iter().map(jwt_to_message).collect(),
        wit_authorities: bundle.wit_authorities.iter().map(wit_to_message).collect(),
        refresh_hint: whole_seconds(bundle.refresh_hint),
        sequence_number: bundle.sequence_number,
    }
}

/// Certificates of authorities.
///
/// # Errors
///
/// Where one is no certificate.
pub fn x509_from_messages(
    messages: &[types::X509Certificate],
) -> Result<Vec<X509Authority>, BundleFault> {
    let read = |(at, message): (usize, &types::X509Certificate)| {
        let outer = Field::item("x509_authorities", at);
        let certificate = Certificate::from_der(&message.asn1).map_err(|error| {
            let field = Field::named("asn1").of(&outer);
            BundleFault::X509(field.is(FieldFault::Malformed(Box::new(error))))
        })?;
        Ok(X509Authority {
            certificate,
            tainted: message.tainted,
        })
    };
    messages.iter().enumerate().map(read).collect()
}

/// Keys of JWT-SVIDs.
///
/// # Errors
///
/// Where one is no key, or has no ID.
pub fn jwt_from_messages(messages: &[types::JwtKey]) -> Result<Vec<TokenAuthority>, BundleFault> {
    let read = |(at, key): (usize, &types::JwtKey)| {
        let field = Field::item("jwt_authorities", at);
        let read = token_authority(&field, &key.public_key, &key.key_id, key.expires_at);
        let tainted = key.tainted;
        Ok(TokenAuthority {
            tainted,
            ..read.map_err(BundleFault::Jwt)?
        })
    };
    messages.iter().enumerate().map(read).collect()
}

/// Keys of WIT-SVIDs.
///
/// # Errors
///
/// Where one is no key, or has no ID.
pub fn wit_from_messages(messages: &[types::WitKey]) -> Result<Vec<TokenAuthority>, BundleFault> {
    let read = |(at, key): (usize, &types::WitKey)| {
        let field = Field::item("wit_authorities", at);
        let read = token_authority(&field, &key.public_key, &key.key_id, key.expires_at);
        let tainted = key.tainted;
        Ok(TokenAuthority {
            tainted,
            ..read.map_err(BundleFault::Wit)?
        })
    };
    messages.iter().enumerate().map(read).collect()
}

fn token_authority(
    field: &Field<'_>,
    spki: &[u8],
    key_id: &str,
    expires_at: i64,
) -> Result<TokenAuthority, KeyFault> {
    let public_key = PublicKey::from_spki_der(spki).map_err(|error| {
        let field = Field::named("public_key").of(field);
        KeyFault::Field(field.is(FieldFault::Malformed(Box::new(error))))
    })?;
    if key_id.is_empty() {
        return Err(KeyFault::NoId);
    }
    Ok(TokenAuthority {
        key_id: key_id.to_owned(),
        public_key,
        expires_at: Field::named("expires_at").of(field).time(expires_at)?,
        tainted: false,
    })
}

fn x509_to_message(authority: &X509Authority) -> types::X509Certificate {
    types::X509Certificate {
        asn1: authority.certificate.der().to_vec(),
        tainted: authority.tainted,
    }
}

/// A key of JWT-SVIDs as a message.
#[must_use]
pub fn jwt_to_message(key: &TokenAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: key.public_key.spki_der().to_vec(),
        key_id: key.key_id.clone(),
        expires_at: key.expires_at.map_or(0, seconds),
        tainted: key.tainted,
    }
}

/// A key of WIT-SVIDs as a message.
#[must_use]
pub fn wit_to_message(key: &TokenAuthority) -> types::WitKey {
    types::WitKey {
        public_key: key.public_key.spki_der().to_vec(),
        key_id: key.key_id.clone(),
        expires_at: key.expires_at.map_or(0, seconds),
        tainted: key.tainted,
    }
}

/// Why a message is no bundle. The texts are known to clients.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    /// A key of JWT-SVIDs is none.
    #[error("unable to parse JWT authority")]
    Jwt(#[source] KeyFault),
    /// The refresh hint is no number of seconds.
    #[error("invalid refresh hint")]
    RefreshHint(#[source] FieldError),
    /// The trust domain is none.
    #[error("invalid trust domain")]
    TrustDomain(#[source] FieldError),
    /// A key of WIT-SVIDs is none.
    #[error("unable to parse WIT authority")]
    Wit(#[source] KeyFault),
    /// A certificate is none.
    #[error("unable to parse X.509 authority")]
    X509(#[source] FieldError),
}

impl Fault for BundleFault {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Why a message is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// A field is not as it must be.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Tokens could not name it.
    #[error("missing key ID")]
    NoId,
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;
    use spiffe_core::with_causes;

    use super::*;

    fn message() -> types::Bundle {
        let bundle = TestAuthority::new("td").bundle();
        let mut bundle = Bundle::from(&bundle.with_sequence(Some(7)));
        bundle.x509_authorities[0].tainted = true;
        bundle.wit_authorities = bundle.jwt_authorities.clone();
        bundle_to_message(&bundle)
    }

    #[test]
    fn a_bundle_survives_the_way_there_and_back() {
        let mut message = message();
        message.refresh_hint = 300;
        message.jwt_authorities[0].expires_at = 9;
        message.jwt_authorities[0].tainted = true;
        let read = bundle_from_message(&message).unwrap();
        assert_eq!(bundle_to_message(&read), message);
        message.trust_domain = "spiffe://td".to_owned();
        assert_eq!(bundle_from_message(&message).unwrap(), read);
    }

    #[test]
    fn what_is_no_bundle_is_told_where() {
        type Change = fn(&mut types::Bundle);
        let change: [(Change, &str); 7] = [
            (
                |m| m.trust_domain.clear(),
                "invalid trust domain: trust_domain: ",
            ),
            (
                |m| m.trust_domain = "TD".into(),
                "invalid trust domain: trust_domain: ",
            ),
            (
                |m| m.x509_authorities[0].asn1.truncate(9),
                "unable to parse X.509 authority: x509_authorities[0].asn1: ",
            ),
            (
                |m| m.jwt_authorities[0].public_key.clear(),
                "unable to parse JWT authority: jwt_authorities[0].public_key: ",
            ),
            (
                |m| m.jwt_authorities[0].key_id.clear(),
                "unable to parse JWT authority: missing key ID",
            ),
            (
                |m| m.wit_authorities[0].key_id.clear(),
                "unable to parse WIT authority: missing key ID",
            ),
            (
                |m| m.refresh_hint = -1,
                "invalid refresh hint: refresh_hint: must not be negative",
            ),
        ];
        for (change, why) in change {
            let mut message = message();
            change(&mut message);
            let refused = bundle_from_message(&message).unwrap_err();
            let told = with_causes(&refused);
            assert!(told.starts_with(why), "{told}");
        }
    }
}
