//! The facts of a certificate that we judge by, read off its DER in one pass and without a copy.
//!
//! Names are counted by their raw tags: a reader that skips names it cannot make sense of lets a
//! second identity slip by.

use std::ops::Range;
use std::time::SystemTime;

use super::time;
use crate::der::{
    self, BIT_STRING, BOOLEAN, CONSTRUCTED, Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING,
    SEQUENCE, Spki, Walk, context,
};

/// What a certificate says, as far as it matters here. All ranges lie in its DER.
#[derive(Debug)]
pub(super) struct Facts {
    /// Without leading zeros.
    pub(super) serial: Range<usize>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) subject: Range<usize>,
    pub(super) subject_is_empty: bool,
    pub(super) is_self_issued: bool,
    pub(super) public_key: Spki,
    pub(super) is_ca: bool,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) uri_names: UriNames,
    pub(super) names_critical: bool,
    pub(super) subject_key_id: Option<Range<usize>>,
    pub(super) authority_key_id: Option<Range<usize>>,
}

/// The bits of the key usage extension that SPIFFE speaks of (X509-SVID section 4.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyUsage {
    pub(super) digital_signature: bool,
    pub(super) cert_sign: bool,
    pub(super) crl_sign: bool,
}

/// How many there are, and the last of them: one that is not alone is never looked at.
#[derive(Debug, Default)]
pub(super) struct UriNames {
    pub(super) count: usize,
    pub(super) last: Range<usize>,
    /// Whether the last one is in pieces, which a string in DER never is (X.690 section 10.2). It
    /// counts: of two readers one may join the pieces, and the other one take them for the name.
    pub(super) constructed: bool,
}

impl Facts {
    /// Reads one certificate; trailing bytes are an error.
    pub(super) fn read(certificate: &[u8]) -> der::Result<Self> {
        let mut outer = Walk::over(certificate);
        let facts = outer.inside(SEQUENCE, |fields| {
            let facts = fields.inside(SEQUENCE, read_tbs)?;
            fields.expect(SEQUENCE)?;
            fields.expect(BIT_STRING)?;
            Ok(facts)
        })?;
        outer.finish()?;
        Ok(facts)
    }
}

fn read_tbs(tbs: &mut Walk<'_>) -> der::Result<Facts> {
    // Its version.
    tbs.optional(CONSTRUCTED | context(0))?;
    let serial = tbs.expect(INTEGER)?;
    let zeros = serial
        .integer()?
        .iter()
        .take_while(|byte| **byte == 0)
        .count();
    // How it is signed.
    tbs.expect(SEQUENCE)?;
    let issuer = tbs.expect(SEQUENCE)?;
    let (not_before, not_after) = tbs.inside(SEQUENCE, |validity| {
        Ok((time::read(validity)?, time::read(validity)?))
    })?;
    let subject = tbs.expect(SEQUENCE)?;
    let mut facts = Facts {
        serial: serial.value_range().start + zeros..serial.value_range().end,
        not_before,
        not_after,
        subject: subject.range(),
        subject_is_empty: subject.value().is_empty(),
        is_self_issued: subject.value() == issuer.value(),
        public_key: Spki::read(tbs)?,
        is_ca: false,
        key_usage: None,
        uri_names: UriNames::default(),
        names_critical: false,
        subject_key_id: None,
        authority_key_id: None,
    };
    let mut seen = 0;
    while !tbs.is_finished() {
        let field = tbs.any()?;
        if field.tag() == CONSTRUCTED | context(3) {
            field.inside(|list| {
                list.inside(SEQUENCE, |extensions| {
                    while !extensions.is_finished() {
                        extensions
                            .inside(SEQUENCE, |one| one_extension(one, &mut facts, &mut seen))?;
                    }
                    Ok(())
                })
            })?;
        }
    }
    Ok(facts)
}

/// `seen` has a bit for each that was there: none may be there twice (RFC 5280 section 4.2), for of two
/// each reader believes its own.
fn one_extension(extension: &mut Walk<'_>, facts: &mut Facts, seen: &mut u64) -> der::Result<()> {
    let identifier = extension.expect(OBJECT_IDENTIFIER)?;
    let critical = match extension.optional(BOOLEAN)? {
        Some(critical) => critical.boolean()?,
        None => false,
    };
    let value = extension.expect(OCTET_STRING)?;
    let &[first, second, number] = identifier.identifier()? else {
        return Ok(());
    };
    if [first, second] != CERTIFICATE_EXTENSION || !READ.contains(&number) {
        return Ok(());
    }
    if *seen & 1 << number != 0 {
        return Err(identifier.malformed());
    }
    *seen |= 1 << number;
    value.inside(|value| {
        match number {
            SUBJECT_KEY_ID => {
                facts.subject_key_id = Some(value.expect(OCTET_STRING)?.value_range());
            }
            KEY_USAGE => facts.key_usage = Some(read_key_usage(value)?),
            SUBJECT_ALT_NAME => {
                facts.names_critical = critical;
                facts.uri_names = read_uri_names(value)?;
            }
            BASIC_CONSTRAINTS => facts.is_ca = read_is_ca(value)?,
            _ => facts.authority_key_id = read_authority_key_id(value)?,
        }
        Ok(())
    })
}

fn read_key_usage(value: &mut Walk<'_>) -> der::Result<KeyUsage> {
    let bits = value.expect(BIT_STRING)?.bits()?;
    Ok(KeyUsage {
        digital_signature: bits.is_set(0),
        cert_sign: bits.is_set(5),
        crl_sign: bits.is_set(6),
    })
}

fn read_uri_names(value: &mut Walk<'_>) -> der::Result<UriNames> {
    value.inside(SEQUENCE, |names| {
        let mut uris = UriNames::default();
        while let Some(name) = next_in_context(names)? {
            match name.number() {
                URI_NAME => {
                    uris.count += 1;
                    uris.last = name.value_range();
                    uris.constructed = name.is_constructed();
                }
                0..=LAST_NAME => {}
                _ => return Err(name.malformed()),
            }
        }
        Ok(uris)
    })
}

fn read_is_ca(value: &mut Walk<'_>) -> der::Result<bool> {
    value.inside(SEQUENCE, |fields| {
        let is_ca = match fields.optional(BOOLEAN)? {
            Some(is_ca) => is_ca.boolean()?,
            None => false,
        };
        // How long a path may be is webpki's matter.
        fields.optional(INTEGER)?;
        Ok(is_ca)
    })
}

fn read_authority_key_id(value: &mut Walk<'_>) -> der::Result<Option<Range<usize>>> {
    value.inside(SEQUENCE, |fields| {
        let mut key_id = None;
        while let Some(field) = next_in_context(fields)? {
            match field.tag() {
                KEY_ID if key_id.is_some() => return Err(field.malformed()),
                KEY_ID => key_id = Some(field.value_range()),
                KEY_ID_IN_PIECES => return Err(field.malformed()),
                _ => {}
            }
        }
        Ok(key_id)
    })
}

/// The next of a list in which all have tags of the context's own.
fn next_in_context<'a>(list: &mut Walk<'a>) -> der::Result<Option<Element<'a>>> {
    if list.is_finished() {
        return Ok(None);
    }
    let element = list.any()?;
    if element.tag() & 0xc0 == context(0) {
        Ok(Some(element))
    } else {
        Err(element.malformed())
    }
}

/// id-ce, under which all extensions stand that are read here (RFC 5280 section 4.2.1), by number.
const CERTIFICATE_EXTENSION: [u8; 2] = [0x55, 0x1d];
/// Numbers of a `GeneralName` (RFC 5280 section 4.2.1.6): that of a URI, and the highest that there is.
const URI_NAME: u8 = 6;
const LAST_NAME: u8 = 8;
/// The key identifier within an authority key identifier (RFC 5280 section 4.2.1.1).
const KEY_ID: u8 = context(0);
const KEY_ID_IN_PIECES: u8 = CONSTRUCTED | KEY_ID;
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const SUBJECT_ALT_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_ID: u8 = 35;
const READ: [u8; 5] = [
    SUBJECT_KEY_ID,
    KEY_USAGE,
    SUBJECT_ALT_NAME,
    BASIC_CONSTRAINTS,
    AUTHORITY_KEY_ID,
];

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, SanType};

    use super::*;
    use crate::der::Malformed;

    #[test]
    fn an_extension_that_is_there_twice_is_refused() {
        for number in READ {
            // Each as it is read, so that only the second is too much.
            let value = match number {
                SUBJECT_KEY_ID => vec![OCTET_STRING, 1, 7],
                KEY_USAGE => vec![BIT_STRING, 2, 7, 0x80],
                _ => vec![SEQUENCE, 0],
            };
            let one = CustomExtension::from_oid_content(&[2, 5, 29, number.into()], value);
            let read = |times| Facts::read(&signed(vec![one.clone(); times])).map(|_| ());
            assert_eq!(read(1), Ok(()), "{number}");
            assert!(read(2).is_err(), "{number}");
        }
    }

    #[test]
    fn an_extension_has_one_form() {
        for (why, number, value) in [
            ("trailing", BASIC_CONSTRAINTS, &[SEQUENCE, 0, 0][..]),
            (
                "another truth",
                BASIC_CONSTRAINTS,
                &[SEQUENCE, 3, BOOLEAN, 1, 1],
            ),
            (
                "too much",
                BASIC_CONSTRAINTS,
                &[SEQUENCE, 4, INTEGER, 0, INTEGER, 0],
            ),
            ("without an end", SUBJECT_ALT_NAME, &[SEQUENCE, 0x80, 0, 0]),
            ("a long length", SUBJECT_ALT_NAME, &[SEQUENCE, 0x81, 0]),
            ("no name", SUBJECT_ALT_NAME, &[SEQUENCE, 2, INTEGER, 0]),
            ("name 9 of 8", SUBJECT_ALT_NAME, &[SEQUENCE, 2, 0x89, 0]),
            ("name 30 of 8", SUBJECT_ALT_NAME, &[SEQUENCE, 2, 0xbe, 0]),
            ("in pieces", AUTHORITY_KEY_ID, &[SEQUENCE, 2, 0xa0, 0]),
            (
                "two keys",
                AUTHORITY_KEY_ID,
                &[SEQUENCE, 4, KEY_ID, 0, KEY_ID, 0],
            ),
            ("no bits", KEY_USAGE, &[BIT_STRING, 0]),
            (
                "bits that do not count",
                KEY_USAGE,
                &[BIT_STRING, 2, 7, 0xff],
            ),
            ("another type", SUBJECT_KEY_ID, &[INTEGER, 1, 7]),
            ("another type", AUTHORITY_KEY_ID, &[OCTET_STRING, 0]),
        ] {
            let oid = [2, 5, 29, number.into()];
            let one = CustomExtension::from_oid_content(&oid, value.to_vec());
            assert!(Facts::read(&signed(vec![one])).is_err(), "{why} {value:?}");
        }
    }

    #[test]
    fn no_part_of_a_certificate_can_be_left_out_or_added() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let name = "spiffe://td/a".try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(name)];
        let key = KeyPair::generate().unwrap();
        let whole = params.self_signed(&key).unwrap().der().to_vec();
        let facts = Facts::read(&whole).unwrap();
        assert!(facts.is_ca && facts.is_self_issued && facts.uri_names.count == 1);
        assert_eq!(&whole[facts.uri_names.last], b"spiffe://td/a");
        for length in 0..whole.len() {
            assert!(Facts::read(&whole[..length]).is_err(), "{length}");
        }
        let longer = [&whole[..], &[0]].concat();
        let trailing = Facts::read(&longer).map(|_| ()).unwrap_err();
        assert_eq!(trailing.at, whole.len());
    }

    #[test]
    fn a_serial_number_has_one_form_negative_or_not() {
        let mut params = CertificateParams::default();
        params.serial_number = Some(vec![1, 2].into());
        let key = KeyPair::generate().unwrap();
        let good = params.self_signed(&key).unwrap().der().to_vec();
        let at = good
            .windows(4)
            .position(|bytes| bytes == [INTEGER, 2, 1, 2]);
        let at = at.unwrap() + 2;
        let read = |serial: [u8; 2]| {
            let mut changed = good.clone();
            changed[at..at + 2].copy_from_slice(&serial);
            Facts::read(&changed).map(|facts| changed[facts.serial].to_vec())
        };
        for (serial, shown) in [
            ([1, 2], &[1, 2][..]),
            ([0, 0x80], &[0x80]),
            // RFC 5280 section 4.1.2.2 wants readers to bear with these.
            ([0x80, 0], &[0x80, 0]),
            ([0xff, 0x7f], &[0xff, 0x7f]),
        ] {
            assert_eq!(read(serial).as_deref(), Ok(shown), "{serial:x?}");
        }
        for serial in [[0, 0], [0, 0x7f], [0xff, 0x80], [0xff, 0xff]] {
            let malformed = Malformed { at: at - 2 };
            assert_eq!(read(serial), Err(malformed), "{serial:x?}");
        }
    }

    fn signed(extensions: Vec<CustomExtension>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.custom_extensions = extensions;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }
}
