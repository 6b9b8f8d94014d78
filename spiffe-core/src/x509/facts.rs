//! The facts of a certificate that we judge by, read off its DER in one pass.
//!
//! Names are counted by their raw tags: a reader that skips names it cannot make sense of lets a
//! second identity slip by.

use std::ops::Range;
use std::time::SystemTime;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{Reader, SliceReader, Tag, TagNumber, Tagged};

use super::PublicKey;

/// What a certificate says, as far as it matters here.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) serial: Vec<u8>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) subject: Range<usize>,
    pub(super) subject_is_empty: bool,
    pub(super) is_self_issued: bool,
    pub(super) public_key: PublicKey,
    pub(super) is_ca: bool,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) uri_names: Vec<Vec<u8>>,
    pub(super) names_critical: bool,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
}

/// The bits of the key usage extension that SPIFFE speaks of (X509-SVID section 4.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyUsage {
    pub(super) digital_signature: bool,
    pub(super) cert_sign: bool,
    pub(super) crl_sign: bool,
}

impl Facts {
    /// Reads one certificate; trailing bytes are an error.
    pub(super) fn read(certificate: &[u8]) -> der::Result<Self> {
        let mut outer = SliceReader::new(certificate)?;
        let facts = outer.sequence(|certificate_fields| {
            let facts = certificate_fields.sequence(|tbs| read_tbs(tbs, certificate))?;
            AnyRef::read_tagged(certificate_fields, Tag::Sequence)?;
            AnyRef::read_tagged(certificate_fields, Tag::BitString)?;
            Ok::<_, der::Error>(facts)
        })?;
        outer.finish()?;
        Ok(facts)
    }
}

fn read_tbs(tbs: &mut SliceReader<'_>, certificate: &[u8]) -> der::Result<Facts> {
    if Tag::peek(tbs)? == context(0) {
        tbs.tlv_bytes()?;
    }
    let serial = AnyRef::read_tagged(tbs, Tag::Integer)?.value();
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    AnyRef::read_tagged(tbs, Tag::Sequence)?;
    let issuer = AnyRef::read_tagged(tbs, Tag::Sequence)?;
    let (not_before, not_after) =
        tbs.sequence(|validity| Ok::<_, der::Error>((read_time(validity)?, read_time(validity)?)))?;
    let subject = tbs.tlv_bytes()?;
    let public_key =
        PublicKey::from_spki_der(tbs.tlv_bytes()?).map_err(|_| der::ErrorKind::Value {
            tag: Tag::BitString,
        })?;
    let mut facts = Facts {
        serial: serial[zeros..].to_vec(),
        not_before,
        not_after,
        subject: range_within(certificate, subject),
        subject_is_empty: subject == EMPTY_SEQUENCE,
        is_self_issued: AnyRef::try_from(subject)? == issuer,
        public_key,
        is_ca: false,
        key_usage: None,
        uri_names: Vec::new(),
        names_critical: false,
        subject_key_id: None,
        authority_key_id: None,
    };
    while !tbs.is_finished() {
        let field: AnyRef<'_> = tbs.decode()?;
        if field.tag() == context(3) {
            read_extensions(field.value(), &mut facts)?;
        }
    }
    Ok(facts)
}

fn read_extensions(bytes: &[u8], facts: &mut Facts) -> der::Result<()> {
    let mut reader = SliceReader::new(bytes)?;
    reader.sequence(|extensions| {
        while !extensions.is_finished() {
            extensions.sequence(|extension| read_extension(extension, facts))?;
        }
        Ok::<_, der::Error>(())
    })?;
    reader.finish()
}

fn read_extension(extension: &mut SliceReader<'_>, facts: &mut Facts) -> der::Result<()> {
    let id: ObjectIdentifier = extension.decode()?;
    let critical = Tag::peek(extension)? == Tag::Boolean && extension.decode()?;
    let value = AnyRef::read_tagged(extension, Tag::OctetString)?.value();
    let mut value = SliceReader::new(value)?;
    match id {
        SUBJECT_KEY_ID => {
            let key_id = AnyRef::read_tagged(&mut value, Tag::OctetString)?;
            facts.subject_key_id = Some(key_id.value().to_vec());
        }
        KEY_USAGE => facts.key_usage = Some(read_key_usage(&mut value)?),
        SUBJECT_ALT_NAME => {
            facts.names_critical = critical;
            // Added to, not replaced: two such extensions do not hide a name.
            facts.uri_names.extend(read_uri_names(&mut value)?);
        }
        BASIC_CONSTRAINTS => {
            facts.is_ca = value.sequence(|fields| {
                let is_ca = !fields.is_finished()
                    && Tag::peek(fields)? == Tag::Boolean
                    && fields.decode()?;
                if !fields.is_finished() {
                    AnyRef::read_tagged(fields, Tag::Integer)?;
                }
                Ok::<_, der::Error>(is_ca)
            })?;
        }
        AUTHORITY_KEY_ID => facts.authority_key_id = read_authority_key_id(&mut value)?,
        _ => return Ok(()),
    }
    value.finish()
}

fn read_key_usage(value: &mut SliceReader<'_>) -> der::Result<KeyUsage> {
    let bits: BitStringRef<'_> = value.decode()?;
    let is_set = |at: usize| bits.bits().nth(at).unwrap_or(false);
    Ok(KeyUsage {
        digital_signature: is_set(0),
        cert_sign: is_set(5),
        crl_sign: is_set(6),
    })
}

fn read_uri_names(value: &mut SliceReader<'_>) -> der::Result<Vec<Vec<u8>>> {
    value.sequence(|names| {
        let mut uris = Vec::new();
        while !names.is_finished() {
            let name: AnyRef<'_> = names.decode()?;
            if let Tag::ContextSpecific {
                number: TagNumber(6),
                ..
            } = name.tag()
            {
                uris.push(name.value().to_vec());
            }
        }
        Ok(uris)
    })
}

fn read_authority_key_id(value: &mut SliceReader<'_>) -> der::Result<Option<Vec<u8>>> {
    value.sequence(|fields| {
        let mut key_id = None;
        while !fields.is_finished() {
            let field: AnyRef<'_> = fields.decode()?;
            if let Tag::ContextSpecific {
                number: TagNumber(0),
                ..
            } = field.tag()
            {
                key_id = Some(field.value().to_vec());
            }
        }
        Ok(key_id)
    })
}

fn read_time(validity: &mut SliceReader<'_>) -> der::Result<SystemTime> {
    match Tag::peek(validity)? {
        Tag::UtcTime => Ok(validity.decode::<UtcTime>()?.to_system_time()),
        _ => Ok(validity.decode::<GeneralizedTime>()?.to_system_time()),
    }
}

/// Where `part`, a slice of `whole`, lies in it.
pub(super) fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

const fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// Reading a value of one known tag.
pub(super) trait ReadTagged<'a>: Sized {
    fn read_tagged(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<Self>;
}

impl<'a> ReadTagged<'a> for AnyRef<'a> {
    fn read_tagged(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<Self> {
        let value: Self = reader.decode()?;
        value.tag().assert_eq(tag)?;
        Ok(value)
    }
}

const EMPTY_SEQUENCE: &[u8] = &[0x30, 0x00];
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
