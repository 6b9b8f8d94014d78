//! What the documentation shows, done.

#![cfg(all(feature = "agent", feature = "server"))]

use std::process::Command;

#[test]
fn the_configurations_in_the_page_on_issuers_are_valid() {
    let page = include_str!("../../docs/issuer.md");
    let shown: Vec<_> = page.split("```hcl\n").skip(1).collect();
    let programs = [
        env!("CARGO_BIN_EXE_spiffe-server"),
        env!("CARGO_BIN_EXE_spiffe-agent"),
    ];
    assert_eq!(shown.len(), programs.len());
    for (program, shown) in programs.into_iter().zip(shown) {
        let (text, _) = shown.split_once("```").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut validate = Command::new(program);
        validate.args(["validate", "-config"]).arg(file.path());
        let told = validate.output().unwrap();
        assert!(told.status.success(), "{text}: {told:?}");
    }
}
