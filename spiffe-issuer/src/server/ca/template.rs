//! What stands in our certificates: X509-SVIDs, and the authorities that sign them.
//!
//! A [`Leaf`] cannot hold a name that its holder chose: it is made from a registration entry, an
//! agent's ID or the trust domain, and of a certificate request only the public key comes in. The
//! issuer's name is copied byte for byte from the authority's certificate, since a verifier compares
//! it so.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
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
use super::csr::{CaRequest, MintRequest};
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
    unique_id: bool,
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
            unique_id: false,
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
            unique_id: false,
        }
    }

    /// One that nobody gets: signing and verifying it shows that an authority is of use.
    pub(super) fn throwaway(id: SpiffeId, public_key: PublicKey) -> Self {
        Self::plain(id, public_key, Duration::from_secs(60))
    }

    fn plain(id: SpiffeId, public_key: PublicKey, lifetime: Duration) -> Self {
        Self {
            id,
            dns_names: Vec::new(),
            subject: None,
            public_key,
            lifetime,
            unique_id: false,
        }
    }

    /// The same with an attribute in its subject that no other ID has.
    #[must_use]
    pub fn with_unique_id(self) -> Self {
        Self {
            unique_id: true,
            ..self
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
        let subject = match (&self.subject, common_name) {
            (Some(subject), None) => subject.clone(),
            (Some(subject), Some(common_name)) => asn1::with_common_name(subject, common_name)?,
            (None, common_name) => asn1::name(&[
                (asn1::COUNTRY, &["US"]),
                (asn1::ORGANIZATION, &["SPIRE"]),
                (asn1::COMMON_NAME, common_name.as_slice()),
            ])?,
        };
        match self.unique_id {
            true => asn1::with_last(&subject, asn1::UNIQUE_ID, &unique_id(&self.id)),
            false => Ok(subject),
        }
    }
}

/// The first half of the SHA-256 of an ID, in hex.
fn unique_id(id: &SpiffeId) -> String {
    let hash = digest(&SHA256, id.as_str().as_bytes());
    let half = hash.as_ref().iter().take(16);
    half.map(|byte| format!("{byte:02x}")).collect()
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

impl CaSubject {
    /// The name. The serial number in it tells two authorities of one server apart where a verifier
    /// looks for the issuer by its name.
    pub(super) fn to_der(&self, serial: &SerialNumber) -> der::Result<Vec<u8>> {
        fn texts(values: &[String]) -> Vec<&str> {
            values.iter().map(String::as_str).collect()
        }
        let common_name = Some(&*self.common_name).filter(|name| !name.is_empty());
        let serial = Serial::from_be_bytes(&serial.0);
        asn1::name(&[
            (asn1::COUNTRY, &texts(&self.country)),
            (asn1::ORGANIZATION, &texts(&self.organization)),
            (asn1::COMMON_NAME, common_name.as_slice()),
            (asn1::SERIAL_NUMBER, &[serial.as_str()]),
        ])
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
        let subject = self.subject.to_der(serial)?;
        ca_tbs(&CaFields {
            trust_domain: &self.trust_domain,
            issuer: (&subject, None),
            subject: &subject,
            public_key,
            validity: Validity::new(backdated(now), now + self.lifetime)?,
            scheme,
            serial,
        })
    }
}

/// An authority below another one.
#[derive(Debug, Clone)]
pub struct Intermediate {
    trust_domain: TrustDomain,
    /// As DER.
    subject: Vec<u8>,
    public_key: PublicKey,
    lifetime: Duration,
}

impl Intermediate {
    /// What a certificate request of this trust domain asks for.
    #[must_use]
    pub fn requested(trust_domain: TrustDomain, request: CaRequest, lifetime: Duration) -> Self {
        Self {
            trust_domain,
            subject: request.subject,
            public_key: request.public_key,
            lifetime,
        }
    }

    /// That of a server below us: named as we are, and how far below the root it stands.
    pub(super) fn downstream(
        trust_domain: TrustDomain,
        above: &[Certificate],
        public_key: PublicKey,
        lifetime: Duration,
    ) -> Result<Self, CaError> {
        let parent = above.first().ok_or(CaError::NotReady)?;
        let unit = format!("DOWNSTREAM-{}", above.len());
        Ok(Self {
            trust_domain,
            subject: asn1::with_unit(parent.subject_der(), &unit)?,
            public_key,
            lifetime,
        })
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
        let end = (now + self.lifetime).min(issuer.not_after());
        let issuer_key_id = issuer_key_id(issuer);
        ca_tbs(&CaFields {
            trust_domain: &self.trust_domain,
            issuer: (issuer.subject_der(), Some(&issuer_key_id)),
            subject: &self.subject,
            public_key: &self.public_key,
            validity: Validity::new(backdated(now), end)?,
            scheme,
            serial,
        })
    }
}

/// What differs between authorities.
struct CaFields<'a> {
    trust_domain: &'a TrustDomain,
    /// The issuer's name, and its key ID where it is somebody else.
    issuer: (&'a [u8], Option<&'a [u8]>),
    subject: &'a [u8],
    public_key: &'a PublicKey,
    validity: Validity,
    scheme: Scheme,
    serial: &'a SerialNumber,
}

fn ca_tbs(fields: &CaFields<'_>) -> Result<Vec<u8>, CaError> {
    let key_id = key_id(fields.public_key);
    let id = format!("spiffe://{}", fields.trust_domain);
    let name = GeneralName::Uri(Ia5StringRef::new(&id)?);
    let (issuer, issuer_key_id) = fields.issuer;
    let mut extensions = vec![
        Extension::critical(asn1::KEY_USAGE, &CA_USAGE.to_bits()?)?,
        Extension::critical(asn1::BASIC_CONSTRAINTS, &BasicConstraints { ca: true })?,
        Extension::new(asn1::SUBJECT_KEY_ID, &asn1::subject_key_id(&key_id)?)?,
    ];
    if let Some(issuer_key_id) = issuer_key_id {
        let key_id = OctetStringRef::new(issuer_key_id)?;
        let value = AuthorityKeyIdentifier { key_id };
        extensions.push(Extension::new(asn1::AUTHORITY_KEY_ID, &value)?);
    }
    extensions.push(Extension::new(asn1::SUBJECT_ALT_NAME, &vec![name])?);
    let tbs = TbsCertificate {
        version: asn1::V3,
        serial: UintRef::new(&fields.serial.0)?,
        signature: asn1::algorithm(fields.scheme)?,
        issuer: AnyRef::from_der(issuer)?,
        validity: fields.validity,
        subject: AnyRef::from_der(fields.subject)?,
        public_key: AnyRef::from_der(fields.public_key.spki_der())?,
        extensions,
    };
    Ok(tbs.to_der()?)
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
