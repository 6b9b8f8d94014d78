//! What stands in our certificates: X509-SVIDs, and the roots that sign them.
//!
//! A [`Leaf`] cannot hold a name that its holder chose: it is made from a registration entry, an
//! agent's ID or the trust domain, and of a certificate request only the public key comes in. The
//! issuer's name is copied byte for byte from the authority's certificate, since a verifier compares
//! it so.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use der::asn1::{AnyRef, BitStringRef, Ia5StringRef, OctetStringRef, UintRef};
use der::{Decode, Encode};
use spiffe_core::x509::{Certificate, PublicKey};
use spiffe_core::{SpiffeId, TrustDomain};

use super::CaError;
use super::asn1::{
    self, AuthorityKeyIdentifier, BasicConstraints, Extension, GeneralName, TbsCertificate,
    Validity,
};
use super::csr::MintRequest;
use crate::domain::{Entry, Serial};
use crate::keys::Scheme;

/// An X509-SVID that is to be signed.
#[derive(Debug, Clone)]
pub struct Leaf {
    id: SpiffeId,
    dns_names: Vec<String>,
    subject: Option<Vec<u8>>,
    public_key: PublicKey,
    lifetime: Duration,
}

impl Leaf {
    /// A workload's: all names, and the lifetime if it has one, are the entry's.
    #[must_use]
    pub fn workload(entry: &Entry, public_key: PublicKey, default_lifetime: Duration) -> Self {
        let body = &entry.body;
        Self {
            id: body.spiffe_id.clone(),
            dns_names: body.dns_names.clone(),
            subject: None,
            public_key,
            lifetime: body.x509_svid_ttl.unwrap_or(default_lifetime),
        }
    }

    /// An agent's.
    ///
    /// # Errors
    ///
    /// [`CaError::NotAnAgent`] where the ID is outside `/spire/agent/`.
    pub fn agent(
        id: &SpiffeId,
        public_key: PublicKey,
        lifetime: Duration,
    ) -> Result<Self, CaError> {
        if !id.path().starts_with("/spire/agent/") {
            return Err(CaError::NotAnAgent(id.clone()));
        }
        Ok(Self::plain(id.clone(), public_key, lifetime))
    }

    /// The server's own.
    ///
    /// # Errors
    ///
    /// Where the trust domain's name leaves no room for a path.
    pub fn server(
        trust_domain: &TrustDomain,
        public_key: PublicKey,
        lifetime: Duration,
    ) -> Result<Self, CaError> {
        let id = SpiffeId::from_segments(trust_domain, ["spire", "server"])?;
        Ok(Self::plain(id, public_key, lifetime))
    }

    /// What an administrator asked for, without an entry. The caller has judged the names.
    #[must_use]
    pub fn minted(id: SpiffeId, request: MintRequest, lifetime: Duration) -> Self {
        Self {
            id,
            dns_names: request.dns_names,
            subject: request.subject,
            public_key: request.public_key,
            lifetime,
        }
    }

    fn plain(id: SpiffeId, public_key: PublicKey, lifetime: Duration) -> Self {
        Self {
            id,
            dns_names: Vec::new(),
            subject: None,
            public_key,
            lifetime,
        }
    }

    /// The identity that it will give.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// What the authority signs, as DER.
    pub(super) fn to_tbs(
        &self,
        issuer: &Certificate,
        scheme: Scheme,
        serial: &SerialNumber,
        now: SystemTime,
    ) -> Result<Vec<u8>, CaError> {
        if issuer.not_after() <= now {
            return Err(CaError::Expired);
        }
        let mut names = Vec::new();
        for name in &self.dns_names {
            names.push(GeneralName::Dns(Ia5StringRef::new(name)?));
        }
        names.push(GeneralName::Uri(Ia5StringRef::new(self.id.as_str())?));
        let key_id = key_id(&self.public_key);
        let issuer_key_id = issuer_key_id(issuer);
        let subject = self.subject()?;
        let tbs = TbsCertificate {
            version: asn1::V3,
            serial: UintRef::new(&serial.0)?,
            signature: asn1::algorithm(scheme)?,
            issuer: AnyRef::from_der(issuer.subject_der())?,
            validity: Validity::new(
                backdated(now),
                (now + self.lifetime).min(issuer.not_after()),
            )?,
            subject: AnyRef::from_der(&subject)?,
            public_key: AnyRef::from_der(self.public_key.spki_der())?,
            extensions: vec![
                Extension::critical(asn1::KEY_USAGE, &LEAF_USAGE.to_bits()?)?,
                Extension::new(
                    asn1::EXTENDED_KEY_USAGE,
                    &vec![asn1::SERVER_AUTH, asn1::CLIENT_AUTH],
                )?,
                Extension::critical(asn1::BASIC_CONSTRAINTS, &BasicConstraints { ca: false })?,
                Extension::new(asn1::SUBJECT_KEY_ID, &asn1::subject_key_id(&key_id)?)?,
                Extension::new(
                    asn1::AUTHORITY_KEY_ID,
                    &AuthorityKeyIdentifier {
                        key_id: OctetStringRef::new(&issuer_key_id)?,
                    },
                )?,
                Extension::new(asn1::SUBJECT_ALT_NAME, &names)?,
            ],
        };
        Ok(tbs.to_der()?)
    }

    /// The subject's name, with the first DNS name as common name.
    fn subject(&self) -> der::Result<Vec<u8>> {
        let common_name = self.dns_names.first().map(String::as_str);
        match (&self.subject, common_name) {
            (Some(subject), None) => Ok(subject.clone()),
            (Some(subject), Some(common_name)) => asn1::with_common_name(subject, common_name),
            (None, common_name) => asn1::name(&[
                (asn1::COUNTRY, &["US"]),
                (asn1::ORGANIZATION, &["SPIRE"]),
                (asn1::COMMON_NAME, common_name.as_slice()),
            ]),
        }
    }
}

/// The subject of our own authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaSubject {
    /// Countries.
    pub country: Vec<String>,
    /// Organizations.
    pub organization: Vec<String>,
    /// The common name; none where it is empty.
    pub common_name: String,
}

impl Default for CaSubject {
    fn default() -> Self {
        Self {
            country: vec!["US".to_owned()],
            organization: vec!["SPIFFE".to_owned()],
            common_name: String::new(),
        }
    }
}

/// A root that is to sign itself.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) trust_domain: TrustDomain,
    pub(super) subject: CaSubject,
    pub(super) lifetime: Duration,
}

impl Root {
    /// What the key signs, as DER.
    pub(super) fn to_tbs(
        &self,
        public_key: &PublicKey,
        scheme: Scheme,
        serial: &SerialNumber,
        now: SystemTime,
    ) -> Result<Vec<u8>, CaError> {
        let subject = self.subject(serial)?;
        let key_id = key_id(public_key);
        let id = format!("spiffe://{}", self.trust_domain);
        let name = GeneralName::Uri(Ia5StringRef::new(&id)?);
        let tbs = TbsCertificate {
            version: asn1::V3,
            serial: UintRef::new(&serial.0)?,
            signature: asn1::algorithm(scheme)?,
            issuer: AnyRef::from_der(&subject)?,
            validity: Validity::new(backdated(now), now + self.lifetime)?,
            subject: AnyRef::from_der(&subject)?,
            public_key: AnyRef::from_der(public_key.spki_der())?,
            extensions: vec![
                Extension::critical(asn1::KEY_USAGE, &CA_USAGE.to_bits()?)?,
                Extension::critical(asn1::BASIC_CONSTRAINTS, &BasicConstraints { ca: true })?,
                Extension::new(asn1::SUBJECT_KEY_ID, &asn1::subject_key_id(&key_id)?)?,
                Extension::new(asn1::SUBJECT_ALT_NAME, &vec![name])?,
            ],
        };
        Ok(tbs.to_der()?)
    }

    /// The subject's name. The serial number in it tells two roots of one server apart where a
    /// verifier looks for the issuer by its name.
    fn subject(&self, serial: &SerialNumber) -> der::Result<Vec<u8>> {
        fn texts(values: &[String]) -> Vec<&str> {
            values.iter().map(String::as_str).collect()
        }
        let common_name = Some(&*self.subject.common_name).filter(|name| !name.is_empty());
        let serial = Serial::from_be_bytes(&serial.0);
        asn1::name(&[
            (asn1::COUNTRY, &texts(&self.subject.country)),
            (asn1::ORGANIZATION, &texts(&self.subject.organization)),
            (asn1::COMMON_NAME, common_name.as_slice()),
            (asn1::SERIAL_NUMBER, &[serial.as_str()]),
        ])
    }
}

/// A random serial number from 1 to 2^128 - 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SerialNumber([u8; 16]);

impl SerialNumber {
    pub(super) fn random() -> Result<Self, CaError> {
        let mut bytes = [0; 16];
        while bytes == [0; 16] {
            rand::fill(&mut bytes).map_err(|_| CaError::NoRandomness)?;
        }
        Ok(Self(bytes))
    }
}

/// The key identifier: the SHA-1 of the key's bits (RFC 5280 section 4.2.1.2, the first method).
/// Nothing rests on its strength; it is a name that others compute in the same way.
pub(super) fn key_id(key: &PublicKey) -> Vec<u8> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.key_bits());
    hash.as_ref().to_vec()
}

fn issuer_key_id(issuer: &Certificate) -> Vec<u8> {
    match issuer.subject_key_id() {
        Some(key_id) => key_id.to_vec(),
        None => key_id(issuer.public_key()),
    }
}

/// Clocks differ by a little, and who has just been given a certificate wants to use it.
fn backdated(now: SystemTime) -> SystemTime {
    now - Duration::from_secs(10)
}

/// What a key may be used for: the bits of `KeyUsage` from the left, and how many are not in use.
struct KeyUsage {
    bits: u8,
    unused: u8,
}

impl KeyUsage {
    fn to_bits(&self) -> der::Result<BitStringRef<'_>> {
        BitStringRef::new(self.unused, std::slice::from_ref(&self.bits))
    }
}

/// digitalSignature (0), keyEncipherment (2), keyAgreement (4).
const LEAF_USAGE: KeyUsage = KeyUsage {
    bits: 0b1010_1000,
    unused: 3,
};

/// keyCertSign (5), cRLSign (6).
const CA_USAGE: KeyUsage = KeyUsage {
    bits: 0b0000_0110,
    unused: 1,
};
