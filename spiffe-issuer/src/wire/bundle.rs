//! Bundles and SVIDs as messages.

use spiffe_core::SpiffeId;
use spiffe_core::bundle::TrustBundle;
use spiffe_core::x509::Certificate;

use super::{Field, FieldError, FieldFault, id_to_message, seconds, trust_domain};
use crate::proto::types;

/// A bundle as a peer tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldBundle {
    /// The bundle, with the tainted authorities in it.
    pub bundle: TrustBundle,
    /// Those of its authorities whose signatures are to be replaced.
    pub tainted: Vec<Certificate>,
    /// How often it was changed.
    pub sequence_number: u64,
}

/// The bundle of a message.
///
/// # Errors
///
/// Where its trust domain is none, or an authority is no certificate.
pub fn from_message(message: &types::Bundle) -> Result<ToldBundle, FieldError> {
    let of = trust_domain(&Field::named("trust_domain"), &message.trust_domain)?;
    let mut authorities = Vec::new();
    let mut tainted = Vec::new();
    for (at, authority) in message.x509_authorities.iter().enumerate() {
        let outer = Field::item("x509_authorities", at);
        let certificate = certificate(&Field::named("asn1").of(&outer), &authority.asn1)?;
        if authority.tainted {
            tainted.push(certificate.clone());
        }
        authorities.push(certificate);
    }
    Ok(ToldBundle {
        bundle: TrustBundle::new(of, authorities),
        tainted,
        sequence_number: message.sequence_number,
    })
}

/// A chain that was signed, as a message: leaf first, without the root.
#[must_use]
pub fn svid_to_message(id: &SpiffeId, chain: &[Certificate], hint: &str) -> types::X509svid {
    types::X509svid {
        cert_chain: chain.iter().map(|c| c.der().to_vec()).collect(),
        id: Some(id_to_message(id)),
        expires_at: chain.first().map_or(0, |leaf| seconds(leaf.not_after())),
        hint: hint.to_owned(),
    }
}

/// The chain of a message, leaf first. Whether it belongs to a key shows where it meets the key.
///
/// # Errors
///
/// Where there is no certificate, or one of them is malformed.
pub fn chain_from_message(message: &types::X509svid) -> Result<Vec<Certificate>, FieldError> {
    if message.cert_chain.is_empty() {
        return Err(Field::named("cert_chain").is(FieldFault::Empty));
    }
    message
        .cert_chain
        .iter()
        .enumerate()
        .map(|(at, der)| certificate(&Field::item("cert_chain", at), der))
        .collect()
}

fn certificate(field: &Field<'_>, der: &[u8]) -> Result<Certificate, FieldError> {
    Certificate::from_der(der).map_err(|error| field.is(FieldFault::Malformed(Box::new(error))))
}

#[cfg(test)]
mod tests {
    use spiffe_core::{TrustDomain, spiffe_id};

    use super::*;

    /// A self-signed certificate; here it only has to be one.
    fn certificate() -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        Certificate::from_der(made.der()).unwrap()
    }

    fn authority(certificate: &Certificate, tainted: bool) -> types::X509Certificate {
        types::X509Certificate {
            asn1: certificate.der().to_vec(),
            tainted,
        }
    }

    #[test]
    fn a_bundle_is_read_whole_or_not_at_all() {
        let (good, bad) = (certificate(), certificate());
        let mut message = types::Bundle {
            trust_domain: "td".into(),
            x509_authorities: vec![authority(&good, false), authority(&bad, true)],
            sequence_number: 7,
            ..Default::default()
        };
        let told = from_message(&message).unwrap();
        let td = TrustDomain::from_static("td");
        assert_eq!(told.bundle, TrustBundle::new(td, vec![good, bad.clone()]));
        assert_eq!((told.tainted, told.sequence_number), (vec![bad], 7));

        message.x509_authorities[1].asn1.pop();
        let refused = from_message(&message).unwrap_err().to_string();
        assert!(
            refused.starts_with("x509_authorities[1].asn1: "),
            "{refused}"
        );
        message.trust_domain.clear();
        let refused = from_message(&message).unwrap_err().to_string();
        assert_eq!(refused, "trust_domain: must not be empty");
    }

    #[test]
    fn a_chain_survives_the_way_there_and_back() {
        let chain = vec![certificate(), certificate()];
        let id = spiffe_id!("spiffe://td/a");
        let message = svid_to_message(&id, &chain, "h");
        assert_eq!(message.expires_at, seconds(chain[0].not_after()));
        assert_eq!((&*message.hint, message.cert_chain.len()), ("h", 2));
        assert_eq!(chain_from_message(&message).unwrap(), chain);
    }

    #[test]
    fn a_chain_that_is_none_is_told_where() {
        let mut message = types::X509svid::default();
        let refused = chain_from_message(&message).unwrap_err().to_string();
        assert_eq!(refused, "cert_chain: must not be empty");
        message.cert_chain = vec![certificate().der().to_vec(), vec![0]];
        let refused = chain_from_message(&message).unwrap_err().to_string();
        assert!(refused.starts_with("cert_chain[1]: "), "{refused}");
    }
}
