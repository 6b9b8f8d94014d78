//! What stands in our certificates.

use der::Encode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
};

use super::*;
use crate::domain::Serial;
use crate::server::ca::asn1;
use crate::server::ca::template::key_id;

/// What the other writer makes of the same facts.
struct Facts<'a> {
    ours: &'a Certificate,
    subject: &'a [(DnType, &'a str)],
    names: Vec<SanType>,
    usages: &'a [KeyUsagePurpose],
    is_ca: IsCa,
    not_after: SystemTime,
}

impl Facts<'_> {
    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in self.subject {
            let value = DnValue::PrintableString((*value).try_into().unwrap());
            params.distinguished_name.push(kind.clone(), value);
        }
        params.serial_number = Some(SerialNumber::from_slice(self.ours.serial()));
        params.not_before = whole(now() - Duration::from_secs(10)).into();
        params.not_after = whole(self.not_after).into();
        params.subject_alt_names = self.names;
        params.key_usages = self.usages.to_vec();
        params.is_ca = self.is_ca;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id(self.ours.public_key()));
        params
    }
}

fn whole(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// Holds the two against each other, but for the signature and the order of extensions.
fn assert_same(ours: &Certificate, theirs: &[u8]) {
    let ours = parsed(ours);
    let theirs = x509_cert::Certificate::from_der(theirs).unwrap();
    assert_eq!(ours.signature_algorithm(), theirs.signature_algorithm());
    let (ours, theirs) = (ours.tbs_certificate(), theirs.tbs_certificate());
    assert_eq!(ours.version(), theirs.version());
    assert_eq!(ours.serial_number(), theirs.serial_number());
    assert_eq!(ours.signature(), theirs.signature());
    assert_eq!(ours.issuer(), theirs.issuer());
    assert_eq!(ours.validity(), theirs.validity());
    assert_eq!(ours.subject(), theirs.subject());
    assert_eq!(
        ours.subject_public_key_info(),
        theirs.subject_public_key_info()
    );
    let sorted = |tbs: &x509_cert::TbsCertificate| {
        let mut extensions = tbs.extensions().cloned().unwrap_or_default();
        extensions.sort_by_key(|extension| extension.extn_id);
        extensions
    };
    assert_eq!(sorted(ours), sorted(theirs));
}

fn serial_number(certificate: &Certificate) -> String {
    let serial = Serial::from_be_bytes(certificate.serial());
    serial.as_str().to_owned()
}

#[tokio::test]
async fn a_root_is_what_another_writer_makes_of_the_same_facts() {
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
        let subject = CaSubject {
            common_name: "My CA".to_owned(),
            ..CaSubject::default()
        };
        let ours = authority(kind, subject, HOUR * 24).await;
        let serial = serial_number(&ours.certificate);
        let facts = Facts {
            ours: &ours.certificate,
            subject: &[
                (DnType::CountryName, "US"),
                (DnType::OrganizationName, "SPIFFE"),
                (DnType::CommonName, "My CA"),
                (DnType::CustomDnType(vec![2, 5, 4, 5]), &serial),
            ],
            names: vec![SanType::URI("spiffe://td".try_into().unwrap())],
            usages: &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
            not_after: now() + HOUR * 24,
        };
        let pair = for_rcgen(ours.signer.in_memory().unwrap());
        let theirs = facts.params().self_signed(&pair).unwrap();
        assert_same(&ours.certificate, theirs.der());
    }
}

#[tokio::test]
async fn a_leaf_is_what_another_writer_makes_of_the_same_facts() {
    for (kind, dns_names) in [
        (KeyKind::EcP256, &["b.test", "a.test"][..]),
        (KeyKind::EcP384, &[]),
        (KeyKind::Rsa2048, &["only.test"]),
    ] {
        let authority = authority(kind, CaSubject::default(), HOUR * 24).await;
        let (key, pair) = key(kind);
        let entry = entry("/workload", dns_names);
        let leaf = Leaf::workload(&entry, key.public_key().clone(), HOUR);
        let ours = authority.sign(&leaf, now()).unwrap().remove(0);

        let mut subject = vec![
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "SPIRE"),
        ];
        subject.extend(dns_names.first().map(|name| (DnType::CommonName, *name)));
        let dns = |name: &&str| SanType::DnsName((*name).try_into().unwrap());
        let mut names: Vec<_> = dns_names.iter().map(dns).collect();
        names.push(SanType::URI("spiffe://td/workload".try_into().unwrap()));
        let facts = Facts {
            ours: &ours,
            subject: &subject,
            names,
            usages: &[
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
                KeyUsagePurpose::KeyAgreement,
            ],
            is_ca: IsCa::ExplicitNoCa,
            not_after: now() + HOUR,
        };
        let mut params = facts.params();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let serial = serial_number(&authority.certificate);
        let mut issuer = CertificateParams::new(Vec::new()).unwrap();
        issuer.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "SPIFFE"),
            (DnType::CustomDnType(vec![2, 5, 4, 5]), &*serial),
        ] {
            let value = DnValue::PrintableString(value.try_into().unwrap());
            issuer.distinguished_name.push(kind, value);
        }
        let issuer_key_id = key_id(authority.certificate.public_key());
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(issuer_key_id);
        let issuer_pair = for_rcgen(authority.signer.in_memory().unwrap());
        let issuer = Issuer::new(issuer, issuer_pair);
        let theirs = params.signed_by(&pair, &issuer).unwrap();
        assert_same(&ours, theirs.der());
    }
}

#[tokio::test]
async fn extensions_stand_in_the_order_that_spire_writes() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR).await;
    let (key, _) = key(KeyKind::EcP256);
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
    let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
    let order = |certificate: &Certificate| -> Vec<_> {
        let parsed = parsed(certificate);
        let extensions = parsed.tbs_certificate().extensions().unwrap().iter();
        extensions.map(|e| (e.extn_id, e.critical)).collect()
    };
    assert_eq!(
        order(&leaf),
        [
            (asn1::KEY_USAGE, true),
            (asn1::EXTENDED_KEY_USAGE, false),
            (asn1::BASIC_CONSTRAINTS, true),
            (asn1::SUBJECT_KEY_ID, false),
            (asn1::AUTHORITY_KEY_ID, false),
            (asn1::SUBJECT_ALT_NAME, false),
        ]
    );
    assert_eq!(
        order(&authority.certificate),
        [
            (asn1::KEY_USAGE, true),
            (asn1::BASIC_CONSTRAINTS, true),
            (asn1::SUBJECT_KEY_ID, false),
            (asn1::SUBJECT_ALT_NAME, false),
        ]
    );
}

#[tokio::test]
async fn the_issuers_name_is_copied_byte_for_byte() {
    // Names with several values, and with letters that no PrintableString holds.
    let subject = CaSubject {
        country: vec!["US".to_owned(), "DE".to_owned()],
        organization: vec!["Öl & Co".to_owned(), "ACME".to_owned()],
        common_name: "*.test".to_owned(),
    };
    let authority = authority(KeyKind::EcP256, subject, HOUR).await;
    let (key, _) = key(KeyKind::EcP256);
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
    let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
    let issuer = parsed(&leaf).tbs_certificate().issuer().to_der().unwrap();
    assert_eq!(issuer, authority.certificate.subject_der());
    let name = parsed(&authority.certificate);
    let name = name.tbs_certificate().subject().to_string();
    for part in ["C=US", "C=DE", "O=ACME", "Öl", "CN=*.test"] {
        assert!(name.contains(part), "{name}");
    }
}

#[tokio::test]
async fn no_leaf_outlives_its_authority_and_none_is_signed_after_its_end() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR).await;
    let (key, _) = key(KeyKind::EcP256);
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR * 2).unwrap();
    let end = authority.certificate.not_after();
    let signed = authority.sign(&leaf, now()).unwrap().remove(0);
    assert_eq!(signed.not_after(), end);
    assert_eq!(signed.not_before(), whole(now() - Duration::from_secs(10)));
    assert!(authority.sign(&leaf, end - Duration::from_secs(1)).is_ok());
    let late = authority.sign(&leaf, end).unwrap_err();
    assert!(matches!(late, CaError::Expired));
}

#[tokio::test]
async fn dates_from_2050_on_are_written_in_the_long_form() {
    let years = Duration::from_secs(30 * 365 * 24 * 3600);
    let authority = authority(KeyKind::EcP256, CaSubject::default(), years).await;
    assert_eq!(authority.certificate.not_after(), whole(now() + years));
    let parsed = parsed(&authority.certificate);
    let validity = *parsed.tbs_certificate().validity();
    assert!(matches!(
        validity.not_after,
        x509_cert::time::Time::GeneralTime(_)
    ));
    assert!(matches!(
        validity.not_before,
        x509_cert::time::Time::UtcTime(_)
    ));
}

#[tokio::test]
async fn a_leaf_is_signed_with_the_key_of_its_authority() {
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
        let authority = authority(kind, CaSubject::default(), HOUR).await;
        let (key, _) = key(KeyKind::EcP256);
        let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
        let leaf = authority.sign(&leaf, now()).unwrap().remove(0);
        for certificate in [&leaf, &authority.certificate] {
            let end_entity = webpki::EndEntityCert::try_from(certificate.der()).unwrap();
            let anchor = webpki::anchor_from_trusted_cert(authority.certificate.der()).unwrap();
            let anchors = [anchor];
            let since = now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let time = rustls_pki_types::UnixTime::since_unix_epoch(since);
            let usage = webpki::KeyUsage::client_auth();
            let verified = end_entity.verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &[],
                time,
                usage,
                None,
                None,
            );
            // The root itself is no leaf; everything before that is checked all the same.
            match certificate == &leaf {
                true => assert!(verified.is_ok(), "{kind:?}"),
                false => assert_eq!(verified.err(), Some(webpki::Error::CaUsedAsEndEntity)),
            }
        }
        let id = leaf.leaf_id().unwrap();
        assert_eq!(id.as_str(), "spiffe://td/spire/server");
    }
}

#[test]
fn an_agents_leaf_names_an_agent() {
    let (key, _) = key(KeyKind::EcP256);
    let agent = |id: &str| Leaf::agent(&id.parse().unwrap(), key.public_key().clone(), HOUR);
    assert!(agent("spiffe://td/spire/agent/x509pop/a").is_ok());
    for id in [
        "spiffe://td/spire/server",
        "spiffe://td/spire/agents/a",
        "spiffe://td/workload",
        "spiffe://td/spire/agent",
    ] {
        let refused = agent(id).unwrap_err();
        assert!(matches!(refused, CaError::NotAnAgent(_)), "{id}");
    }
}

#[tokio::test]
async fn a_unique_id_is_the_last_attribute_of_the_subject_and_follows_from_the_spiffe_id() {
    let authority = authority(KeyKind::EcP256, CaSubject::default(), HOUR * 24).await;
    let (key, _) = key(KeyKind::EcP256);
    for dns_names in [&[][..], &["a.test"]] {
        let entry = entry("/workload", dns_names);
        let leaf = Leaf::workload(&entry, key.public_key().clone(), HOUR).with_unique_id();
        let ours = parsed(&authority.sign(&leaf, now()).unwrap()[0]);
        let subject = ours.tbs_certificate().subject().to_string();
        // Such a text names the last attribute first (RFC 4514 section 2.1).
        let expected = "X500UNIQUEIDENTIFIER=9359ba8b9e0c5308299a562c67062b39,";
        assert!(
            subject.starts_with(expected),
            "{subject} does not begin with {expected}"
        );
    }
}
