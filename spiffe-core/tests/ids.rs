//! The standard's cases for IDs, trust domains and path segments, read from the vectors.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Debug;

use serde_json::Value;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{IdError, JwtSvid, SpiffeId, TrustDomain, X509Svid};

// conformance: ID-1+ ID-1- ID-2+ ID-2- ID-3+ ID-3- ID-4+ ID-4- ID-5+ ID-5- ID-6+ ID-6- ID-7+ ID-7-
// conformance: ID-8+ ID-8- ID-10+ ID-10- ID-11+ ID-11- ID-12+ ID-12- ID-13+ ID-13- ID-14+
#[test]
fn ids_are_read_as_the_standard_has_them() {
    for case in cases(include_str!("vectors/spiffeid.json")) {
        judge(&case, &case["input"].as_str().unwrap().parse::<SpiffeId>());
    }
}

// conformance: ID-2+ ID-2- ID-6+ ID-6- ID-7+ ID-7- ID-8+ ID-8- ID-16+ ID-16-
#[test]
fn trust_domains_are_read_as_the_standard_has_them() {
    for case in cases(include_str!("vectors/trustdomain.json")) {
        judge(
            &case,
            &TrustDomain::from_id_or_name(case["input"].as_str().unwrap()),
        );
    }
}

// conformance: ID-10- ID-11+ ID-11- ID-13+ ID-13-
#[test]
fn segments_join_to_a_path_or_are_refused() {
    let td = TrustDomain::from_static("td");
    for case in cases(include_str!("vectors/path_segments.json")) {
        let segments: Vec<_> = case["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s.as_str().unwrap())
            .collect();
        let id = SpiffeId::from_segments(&td, segments);
        if let (Ok(id), Some(path)) = (&id, case["path"].as_str()) {
            assert_eq!(id.path(), path, "{case}");
        }
        judge(&case, &id);
    }
}

// conformance: ID-9+ ID-9- ID-22+
#[test]
fn names_are_compared_byte_for_byte_and_never_resolved() {
    for (one, other) in [
        ("spiffe://1.1/x", "spiffe://1.0.0.1/x"),
        ("spiffe://127.0.0.1/x", "spiffe://localhost/x"),
        ("spiffe://example.org/x", "spiffe://example.org./x"),
        ("spiffe://example.org/x", "spiffe://example..org/x"),
        ("spiffe://xn--e1afmkfd/x", "spiffe://example/x"),
        ("spiffe://example.org/A", "spiffe://example.org/a"),
    ] {
        let ids = [one, other].map(|text| text.parse::<SpiffeId>().unwrap());
        assert_ne!(ids[0], ids[1]);
        assert_eq!([one, other], [ids[0].as_str(), ids[1].as_str()]);
    }
}

// conformance: ID-14+ ID-14-
#[test]
fn an_id_of_2048_bytes_goes_through_every_document() {
    let path = format!("/{}", "a".repeat(SpiffeId::MAX_ISSUED_LEN - 16));
    let authority = TestAuthority::new("a.test");
    let svid = authority.svid(&path);
    assert_eq!(svid.id().as_str().len(), 2048);
    let read = X509Svid::from_pem(
        svid.leaf().to_pem().as_bytes(),
        svid.key().to_pem().as_bytes(),
    );
    assert_eq!(read.unwrap().id(), svid.id());
    let token = authority.jwt_svid(&path, &["db"]);
    assert_eq!(JwtSvid::parse(token.token()).unwrap().id(), svid.id());
    let token = authority.wit_svid(&path);
    assert_eq!(token.id(), svid.id());
}

/// Accepted or refused as expected, and refused for the reason that is given.
fn judge<T: Debug>(case: &Value, result: &Result<T, IdError>) {
    let Err(why) = result else {
        assert_eq!(case["ok"], true, "{case}: {result:?}");
        return;
    };
    assert_eq!(case["ok"], false, "{case}: {why}");
    let Some(reason) = case["reason"].as_str() else {
        return;
    };
    // What it is about may stand behind it in parentheses.
    let reason = reason.split(" (").next().unwrap();
    let reasons: &[&str] = match why {
        IdError::DotSegment { .. } => &["dot segment"],
        // No text is no trust domain, either.
        IdError::Empty => &["empty", "missing"],
        IdError::EmptySegment { .. } => &["empty segment"],
        IdError::NoTrustDomain => &["missing", "trust domain missing"],
        // URIs have names for what follows some of the bytes that no ID may hold.
        IdError::PathByte { .. } => &["fragment", "path char", "percent encoding", "query"],
        // A name with a colon or a slash is taken for an ID.
        IdError::Scheme => &["char", "scheme", "scheme case", "scheme/char"],
        // Two slashes at the end are both.
        IdError::TrailingSlash => &["empty segment", "trailing slash"],
        IdError::TrustDomainByte { .. } => {
            &["char", "port", "trust domain char", "userinfo", "query"]
        }
        IdError::TrustDomainTooLong { .. } => {
            &["longer than 255", "trust domain longer than 255 bytes"]
        }
        _ => &[],
    };
    assert!(reasons.contains(&reason), "{case}: {why}");
}

fn cases(text: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(!cases.is_empty());
    cases
}
