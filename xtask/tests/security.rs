//! SECURITY.md names tests; this one sees to it that they are there.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_test_that_security_md_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tests = named_tests(&fs::read_to_string(root.join("SECURITY.md")).unwrap());
    assert!(tests.len() > 100, "the table names only {tests:?}");

    let files = rust_files(root);
    let code: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let missing: Vec<_> = tests
        .iter()
        .filter(|test| !code.contains(&format!("fn {test}(")))
        .collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}

/// What stands in code marks in the last column of the tables of flaws.
fn named_tests(page: &str) -> Vec<String> {
    page.lines()
        .filter(|line| {
            ["| S", "| B", "| P"]
                .iter()
                .any(|row| line.starts_with(row))
        })
        .filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}
