//! Certificates that others take.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::UnixTime;
use serde_json::Value;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::jwt::JwtSvid;
use spiffe_core::testing::{AuthorityDraft, SvidDraft, TestAuthority};
use spiffe_core::verify::{Role, VerifyError, x509_peer};
use spiffe_core::x509::{Certificate, X509Error, X509Svid};
use spiffe_core::{Peer, TrustBundle, TrustDomain};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::Chain;

fn chain(draft: SvidDraft<'_>) -> Chain {
    let (chain, _) = draft.chain_and_key();
    chain.iter().map(|c| c.der().clone()).collect()
}

fn judge(chain: &Chain, bundle: TrustBundle) -> Result<Peer, VerifyError> {
    x509_peer(chain, &bundle.into(), Role::Client, SystemClock.now())
}

/// What webpki says by itself.
fn webpki_takes(chain: &Chain, root: &Certificate) -> bool {
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    let anchors = [anchor_from_trusted_cert(root.der()).unwrap()];
    let taken = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &chain[1..],
        UnixTime::now(),
        KeyUsage::client_auth(),
        None,
        None,
    );
    taken.is_ok()
}

#[test]
fn what_webpki_takes_and_the_standard_forbids_is_refused() {
    let ca = TestAuthority::new("a.test");
    let web = || ca.draft("/web");
    let root = ca.bundle().x509_authorities()[0].clone();
    for (name, draft) in [
        ("two URI names", web().also_named("/ops")),
        ("may sign certificates", web().with_cert_sign()),
        ("may sign revocation lists", web().with_crl_sign()),
        ("no key usage", web().without_key_usage()),
        ("no path", web().named("spiffe://a.test")),
    ] {
        let chain = chain(draft);
        assert!(webpki_takes(&chain, &root), "{name}");
        assert!(judge(&chain, ca.bundle()).is_err(), "{name}");
    }
    for (name, draft) in [
        (
            "an authority that has ended",
            TestAuthority::root("a.test").expired(),
        ),
        (
            "one that may not sign",
            ca.intermediate().without_cert_sign(),
        ),
    ] {
        let below = AuthorityDraft::authority(draft);
        let chain = chain(below.draft("/web"));
        let root = below.bundle().x509_authorities()[0].clone();
        assert!(webpki_takes(&chain, &root), "{name}");
        assert!(judge(&chain, below.bundle()).is_err(), "{name}");
    }
}

#[test]
fn what_webpki_cannot_judge_of_an_authority_is_judged() {
    let ca = TestAuthority::root("a.test")
        .constrained_to("a.test")
        .authority();
    let chain = chain(ca.draft("/web"));
    assert!(!webpki_takes(&chain, &ca.bundle().x509_authorities()[0]));
    judge(&chain, ca.bundle()).unwrap();
}

/// rust-spiffe counts what its parser takes for a URI, and that is not all that says so.
#[test]
fn uri_names_are_counted_by_their_tag_whatever_they_hold() {
    let ca = TestAuthority::new("a.test");
    let mut leaf = chain(ca.draft("/web").also_named("/QQQQ"))[0].to_vec();
    let at = leaf.windows(4).position(|bytes| bytes == b"QQQQ").unwrap();
    leaf[at..at + 4].copy_from_slice(&[0xff, 0x80, 0xc3, 0x28]);
    let why = judge(&vec![leaf.clone().into()], ca.bundle()).unwrap_err();
    assert_eq!(why, X509Error::UriNames { count: 2 }.into());

    // In either form of the tag; but a name that is alone has the form that DER has for it.
    let one = chain(ca.draft("/web"))[0].to_vec();
    let first = |leaf: &[u8]| leaf.windows(9).position(|bytes| bytes == b"spiffe://");
    for (leaf, tag, expected) in [
        (&leaf, 0xa6, X509Error::UriNames { count: 2 }),
        (&one, 0xa6, X509Error::UriNameInPieces),
        // Of a general name there is no ninth kind: who knows what it says, and to whom?
        (&one, 0x89, {
            let at = first(&one).unwrap() - 2;
            X509Error::Certificate { index: 0, at }
        }),
    ] {
        let mut leaf = leaf.clone();
        let at = first(&leaf).unwrap() - 2;
        assert_eq!(leaf[at], 0x86);
        leaf[at] = tag;
        let why = judge(&vec![leaf.into()], ca.bundle()).unwrap_err();
        assert_eq!(why, expected.into());
    }
}

/// A library checks signatures along the chain, and nothing else: any leaf could make more.
#[test]
fn a_leaf_signs_nobody() {
    let file: Value = serde_json::from_str(include_str!("../vectors/x509svid.json")).unwrap();
    let der = |value: &Value| BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let case = cases
        .iter()
        .find(|case| case["name"] == "leaf-signed-by-leaf")
        .unwrap();
    let forged = case["chain_der_b64"].as_array().unwrap();
    let forged: Chain = forged.iter().map(|one| der(one).into()).collect();
    let roots = file["bundles_der_b64"]["spiffe://example.org"]
        .as_array()
        .unwrap();
    let roots = roots
        .iter()
        .map(|one| Certificate::from_der(&der(one)).unwrap());
    let bundle = TrustBundle::new(TrustDomain::from_static("example.org"), roots.collect());
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let judged = x509_peer(&forged, &bundle.into(), Role::Client, at);
    assert_eq!(judged.unwrap_err(), VerifyError::IssuerIsNone);
}

/// What rust-spiffe's own changelog tells that it once took: one case each.
#[test]
fn rust_spiffe_regressions() {
    let ca = TestAuthority::new("a.test");
    let web = || ca.draft("/web");
    for (name, draft) in [
        ("no key usage", web().without_key_usage()),
        ("an authority as leaf", web().as_authority()),
        ("several URI names", web().also_named("/ops")),
        ("no path", web().named("spiffe://a.test")),
    ] {
        let (chain, key) = draft.chain_and_key();
        let der = chain[0].der().clone();
        assert!(judge(&vec![der.clone()], ca.bundle()).is_err(), "{name}");
        assert!(
            X509Svid::from_der(&der, key.pkcs8_der()).is_err(),
            "{name} as our own"
        );
    }

    let good = ca.svid("/web");
    let mut trailing = good.leaf().der().to_vec();
    trailing.push(0);
    assert!(
        judge(&vec![trailing.clone().into()], ca.bundle()).is_err(),
        "a byte too many"
    );
    assert!(X509Svid::from_der(&trailing, good.key().pkcs8_der()).is_err());
    // cA=true becomes something that is no boolean.
    let mut garbled = chain(web().as_authority())[0].to_vec();
    let constraints = [
        0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30, 0x03,
    ];
    let at = garbled
        .windows(12)
        .position(|bytes| bytes == constraints)
        .unwrap();
    garbled[at + 11] = 0x09;
    assert!(
        Certificate::from_der(&garbled).is_err(),
        "garbled basic constraints"
    );

    let (chain, key) = web().with_foreign_key().chain_and_key();
    let error = X509Svid::from_der(chain[0].der(), key.pkcs8_der());
    assert!(
        error.is_err(),
        "a key that is another's, before any handshake"
    );

    let many = vec![good.leaf().der().clone(); 1000];
    let why = judge(&many, ca.bundle()).unwrap_err();
    assert!(
        matches!(why, VerifyError::TooManyCertificates { .. }),
        "{why}"
    );

    let names: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
    let token = ca.jwt_draft("/web", &[]).claim("aud", names).token();
    assert!(JwtSvid::parse(&token).is_err(), "an endless audience");
}
