//! The standard's cases for IDs, trust domains and path segments, read from the vectors.
#![expect(clippy::unwrap_used, reason = "a test")]

use serde_json::Value;
use spiffe_core::{SpiffeId, TrustDomain};

#[test]
fn ids_are_read_as_the_standard_has_them() {
    for case in cases(include_str!("vectors/spiffeid.json")) {
        judge(&case, &case["input"].as_str().unwrap().parse::<SpiffeId>());
    }
}

#[test]
fn trust_domains_are_read_as_the_standard_has_them() {
    for case in cases(include_str!("vectors/trustdomain.json")) {
        judge(
            &case,
            &TrustDomain::from_id_or_name(case["input"].as_str().unwrap()),
        );
    }
}

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

fn judge<T: std::fmt::Debug, E: std::fmt::Debug>(case: &Value, result: &Result<T, E>) {
    let expected = case["ok"].as_bool().unwrap();
    assert_eq!(result.is_ok(), expected, "{case}: {result:?}");
}

fn cases(text: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(!cases.is_empty());
    cases
}
