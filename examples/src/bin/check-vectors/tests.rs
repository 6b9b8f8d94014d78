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
    let found = run(&vectors(), now());
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    let outcomes = &found.outcomes;
    let differing: Vec<_> = outcomes.iter().filter(|o| o.differs()).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(outcomes.len(), 574 + 273 + 52 + 83 + 26 + 23);
    assert_eq!(outcomes.iter().filter(|o| o.is_open()).count(), 28);
    assert_eq!(found.exit_code(), ExitCode::SUCCESS);
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
        let found = run(folder.path(), now());
        let differing = found.outcomes.iter().filter(|o| o.differs()).count();
        assert_eq!(differing, sure, "{}", form.file);
        assert_eq!(found.exit_code(), ExitCode::from(1));
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
    let outcomes = run(folder.path(), now()).outcomes;
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
        let found = run(folder.path(), now());
        assert_eq!(found.exit_code(), ExitCode::from(2));
        faults(&found, folder.path()).join(", ")
    };
    assert_eq!(why(None), "DIR holds no file of vectors that is known here");
    assert!(why(Some("{")).starts_with("DIR/spiffeid.json is no JSON: EOF"));
    for (text, member) in [
        ("{}", " has no usable \"cases\""),
        ("{\"cases\":[]}", " has no usable \"cases\""),
        ("[]", " has no usable \"cases\""),
        ("[{\"input\":\"\"}]", " case 0 has no usable \"expect\""),
        ("[{\"ok\":true}]", " case 0 has no usable \"input\""),
    ] {
        assert_eq!(why(Some(text)), format!("DIR/spiffeid.json:{member}"));
    }
}

#[test]
fn a_fault_is_told_and_all_the_rest_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let bad = r#"[{"ok":true}, {"input":"spiffe://a.test/b","ok":true}, 7]"#;
    fs::write(folder.path().join("spiffeid.json"), bad).unwrap();
    fs::write(folder.path().join("jwtsvid.json"), "{").unwrap();
    let good = r#"[{"input":"a.test","ok":false}]"#;
    fs::write(folder.path().join("trustdomain.json"), good).unwrap();
    let found = run(folder.path(), now());
    let told = faults(&found, folder.path());
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(told[0], "DIR/spiffeid.json: case 0 has no usable \"input\"");
    assert_eq!(
        told[1],
        "DIR/spiffeid.json: case 2 has no usable \"expect\""
    );
    assert!(told[2].starts_with("DIR/jwtsvid.json is no JSON"));
    let differ: Vec<_> = found.outcomes.iter().map(|o| o.differs()).collect();
    assert_eq!(differ, [false, true]);
    assert_eq!(
        found.exit_code(),
        ExitCode::from(2),
        "not 1: not all was judged"
    );
    let mut out = Vec::new();
    report(&found, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let last = "2 cases: 1 differ, 0 are left open by the standard; 3 faults, and what they touch \
                was not judged\n";
    assert!(out.ends_with(last), "{out}");
}

#[test]
fn what_is_no_file_or_has_no_end_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    let pipe = at("spiffeid.json");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", at("trustdomain.json")).unwrap();
    fs::create_dir(at("witsvid.json")).unwrap();
    let long = fs::File::create(at("x509svid.json")).unwrap();
    long.set_len(64 * 1024 * 1024 + 1).unwrap();
    let found = run(folder.path(), now());
    assert_eq!(
        faults(&found, folder.path()),
        [
            "DIR/spiffeid.json is no regular file",
            "DIR/trustdomain.json is no regular file",
            "DIR/x509svid.json is longer than 67108864 bytes",
            "DIR/witsvid.json is no regular file",
        ]
    );
}

/// Whatever the program's output leads to, it ends with a code, and not with a panic.
#[test]
fn output_that_goes_nowhere_is_no_panic() {
    /// Takes nothing, as a full disk or a reader who has left.
    struct Nowhere(io::ErrorKind);

    impl Write for Nowhere {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let found = run(&vectors(), now());
    for (why, code) in [
        (io::ErrorKind::BrokenPipe, ExitCode::SUCCESS),
        (io::ErrorKind::StorageFull, ExitCode::from(2)),
    ] {
        assert_eq!(end(&found, &mut Nowhere(why)), code, "{why}");
    }
}

fn faults(found: &Found, folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let faults = found.faults.iter();
    faults
        .map(|fault| with_causes(fault).replace(&folder, "DIR"))
        .collect()
}

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spiffe-core/tests/vectors")
}
