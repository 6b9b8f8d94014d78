//! The DER of a certificate, piece by piece (RFC 5280). No profile here: what stands in which
//! certificate is [`template`](super::template)'s.

use std::time::SystemTime;

use der::asn1::{
    AnyRef, BitStringRef, GeneralizedTime, Ia5StringRef, ObjectIdentifier, OctetString,
    OctetStringRef, PrintableStringRef, SetOfVec, UintRef, UtcTime,
};
use der::{Choice, DateTime, Decode, Encode, Sequence, Tag, ValueOrd};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

use crate::keys::Scheme;

/// What is signed of a certificate.
#[derive(Sequence)]
pub(super) struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(super) version: u8,
    pub(super) serial: UintRef<'a>,
    pub(super) signature: AnyRef<'a>,
    pub(super) issuer: AnyRef<'a>,
    pub(super) validity: Validity,
    pub(super) subject: AnyRef<'a>,
    pub(super) public_key: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    pub(super) extensions: Vec<Extension>,
}

/// Version 3, the one with extensions.
pub(super) const V3: u8 = 2;

/// From when until when, to the second.
#[derive(Clone, Copy, Sequence)]
pub(super) struct Validity {
    not_before: Time,
    not_after: Time,
}

impl Validity {
    pub(super) fn new(not_before: SystemTime, not_after: SystemTime) -> der::Result<Self> {
        Ok(Self {
            not_before: Time::new(not_before)?,
            not_after: Time::new(not_after)?,
        })
    }
}

#[derive(Clone, Copy, Choice)]
enum Time {
    #[asn1(type = "UTCTime")]
    Utc(UtcTime),
    #[asn1(type = "GeneralizedTime")]
    General(GeneralizedTime),
}

impl Time {
    fn new(time: SystemTime) -> der::Result<Self> {
        let time = DateTime::from_system_time(time)?;
        // The two digits of UTCTime end with 2049 (RFC 5280 section 4.1.2.5).
        Ok(match UtcTime::from_date_time(time) {
            Ok(utc) => Self::Utc(utc),
            Err(_) => Self::General(GeneralizedTime::from_date_time(time)),
        })
    }
}

/// One extension.
#[derive(Sequence)]
pub(super) struct Extension {
    oid: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: OctetString,
}

impl Extension {
    pub(super) fn new(oid: ObjectIdentifier, value: &impl Encode) -> der::Result<Self> {
        Ok(Self {
            oid,
            critical: false,
            value: OctetString::new(value.to_der()?)?,
        })
    }

    pub(super) fn critical(oid: ObjectIdentifier, value: &impl Encode) -> der::Result<Self> {
        Ok(Self {
            critical: true,
            ..Self::new(oid, value)?
        })
    }
}

/// `BasicConstraints`. A path length is never set.
#[derive(Sequence)]
pub(super) struct BasicConstraints {
    #[asn1(default = "Default::default")]
    pub(super) ca: bool,
}

/// `AuthorityKeyIdentifier`, with the one field that is in use.
#[derive(Sequence)]
pub(super) struct AuthorityKeyIdentifier<'a> {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    pub(super) key_id: &'a OctetStringRef,
}

/// `SubjectKeyIdentifier`.
pub(super) fn subject_key_id(key_id: &[u8]) -> der::Result<AnyRef<'_>> {
    AnyRef::new(Tag::OctetString, key_id)
}

/// A `GeneralName` of the two sorts that we write.
#[derive(Choice)]
pub(super) enum GeneralName<'a> {
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Dns(Ia5StringRef<'a>),
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT")]
    Uri(Ia5StringRef<'a>),
}

/// A certificate from what was signed and the signature.
pub(super) fn certificate(tbs: &[u8], scheme: Scheme, signature: &[u8]) -> der::Result<Vec<u8>> {
    #[derive(Sequence)]
    struct Certificate<'a> {
        tbs: AnyRef<'a>,
        algorithm: AnyRef<'a>,
        signature: BitStringRef<'a>,
    }
    let certificate = Certificate {
        tbs: AnyRef::from_der(tbs)?,
        algorithm: algorithm(scheme)?,
        signature: BitStringRef::from_bytes(signature)?,
    };
    certificate.to_der()
}

/// The identifier of the algorithm that a scheme signs with.
pub(super) fn algorithm(scheme: Scheme) -> der::Result<AnyRef<'static>> {
    const ECDSA_SHA256: AlgorithmIdentifier = alg_id::ECDSA_SHA256;
    const ECDSA_SHA384: AlgorithmIdentifier = alg_id::ECDSA_SHA384;
    const RSA_PKCS1_SHA256: AlgorithmIdentifier = alg_id::RSA_PKCS1_SHA256;
    let content: &'static AlgorithmIdentifier = match scheme {
        Scheme::EcdsaP256Sha256 => &ECDSA_SHA256,
        Scheme::EcdsaP384Sha384 => &ECDSA_SHA384,
        Scheme::RsaPkcs1Sha256 => &RSA_PKCS1_SHA256,
    };
    AnyRef::new(Tag::Sequence, content.as_ref())
}

/// The DER of a `Name`: for each type of attribute one set of all its values, as Go writes it. Types
/// without values are left out.
pub(super) fn name(attributes: &[(ObjectIdentifier, &[&str])]) -> der::Result<Vec<u8>> {
    let given = attributes.iter().filter(|(_, values)| !values.is_empty());
    let sets: der::Result<Vec<_>> = given.map(|(oid, values)| set(*oid, values)).collect();
    sets?.to_der()
}

/// The same name with this as its only common name.
pub(super) fn with_common_name(name: &[u8], common_name: &str) -> der::Result<Vec<u8>> {
    let mut sets: Vec<SetOfVec<Attribute<'_>>> = Decode::from_der(name)?;
    sets.retain(|set| set.iter().all(|attribute| attribute.oid != COMMON_NAME));
    sets.push(set(COMMON_NAME, &[common_name])?);
    sets.to_der()
}

/// The same name with this as its only organizational unit, where Go writes it: behind country and
/// organization.
pub(super) fn with_unit(name: &[u8], unit: &str) -> der::Result<Vec<u8>> {
    let mut sets: Vec<SetOfVec<Attribute<'_>>> = Decode::from_der(name)?;
    let is = |set: &SetOfVec<Attribute<'_>>, oids: &[ObjectIdentifier]| {
        set.iter().any(|attribute| oids.contains(&attribute.oid))
    };
    sets.retain(|set| !is(set, &[UNIT]));
    let before = sets
        .iter()
        .rposition(|set| is(set, &[COUNTRY, ORGANIZATION]));
    sets.insert(before.map_or(0, |at| at + 1), set(UNIT, &[unit])?);
    sets.to_der()
}

/// The same name with this attribute at its end.
pub(super) fn with_last(name: &[u8], oid: ObjectIdentifier, value: &str) -> der::Result<Vec<u8>> {
    let mut sets: Vec<SetOfVec<Attribute<'_>>> = Decode::from_der(name)?;
    sets.push(set(oid, &[value])?);
    sets.to_der()
}

fn set<'a>(oid: ObjectIdentifier, values: &[&'a str]) -> der::Result<SetOfVec<Attribute<'a>>> {
    let mut set = SetOfVec::new();
    for value in values {
        // Go writes a PrintableString where it can.
        let tag = match PrintableStringRef::new(value) {
            Ok(_) => Tag::PrintableString,
            Err(_) => Tag::Utf8String,
        };
        let value = AnyRef::new(tag, value.as_bytes())?;
        set.insert(Attribute { oid, value })?;
    }
    Ok(set)
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence, ValueOrd)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

// Attributes of names (X.520).
pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
pub(super) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
pub(super) const UNIQUE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.45");
pub(super) const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
pub(super) const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");

// Extensions (RFC 5280 section 4.2.1).
pub(super) const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(super) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(super) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(super) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(super) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(super) const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");

// Purposes of a key (RFC 5280 section 4.2.1.12).
pub(super) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
pub(super) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
