//! The standard's cases for bundle documents and bundle maps, and what is written.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use spiffe_core::bundle::{BundleMapError, DocumentError, KeyFlaw, WriteError};
use spiffe_core::json::JsonError;
use spiffe_core::jwt::{Jwk, JwkError};
use spiffe_core::testing::TestAuthority;
use spiffe_core::{BundleSet, SpiffeId, TrustBundle, TrustDomain};

const TD: TrustDomain = TrustDomain::from_static("example.org");

/// Where the standard leaves a choice: these publishers are broken and told so. In all other cases
/// what cannot be read is left out.
const REFUSED_BY_CHOICE: [&str; 3] = ["seq-string", "seq-negative", "seq-too-big"];

// conformance: TB-1+ TB-1- TB-5+ TB-8+ TB-8- TB-9+ TB-9- TB-14+ TB-14- TB-16+ X509-31+ X509-32+
// conformance: TB-13- TB-17+ X509-26- X509-28- X509-29- X509-31- X509-32-
#[test]
fn documents_are_read_as_the_standard_has_them() {
    let cases = cases(include_str!("vectors/spiffebundle.json"));
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let read = TrustBundle::from_document(TD, case["document"].as_str().unwrap().as_bytes());
        let refused = case["expect"] == "error" || REFUSED_BY_CHOICE.contains(&name);
        assert_eq!(read.is_err(), refused, "{name}: {read:?}");
        let Ok(read) = read else { continue };
        let count = |kind: &str| usize::try_from(case[kind].as_u64().unwrap()).unwrap();
        let bundle = read.value;
        assert_eq!(bundle.trust_domain(), &TD);
        assert_eq!(
            bundle.x509_authorities().len(),
            count("x509_authorities"),
            "{name}"
        );
        assert_eq!(
            bundle.jwt_authorities().len(),
            count("jwt_authorities"),
            "{name}"
        );
        assert_eq!(
            bundle.wit_authorities().len(),
            count("wit_authorities"),
            "{name}"
        );
    }
    assert_eq!(cases.len(), 23);
}

// conformance: TB-9+ TB-11+ TB-11- TB-14- TB-16- TB-17+ TB-17- X509-31- JWT-17- WIT-27- TB-14+
// conformance: X509-28- X509-31+
#[test]
fn each_key_that_is_left_out_is_told_with_its_reason() {
    for (name, index, why) in [
        ("unknown-use", 1, KeyFlaw::Use),
        ("x5c-missing", 0, KeyFlaw::NoCertificate),
        ("x5c-base64url", 0, KeyFlaw::NoCertificate),
        ("x509-non-ca-cert", 0, KeyFlaw::ForeignCertificate),
        ("x5c-key-mismatch", 0, KeyFlaw::ForeignCertificate),
    ] {
        let read = TrustBundle::from_document(TD, document(name).as_bytes()).unwrap();
        let told: Vec<_> = read.skipped.iter().map(|s| (s.index, &s.flaw)).collect();
        assert_eq!(told, [(index, &why)], "{name}");
    }
    let key = jwt_key();
    for (member, value, why) in [
        (
            "kid",
            Value::Null,
            JwkError::Member { member: "kid" }.into(),
        ),
        ("kid", "".into(), KeyFlaw::NoKeyId),
        ("kty", "AKP".into(), JwkError::KeyType.into()),
        ("crv", "P-224".into(), JwkError::Curve.into()),
        ("d", "AA".into(), JwkError::PrivateKey.into()),
        ("use", "JWT-SVID".into(), KeyFlaw::Use),
        ("use", "sig".into(), KeyFlaw::Use),
        ("use", 1.into(), KeyFlaw::Use),
    ] {
        let mut bad = key.clone();
        bad[member] = value;
        let text = serde_json::json!({"keys": [bad, key, 7]}).to_string();
        let read = TrustBundle::from_document(TD, text.as_bytes()).unwrap();
        assert_eq!(read.value.jwt_authorities().len(), 1, "{text}");
        let told: Vec<_> = read.skipped.iter().map(|s| (s.index, &s.flaw)).collect();
        assert_eq!(told, [(0, &why), (2, &KeyFlaw::NotAnObject)], "{text}");
    }
    let leaf = TestAuthority::new("example.org")
        .svid("/web")
        .leaf()
        .clone();
    let spki = leaf.public_key().spki_der();
    let mut entry: Value =
        serde_json::from_str(&Jwk::from_spki_der(spki).unwrap().to_json()).unwrap();
    entry["use"] = "x509-svid".into();
    entry["x5c"] = vec![BASE64_STANDARD.encode(leaf.der())].into();
    let text = serde_json::json!({ "keys": [entry] }).to_string();
    let read = TrustBundle::from_document(TD, text.as_bytes()).unwrap();
    assert_eq!(read.skipped[0].flaw, KeyFlaw::NotAnAuthority);

    let text = format!(
        "{{\"keys\":[{}]}}",
        key.to_string().replace("jwt-svid", "x")
    );
    let read = TrustBundle::from_document(TD, text.as_bytes()).unwrap();
    assert_eq!(
        read.skipped[0].to_string(),
        "key 0 of the bundle of example.org is left out"
    );
    assert_eq!(read.skipped[0].key_id.as_deref(), Some("p256"));
}

// conformance: TB-15- TB-16+ TB-16-
#[test]
fn a_key_that_does_not_say_what_it_is_for_is_for_nothing() {
    let mut silent = jwt_key();
    silent.as_object_mut().unwrap().remove("use");
    let text = serde_json::json!({"keys": [silent, jwt_key()]}).to_string();
    let read = TrustBundle::from_document(TD, text.as_bytes()).unwrap();
    assert_eq!(read.value.jwt_authorities().len(), 1);
    let told: Vec<_> = read.skipped.iter().map(|s| (s.index, &s.flaw)).collect();
    assert_eq!(told, [(0, &KeyFlaw::Use)]);
}

// conformance: TB-3- TB-5- TB-7-
#[test]
fn a_document_that_is_no_bundle_is_refused_and_says_why() {
    let many = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(1000));
    for (text, why) in [
        ("", JsonError::Syntax { line: 1, column: 0 }.into()),
        ("[]", JsonError::NotAnObject.into()),
        ("{}", DocumentError::NoKeys),
        (r#"{"keys":{}}"#, DocumentError::NoKeys),
        (
            r#"{"keys":[],"keys":[]}"#,
            JsonError::DuplicateMember {
                name: "keys".into(),
            }
            .into(),
        ),
        (
            r#"{"keys":[],"spiffe_sequence":"7"}"#,
            DocumentError::Sequence,
        ),
        (
            r#"{"keys":[],"spiffe_sequence":1.5}"#,
            DocumentError::Sequence,
        ),
        (
            r#"{"keys":[],"spiffe_sequence":null}"#,
            DocumentError::Sequence,
        ),
        (&many, DocumentError::TooManyKeys { limit: 1000 }),
    ] {
        assert_eq!(TrustBundle::from_document(TD, text.as_bytes()), Err(why));
    }
    for (text, sequence, hint) in [
        (r#"{"keys":[]}"#, None, None),
        (
            r#"{"keys":[],"spiffe_sequence":0,"spiffe_refresh_hint":0}"#,
            Some(0),
            Some(0),
        ),
        (
            r#"{"keys":[],"spiffe_sequence":18446744073709551615,"spiffe_refresh_hint":300}"#,
            Some(u64::MAX),
            Some(300),
        ),
        (r#"{"keys":[],"spiffe_refresh_hint":"5m"}"#, None, None),
        (r#"{"keys":[],"spiffe_refresh_hint":1.5}"#, None, None),
        (r#"{"keys":[],"spiffe_refresh_hint":-5}"#, None, None),
    ] {
        let bundle = TrustBundle::from_document(TD, text.as_bytes())
            .unwrap()
            .value;
        assert_eq!(bundle.sequence(), sequence, "{text}");
        assert_eq!(
            bundle.refresh_hint(),
            hint.map(Duration::from_secs),
            "{text}"
        );
    }
}

// conformance: TB-2+ TB-6+ TB-7+ TB-12+ TB-12- TB-13+ TB-15+ JWT-17+ JWT-18+ JWT-18- WIT-27+
// conformance: WIT-28+ WIT-28- X509-26+ X509-27+ X509-27- X509-28+ X509-29+
#[test]
fn what_is_written_is_what_the_standard_asks_for_and_reads_back() {
    let authority = TestAuthority::new("example.org");
    let key = |id: &str| {
        Jwk::from_json(jwt_key().to_string().as_bytes())
            .unwrap()
            .with_key_id(id)
    };
    let bundle = authority
        .bundle()
        .with_jwt_authorities(vec![key("jwt-1")])
        .with_wit_authorities(vec![key("wit-1")])
        .with_sequence(Some(7))
        .with_refresh_hint(Some(Duration::from_secs(300)));
    let text = bundle.to_document().unwrap();
    let read = TrustBundle::from_document(TD, text.as_bytes()).unwrap();
    assert_eq!((read.value, read.skipped.len()), (bundle.clone(), 0));

    let document: Value = serde_json::from_str(&text).unwrap();
    for (index, members) in [
        (0, &["crv", "kty", "use", "x", "x5c", "y"][..]),
        (1, &["crv", "kid", "kty", "use", "x", "y"]),
        (2, &["crv", "kid", "kty", "use", "x", "y"]),
    ] {
        let entry = document["keys"][index].as_object().unwrap();
        assert_eq!(entry.keys().collect::<Vec<_>>(), members);
    }
    assert_eq!(document["keys"][0]["use"], "x509-svid");
    assert_eq!(document["keys"][1]["use"], "jwt-svid");
    assert_eq!(document["keys"][2]["use"], "wit-svid");

    let namesakes = bundle
        .clone()
        .with_wit_authorities(vec![key("wit-1"), key("jwt-1")]);
    let twice = WriteError::KeyIdTwice { index: 1 };
    assert_eq!(namesakes.to_document(), Err(twice));
    let nameless = bundle.with_jwt_authorities(vec![key("")]);
    assert_eq!(
        nameless.to_document(),
        Err(WriteError::NoKeyId { index: 0 })
    );
}

// conformance: TB-10+
#[test]
fn an_empty_bundle_is_a_bundle_of_nobody() {
    let read = TrustBundle::from_document(TD, br#"{"keys":[]}"#).unwrap();
    assert!(read.value.x509_authorities().is_empty() && read.value.jwt_authorities().is_empty());
    let set = BundleSet::from(read.value);
    assert!(set.get(&TD).is_some());
}

// conformance: JWT-19+ JWT-19-
#[test]
fn a_jwk_set_of_the_workload_api_counts_by_use_where_there_is_any() {
    let key = |id: &str, purpose: Option<&str>| {
        let mut key = jwt_key();
        key["kid"] = id.into();
        match purpose {
            Some(purpose) => key["use"] = purpose.into(),
            None => drop(key.as_object_mut().unwrap().remove("use")),
        }
        key
    };
    for (keys, counted) in [
        (vec![key("a", None), key("b", None)], vec!["a", "b"]),
        (vec![key("a", None), key("b", Some("jwt-svid"))], vec!["b"]),
        (vec![key("a", None), key("b", Some("wit-svid"))], vec![]),
        (vec![key("a", Some("sig")), key("b", None)], vec![]),
        (vec![], vec![]),
    ] {
        let text = serde_json::json!({ "keys": keys }).to_string();
        let read = TrustBundle::from_jwt_jwks(TD, text.as_bytes()).unwrap();
        let ids = read
            .value
            .jwt_authorities()
            .iter()
            .map(|key| key.key_id().unwrap());
        assert_eq!(ids.collect::<Vec<_>>(), counted, "{text}");
        assert_eq!(read.skipped.len(), keys.len() - counted.len(), "{text}");

        let written = read.value.to_jwt_jwks().unwrap();
        let again = TrustBundle::from_jwt_jwks(TD, written.as_bytes()).unwrap();
        assert_eq!(again.value, read.value);
        assert!(counted.is_empty() || written.contains(r#""use":"jwt-svid""#));
    }
    assert_eq!(
        TrustBundle::from_jwt_jwks(TD, b"{}"),
        Err(DocumentError::NoKeys)
    );
}

// conformance: WIT-29+ WIT-29- WA-51+ WA-51- WIT-27-
#[test]
fn a_wit_bundle_holds_keys_for_wit_svids_only() {
    let file: Value = serde_json::from_str(include_str!("vectors/witsvid.json")).unwrap();
    let text = file["bundles"]["spiffe://example.org"].to_string();
    let read = TrustBundle::from_wit_jwks(TD, text.as_bytes()).unwrap();
    let [key] = read.value.wit_authorities() else {
        panic!("{read:?}")
    };
    assert_eq!(key.key_id(), Some("wit-1"));
    assert_eq!(read.skipped.len(), 1);
    let again = read.value.to_wit_jwks().unwrap();
    assert_eq!(
        TrustBundle::from_wit_jwks(TD, again.as_bytes())
            .unwrap()
            .value,
        read.value
    );
}

// conformance: TB-18+ TB-18- TB-20+ TB-20- TB-22+ TB-22- TB-25+ TB-25-
#[test]
fn bundle_maps_are_read_as_the_standard_has_them() {
    let cases = cases(include_str!("vectors/bundle_map.json"));
    for case in &cases {
        let read = BundleSet::from_bundle_map(case["document"].as_str().unwrap().as_bytes());
        assert_eq!(read.is_ok(), case["expect"] == "ok", "{case}: {read:?}");
    }
    assert_eq!(cases.len(), 7);
    let inner = br#"{"trust_domains":{"example.org":{"spiffe_refresh_hint":5,"keys":[]}}}"#;
    let set = BundleSet::from_bundle_map(inner).unwrap().value;
    assert_eq!(set.get(&TD).unwrap().refresh_hint(), None);
}

// conformance: TB-8- TB-20- TB-25-
#[test]
fn a_flawed_bundle_map_names_the_place() {
    let twice = JsonError::DuplicateMember { name: "td".into() };
    for (text, why) in [
        (
            r#"{"trust_domains":{"td":{"keys":[]},"td":{"keys":[]}}}"#,
            twice.into(),
        ),
        (r#"{"trust_domains":[]}"#, BundleMapError::NoTrustDomains),
        (
            r#"{"trust_domains":{"a":{"keys":[]},"td":{}}}"#,
            BundleMapError::Bundle {
                trust_domain: TrustDomain::from_static("td"),
                source: DocumentError::NoKeys,
            },
        ),
        (
            r#"{"trust_domains":{"td":[]}}"#,
            BundleMapError::Bundle {
                trust_domain: TrustDomain::from_static("td"),
                source: JsonError::NotAnObject.into(),
            },
        ),
    ] {
        assert_eq!(
            BundleSet::from_bundle_map(text.as_bytes()),
            Err(why),
            "{text}"
        );
    }
    let why = BundleSet::from_bundle_map(br#"{"trust_domains":{"spiffe://td":{"keys":[]}}}"#);
    assert_eq!(
        why.unwrap_err().to_string(),
        r#""spiffe://td" in the bundle map is not the name of a trust domain"#
    );
}

// conformance: TB-19+ TB-21+ TB-21-
#[test]
fn a_bundle_map_is_written_without_refresh_hints_and_reads_back() {
    let [a, b] = ["a.test", "b.test"].map(|td| {
        let bundle = TestAuthority::new(td).bundle().with_sequence(Some(3));
        bundle.with_refresh_hint(Some(Duration::from_secs(5)))
    });
    let set: BundleSet = [a, b].into_iter().collect();
    let text = set.to_bundle_map().unwrap();
    assert!(!text.contains("refresh_hint"));
    let read = BundleSet::from_bundle_map(text.as_bytes()).unwrap().value;
    let hintless: BundleSet = set
        .iter()
        .map(|b| b.clone().with_refresh_hint(None))
        .collect();
    assert_eq!(read, hintless);
}

/// The first key of the vectors for JWT-SVIDs.
fn jwt_key() -> Value {
    let file: Value = serde_json::from_str(include_str!("vectors/jwtsvid.json")).unwrap();
    let id = SpiffeId::from(&TD).to_string();
    file["bundles"][&id]["keys"][0].clone()
}

fn document(name: &str) -> String {
    let cases = cases(include_str!("vectors/spiffebundle.json"));
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    case["document"].as_str().unwrap().to_owned()
}

fn cases(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}
