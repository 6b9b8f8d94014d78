//! The standard's cases for X.509-SVIDs: chains judged as a peer's, leaves read as one's own.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use spiffe_core::verify::{Role, VerifyError, x509_peer};
use spiffe_core::x509::{Certificate, X509Error, X509Svid};
use spiffe_core::{BundleSet, IdError, SpiffeId, TrustBundle, TrustDomain};

/// What we do where the standard leaves a choice; each is argued in the standard's own notes.
const CHOICES: &[(&str, bool)] = &[
    ("basic-constraints-absent", true),
    ("ku-absent", false),
    ("ku-no-digitalSignature", false),
    ("ku-noncritical", true),
    ("eku-server-only", false),
    ("eku-client-only", false),
    ("eku-codeSigning", false),
    ("eku-any", false),
    ("expired-root", false),
    ("name-constraint-permits", true),
];

// conformance: X509-1+ X509-1- X509-2+ X509-2- X509-3+ X509-3- X509-4+ X509-4- X509-9+ X509-9-
// conformance: X509-13+ X509-13- X509-16+ X509-16- X509-17+ X509-17- X509-20+ X509-20- X509-21+
// conformance: X509-21- X509-22+ X509-22- X509-23+ X509-23- X509-24+ X509-24- X509-25+ X509-25-
// conformance: ID-20+ ID-21+ ID-22- FD-9+ FD-9- FD-53+ FD-53- TB-23+ TB-23- WA-14+ WA-14-
#[test]
fn peers_are_judged_as_the_standard_says_in_either_role() {
    let (bundles, cases) = vectors();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let chain = chain(case);
        let expected = match case["expect"].as_str().unwrap() {
            "accept" => true,
            "reject" => false,
            _ => {
                CHOICES
                    .iter()
                    .find(|(choice, _)| *choice == name)
                    .unwrap()
                    .1
            }
        };
        let verdicts = [Role::Client, Role::Server]
            .map(|role| x509_peer(&chain, &bundles, role, now()).map(|peer| peer.id().to_string()));
        // A leaf with one of the two key usages is good for that role only.
        assert_eq!(
            verdicts.iter().all(Result::is_ok),
            expected,
            "{name}: {verdicts:?}"
        );
        if expected {
            assert_eq!(verdicts[0].as_deref().unwrap(), case["spiffe_id"], "{name}");
        }
    }
    assert_eq!(cases.len(), 52);
}

// conformance: X509-1- X509-3- X509-4- X509-9- X509-16- X509-17- X509-20- X509-23- X509-24- ID-22-
// conformance: X509-13- FD-53-
#[test]
fn each_refusal_says_why() {
    use VerifyError as Why;
    let (bundles, cases) = vectors();
    let home = || TrustDomain::from_static("example.org");
    let other = || TrustDomain::from_static("other.example.org");
    let key_purpose = || Why::KeyPurpose { role: Role::Client };
    let id = |why| X509Error::Id(why).into();
    for (name, why) in [
        ("intermediate-missing", Why::UnknownAuthority(home())),
        ("untrusted-ca", Why::UnknownAuthority(home())),
        ("federated-id-local-ca", Why::UnknownAuthority(other())),
        ("local-id-federated-ca", Why::UnknownAuthority(home())),
        ("expired-root", Why::UnknownAuthority(home())),
        (
            "no-bundle-td",
            Why::UnknownTrustDomain(TrustDomain::from_static("unknown.example.org")),
        ),
        ("not-yet-valid", Why::NotYetValid),
        ("expired-intermediate", Why::Expired),
        ("leaf-signed-by-leaf", Why::IssuerIsNone),
        ("eku-server-only", key_purpose()),
        ("eku-codeSigning", key_purpose()),
        ("eku-any", key_purpose()),
        ("ca-true", X509Error::CaLeaf.into()),
        ("root-presented-as-leaf", X509Error::CaLeaf.into()),
        ("ku-keyCertSign", X509Error::SigningLeaf.into()),
        ("ku-cRLSign", X509Error::SigningLeaf.into()),
        ("ku-absent", X509Error::NoDigitalSignature.into()),
        (
            "ku-no-digitalSignature",
            X509Error::NoDigitalSignature.into(),
        ),
        (
            "empty-subject-noncritical-san",
            X509Error::UncriticalName.into(),
        ),
        ("two-uri-sans", X509Error::UriNames { count: 2 }.into()),
        (
            "two-identical-uri-sans",
            X509Error::UriNames { count: 2 }.into(),
        ),
        ("path-less-id", X509Error::RootPath.into()),
        ("https-uri", id(IdError::Scheme)),
        ("id-query", id(IdError::PathByte { at: 22 })),
        ("id-port", id(IdError::TrustDomainByte { at: 20 })),
        ("id-dotdot", id(IdError::DotSegment { at: 23 })),
    ] {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        let judged = x509_peer(&chain(case), &bundles, Role::Client, now());
        assert_eq!(judged.unwrap_err(), why, "{name}");
    }
}

#[test]
fn a_key_usage_is_good_for_its_role_only() {
    let (bundles, cases) = vectors();
    for (name, good, bad) in [
        ("eku-server-only", Role::Server, Role::Client),
        ("eku-client-only", Role::Client, Role::Server),
    ] {
        let chain = chain(cases.iter().find(|case| case["name"] == name).unwrap());
        assert!(x509_peer(&chain, &bundles, good, now()).is_ok(), "{name}");
        let why = x509_peer(&chain, &bundles, bad, now()).unwrap_err();
        assert_eq!(why, VerifyError::KeyPurpose { role: bad }, "{name}");
    }
}

#[test]
fn a_leaf_is_read_with_its_own_key_only() {
    let (_, cases) = vectors();
    let parts = |case: &Value| {
        let der: Vec<u8> = chain(case).iter().flat_map(|der| der.to_vec()).collect();
        (
            der,
            BASE64_STANDARD
                .decode(case["leaf_key_pkcs8_b64"].as_str().unwrap())
                .unwrap(),
        )
    };
    let good: Vec<_> = cases
        .iter()
        .filter(|case| case["expect"] == "accept")
        .collect();
    for case in &good {
        let (der, key) = parts(case);
        let svid = X509Svid::from_der(&der, &key).unwrap();
        assert_eq!(svid.id().as_str(), case["spiffe_id"]);
        assert_eq!(
            svid.chain().len(),
            case["chain_der_b64"].as_array().unwrap().len()
        );
    }
    let (der, _) = parts(good[0]);
    let (_, other) = parts(good.iter().find(|case| case["name"] == "key-p384").unwrap());
    let why = X509Svid::from_der(&der, &other).unwrap_err();
    assert_eq!(
        why.to_string(),
        "the private key does not belong to the leaf certificate"
    );
}

#[test]
fn an_svid_is_written_as_it_is_read_and_pem_is_not_taken_for_der() {
    let (_, cases) = vectors();
    for name in [
        "valid",
        "valid-two-intermediates",
        "key-p521",
        "key-ed25519",
    ] {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        let der: Vec<u8> = chain(case).iter().flat_map(|der| der.to_vec()).collect();
        let key = decode(&case["leaf_key_pkcs8_b64"]);
        let svid = X509Svid::from_der(&der, &key).unwrap();
        assert_eq!(svid.chain_der(), der);
        let (chain_pem, key_pem) = (svid.chain_pem(), svid.key().to_pem());
        let again = X509Svid::from_pem(chain_pem.as_bytes(), key_pem.as_bytes()).unwrap();
        assert_eq!(again.chain(), svid.chain());
        assert_eq!(again.key().pkcs8_der(), key);
        let bundle = TrustBundle::new(svid.id().trust_domain(), svid.chain().to_vec());
        let again = TrustBundle::from_pem(svid.id().trust_domain(), bundle.to_pem().as_bytes());
        assert_eq!(again.unwrap(), bundle);

        for (chain, key) in [(chain_pem.as_bytes(), &key[..]), (&der, key_pem.as_bytes())] {
            let why = X509Svid::from_der(chain, key).unwrap_err();
            assert_eq!(why.to_string(), "this is PEM, where DER is due");
        }
        assert!(X509Svid::from_pem(&der, key_pem.as_bytes()).is_err());
        assert!(X509Svid::from_pem(chain_pem.as_bytes(), &key).is_err());
    }
}

#[test]
fn a_proof_ends_with_the_first_certificate_that_ends() {
    let (bundles, cases) = vectors();
    let chain = chain(
        cases
            .iter()
            .find(|case| case["name"] == "valid-intermediate")
            .unwrap(),
    );
    let peer = x509_peer(&chain, &bundles, Role::Client, now()).unwrap();
    let own = chain
        .iter()
        .map(|der| Certificate::from_der(der).unwrap().not_after());
    assert!(own.into_iter().all(|end| peer.not_after() <= end));
    assert!(peer.not_after() > now());
}

// conformance: X509-20-
#[test]
fn hostile_chains_are_refused_before_they_cost_anything() {
    let (bundles, cases) = vectors();
    let leaf = chain(&cases[0])[0].clone();
    assert_eq!(
        x509_peer(&[], &bundles, Role::Client, now()).unwrap_err(),
        VerifyError::NoCertificate
    );
    let long = vec![leaf.clone(); 11];
    assert_eq!(
        x509_peer(&long, &bundles, Role::Client, now()).unwrap_err(),
        VerifyError::TooManyCertificates { limit: 10 }
    );
    for at in 0..leaf.len() {
        let cut = CertificateDer::from(leaf[..at].to_vec());
        assert!(
            x509_peer(&[cut], &bundles, Role::Client, now()).is_err(),
            "cut at {at}"
        );
        let mut flipped = leaf.to_vec();
        flipped[at] ^= 0x40;
        // Never a panic, and never another identity.
        if let Ok(peer) = x509_peer(&[flipped.into()], &bundles, Role::Client, now()) {
            assert_eq!(peer.id().as_str(), cases[0]["spiffe_id"], "flipped at {at}");
        }
    }
}

fn vectors() -> (BundleSet, Vec<Value>) {
    let file: Value = serde_json::from_str(include_str!("vectors/x509svid.json")).unwrap();
    let bundles = file["bundles_der_b64"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, certificates)| {
            let certificates = certificates.as_array().unwrap().iter();
            let authorities = certificates.map(|der| Certificate::from_der(&decode(der)).unwrap());
            TrustBundle::new(
                id.parse::<SpiffeId>().unwrap().trust_domain(),
                authorities.collect(),
            )
        });
    (bundles.collect(), file["cases"].as_array().unwrap().clone())
}

fn chain(case: &Value) -> Vec<CertificateDer<'static>> {
    case["chain_der_b64"]
        .as_array()
        .unwrap()
        .iter()
        .map(|der| decode(der).into())
        .collect()
}

fn decode(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// A moment at which the vectors are meant to be judged.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}
