use std::{fs, path::Path};

use super::{Case, ConformanceError, check, marks, write};

#[test]
fn a_mark_is_read_with_the_name_of_its_test() {
    let text = "
        // conformance: ID-1+ ID-1-
        // conformance: ID-2+
        /// Told in a line.
        #[cfg(unix)]
        #[tokio::test(
            start_paused = true,
        )]
        async fn names_are_read() {
        }

        #[test]
        fn nobody_marked_this() {}
    ";
    let found = marks::in_file("a/b.rs", text).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "names_are_read in a/b.rs");
    let cases: Vec<_> = found[0].cases.iter().map(Case::to_string).collect();
    assert_eq!(cases, ["ID-1+", "ID-1-", "ID-2+"]);
}

#[test]
fn a_mark_counts_only_above_a_test_that_runs() {
    for below in [
        "fn no_test() {}",
        "#[test]\n#[ignore = \"slow\"]\nfn ignored() {}",
        "struct Thing;\n#[test]\nfn another() {}",
        "",
    ] {
        let text = format!("// conformance: ID-1+\n{below}");
        assert!(
            matches!(
                marks::in_file("a.rs", &text),
                Err(ConformanceError::LooseMark { line: 1, .. })
            ),
            "{below:?}"
        );
    }
}

#[test]
fn what_is_no_case_is_refused() {
    for text in ["ID-1", "ID+", "-1+", "ID-x-", "1D_-1+", "ID-1+,"] {
        let error = text.parse::<Case>().unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("JWT-5-"), "{error}");
    }
}

#[test]
fn the_page_is_written_and_then_holds() {
    let project = Project::new("// conformance: ID-1+ ID-1-\n#[test]\nfn shown() {}\n", "");
    assert!(project.flaws().contains("run `cargo xtask conformance`"));
    write(project.root()).unwrap();
    check(project.root()).unwrap();
    let page = project.read(super::PAGE);
    let row = "| ID-1 | MUST | 2 | Scheme \\| name | [shown](../one/src/lib.rs) \
               | [shown](../one/src/lib.rs) | SDK: shown |";
    assert!(page.contains(row), "{page}");
    assert!(page.contains("issuer: no test names it"), "{page}");
}

#[test]
fn a_requirement_without_a_test_is_a_flaw_unless_it_is_listed() {
    let code = "// conformance: ID-1+\n#[test]\nfn half() {}\n";
    let project = Project::new(code, "");
    assert!(project.flaws().contains("ID-1- is shown by no test"));
    let project = Project::new(code, "# Why.\nID-1- nothing refuses yet\n");
    write(project.root()).unwrap();
    let page = project.read(super::PAGE);
    assert!(page.contains("SDK: nothing refuses yet"), "{page}");
}

#[test]
fn the_list_gets_shorter_by_itself() {
    let code = "// conformance: ID-1+ ID-1-\n#[test]\nfn both() {}\n";
    let project = Project::new(code, "# Why.\nID-1- nothing refuses yet\n");
    assert!(project.flaws().contains("takes it off"));
    write(project.root()).unwrap();
    assert_eq!(project.read(super::NOT_YET), "# Why.\n");
}

#[test]
fn what_the_standards_do_not_know_is_a_flaw() {
    let both = "// conformance: ID-1+ ID-1- ID-9+\n#[test]\nfn all() {}\n";
    let flaws = Project::new(both, "ID-8- because\n").flaws();
    assert!(
        flaws.contains("ID-9+, named by all in one/src/lib.rs"),
        "{flaws}"
    );
    assert!(flaws.contains("ID-8-, named by xtask"), "{flaws}");
    let unexplained = Project::new(both, "ID-8-\n").flaws();
    assert!(
        unexplained.contains("gives no reason for ID-8-"),
        "{unexplained}"
    );
}

/// A workspace of one package.
struct Project(tempfile::TempDir);

impl Project {
    fn new(code: &str, not_yet: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let requirement = |id: &str, on: &str, text: &str| {
            serde_json::json!({
                "id": id, "standard": "SPIFFE-ID.md", "status": "Stable", "level": "MUST",
                "section": "2", "on": [on], "requirement": text,
            })
        };
        let all = [
            requirement("ID-1", "V", "Scheme | name"),
            requirement("ID-2", "I", "Somebody else's"),
        ];
        for (path, text) in [
            ("Cargo.toml", "[workspace]\nmembers = [\"one\"]\n"),
            ("one/Cargo.toml", "[package]\nname = \"one\"\n"),
            ("one/src/lib.rs", code),
            (super::REQUIREMENTS, &serde_json::to_string(&all).unwrap()),
            (super::NOT_YET, not_yet),
            (super::PAGE, ""),
        ] {
            let path = project.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        project
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn flaws(&self) -> String {
        check(self.root()).unwrap_err().to_string()
    }
}
