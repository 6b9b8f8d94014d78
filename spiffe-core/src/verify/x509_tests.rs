//! Chains below authorities whose names are constrained.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use super::{Role, VerifyError, x509_peer};
use crate::clock::{Clock, SystemClock};
use crate::x509::Certificate;
use crate::{BundleSet, TrustBundle, trust_domain};

type Issuer = CertifiedIssuer<'static, KeyPair>;

// conformance: X509-12+ X509-12-
#[test]
fn an_authority_vouches_for_the_names_that_it_is_constrained_to() {
    let outside = Err(VerifyError::NameConstraints);
    for (name, root, leaf, verdict) in [
        ("none", vec![], vec![], Ok(())),
        (
            "permits",
            constraints(PERMIT, &[(URI, "a.test")]),
            vec![],
            Ok(()),
        ),
        (
            "permits another",
            constraints(PERMIT, &[(URI, "b.test")]),
            vec![],
            outside.clone(),
        ),
        (
            "permits what is below",
            constraints(PERMIT, &[(URI, ".a.test")]),
            vec![],
            outside.clone(),
        ),
        (
            "excludes",
            constraints(EXCLUDE, &[(URI, "a.test")]),
            vec![],
            outside.clone(),
        ),
        (
            "excludes another",
            constraints(EXCLUDE, &[(URI, "b.test")]),
            vec![],
            Ok(()),
        ),
        (
            "is malformed",
            constraints(PERMIT, &[(URI, "spiffe://a.test")]),
            vec![],
            outside.clone(),
        ),
        (
            "permits hosts too",
            constraints(PERMIT, &[(URI, "a.test"), (DNS, "example.org")]),
            vec!["www.example.org"],
            Ok(()),
        ),
        (
            "permits other hosts",
            constraints(PERMIT, &[(URI, "a.test"), (DNS, "example.org")]),
            vec!["www.example.com"],
            outside.clone(),
        ),
    ] {
        let root = self_signed(root);
        let chain = [sign_leaf(&root, &leaf)];
        assert_eq!(judged(&chain, &root), verdict, "{name}");
    }
}

// conformance: X509-12+ X509-12-
#[test]
fn whoever_stands_between_is_held_to_the_constraints_as_well() {
    let outside = Err(VerifyError::NameConstraints);
    let permits = || constraints(PERMIT, &[(URI, "a.test")]);
    for (name, root, uris, between, verdict) in [
        (
            "of the same name",
            permits(),
            &["spiffe://a.test"][..],
            vec![],
            Ok(()),
        ),
        ("nameless", permits(), &[], vec![], Ok(())),
        (
            "of another name",
            permits(),
            &["spiffe://b.test"],
            vec![],
            outside.clone(),
        ),
        (
            "of a name that is none",
            permits(),
            &["https://a.test"],
            vec![],
            outside.clone(),
        ),
        (
            "of two names",
            permits(),
            &["spiffe://a.test"; 2],
            vec![],
            outside.clone(),
        ),
        // Part of what its issuer signed: it cannot be taken from webpki, which refuses it.
        (
            "constrained itself",
            vec![],
            &[],
            permits(),
            outside.clone(),
        ),
    ] {
        let root = self_signed(root);
        let key = KeyPair::generate().unwrap();
        let middle = CertifiedIssuer::signed_by(authority(uris, between), key, &root).unwrap();
        let chain = [sign_leaf(&middle, &[]), middle.der().clone()];
        assert_eq!(judged(&chain, &root), verdict, "{name}");
    }
}

fn judged(chain: &[CertificateDer<'static>], root: &Issuer) -> Result<(), VerifyError> {
    let authority = Certificate::from_der(root.der()).unwrap();
    let bundle = TrustBundle::new(trust_domain!("a.test"), vec![authority]);
    let now = SystemClock.now();
    x509_peer(chain, &BundleSet::from(bundle), Role::Client, now).map(|_| ())
}

fn self_signed(extensions: Vec<CustomExtension>) -> Issuer {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::self_signed(authority(&["spiffe://a.test"], extensions), key).unwrap()
}

fn authority(uris: &[&str], extensions: Vec<CustomExtension>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uris = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()));
    params.subject_alt_names = uris.collect();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.custom_extensions = extensions;
    // rcgen gives every certificate the same name unless told otherwise.
    params.distinguished_name.push(
        rcgen::DnType::OrganizationName,
        format!("{:?}", params.subject_alt_names),
    );
    params
}

fn sign_leaf(issuer: &Issuer, hosts: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(
        hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let id = "spiffe://a.test/web".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(id));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, issuer).unwrap().der().clone()
}

const PERMIT: u8 = 0xa0;
const EXCLUDE: u8 = 0xa1;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

/// Name constraints (RFC 5280 section 4.2.1.10), each a kind of name and its text.
fn constraints(list: u8, names: &[(u8, &str)]) -> Vec<CustomExtension> {
    let tlv = |tag: u8, value: &[u8]| {
        let mut tlv = vec![tag, u8::try_from(value.len()).unwrap()];
        tlv.extend(value);
        tlv
    };
    let subtrees = names
        .iter()
        .flat_map(|(kind, text)| tlv(0x30, &tlv(*kind, text.as_bytes())));
    let subtrees: Vec<_> = subtrees.collect();
    let content = tlv(0x30, &tlv(list, &subtrees));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
    extension.set_criticality(true);
    vec![extension]
}
