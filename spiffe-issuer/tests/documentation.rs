//! What the documentation shows, done.

#![cfg(all(feature = "agent", feature = "server"))]

use std::process::Command;

#[test]
fn the_configurations_in_the_page_on_issuers_are_valid() {
    let server = env!("CARGO_BIN_EXE_spiffe-server");
    let agent = env!("CARGO_BIN_EXE_spiffe-agent");
    are_valid(include_str!("../../docs/issuer.md"), &[server, agent]);
}

#[test]
fn the_configuration_in_the_page_on_high_availability_is_valid() {
    let server = env!("CARGO_BIN_EXE_spiffe-server");
    are_valid(include_str!("../../docs/high-availability.md"), &[server]);
}

/// Lets each program judge the configuration that the page shows for it.
#[expect(
    clippy::unwrap_used,
    reason = "what fails in a helper fails the test that called it"
)]
fn are_valid(page: &str, programs: &[&str]) {
    let shown: Vec<_> = page.split("```hcl\n").skip(1).collect();
    assert_eq!(shown.len(), programs.len());
    for (program, shown) in programs.iter().zip(shown) {
        let (text, _) = shown.split_once("```").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut validate = Command::new(program);
        validate.args(["validate", "-config"]).arg(file.path());
        let told = validate.output().unwrap();
        assert!(told.status.success(), "{text}: {told:?}");
    }
}
