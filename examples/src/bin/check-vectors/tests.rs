//! The program on the standard's own vectors, and on such that are wrong.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::*;

/// A moment at which the vectors are meant to be judged.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

#[test]
fn no_verdict_on_the_standards_vectors_differs() {
    let outcomes = run(&vectors(), now()).unwrap();
    let differing: Vec<_> = outcomes.iter().filter(|o| o.differs()).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(outcomes.len(), 574 + 273 + 52 + 83 + 26 + 23);
    assert_eq!(outcomes.iter().filter(|o| o.is_open()).count(), 28);
    assert_eq!(report(&outcomes), ExitCode::SUCCESS);
}

#[test]
fn each_wrong_expectation_is_a_difference() {
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(vectors().join(form.file)).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        let cases = match &mut file {
            Value::Array(cases) => cases,
            file => file["cases"].as_array_mut().unwrap(),
        };
        let mut sure = 0;
        for case in cases {
            sure += usize::from(case["expect"] != "choice");
            match case["expect"].as_str() {
                Some("accept" | "ok") => case["expect"] = "reject".into(),
                Some("reject" | "error") => case["expect"] = "accept".into(),
                Some(_) => {}
                None => case["ok"] = (case["ok"] == false).into(),
            }
        }
        fs::write(folder.path().join(form.file), file.to_string()).unwrap();
        let outcomes = run(folder.path(), now()).unwrap();
        let differing = outcomes.iter().filter(|o| o.differs()).count();
        assert_eq!(differing, sure, "{}", form.file);
        assert_eq!(report(&outcomes), ExitCode::from(1));
    }
}

#[test]
fn another_id_or_another_count_is_a_difference() {
    let mut file: Value =
        serde_json::from_str(&fs::read_to_string(vectors().join("x509svid.json")).unwrap())
            .unwrap();
    let mut case = file["cases"][0].clone();
    case["spiffe_id"] = "spiffe://example.org/other".into();
    file["cases"] = json!([case]);
    let bundle = json!([{
        "name": "counts", "document": "{\"keys\":[]}", "expect": "ok",
        "x509_authorities": 1, "jwt_authorities": 0, "wit_authorities": 0,
    }]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x509svid.json"), file.to_string()).unwrap();
    fs::write(folder.path().join("spiffebundle.json"), bundle.to_string()).unwrap();
    let outcomes = run(folder.path(), now()).unwrap();
    let lines: Vec<_> = outcomes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "DIFFERS x509svid.json \"valid\": expected accept (spiffe://example.org/other), \
             given accept (spiffe://example.org/workload)",
            "DIFFERS spiffebundle.json \"counts\": expected accept (1 X.509, 0 JWT, 0 WIT), \
             given accept (0 X.509, 0 JWT, 0 WIT)",
        ]
    );
}

#[test]
fn a_folder_without_vectors_and_a_file_that_is_none_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let why = |text: Option<&str>| {
        if let Some(text) = text {
            fs::write(folder.path().join("spiffeid.json"), text).unwrap();
        }
        let error = run(folder.path(), now()).unwrap_err();
        told(&error).replace(&folder.path().display().to_string(), "DIR")
    };
    assert_eq!(why(None), "DIR holds no file of vectors that is known here");
    assert!(why(Some("{")).starts_with("DIR/spiffeid.json is no JSON: EOF"));
    for (text, member) in [
        ("{}", " has no usable \"cases\""),
        ("[{\"input\":\"\"}]", " case 0 has no usable \"expect\""),
        ("[{\"ok\":true}]", " case 0 has no usable \"input\""),
    ] {
        assert_eq!(why(Some(text)), format!("DIR/spiffeid.json:{member}"));
    }
}

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spiffe-core/tests/vectors")
}
