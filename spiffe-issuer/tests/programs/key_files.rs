//! Key files that cannot be read, or that others can read.

use std::fs;

use super::village::{Village, refusal, set_mode};

/// A village in which server and agent have run, with their key files.
fn with_keys() -> (Village, [&'static str; 2]) {
    let village = Village::new();
    let server = village.server();
    let token = village.token();
    let agent = village.agent("agent", Some(&token));
    agent.says("Node attestation was successful");
    agent.stop();
    server.stop();
    (village, ["server/keys.json", "agent/keys.json"])
}

fn refused(village: &Village, file: &str) -> String {
    refusal(match file.starts_with("server") {
        true => village.server_command(),
        false => village.agent_command("agent", None),
    })
}

#[test]
fn refuses_a_key_file_that_others_can_read() {
    let (village, files) = with_keys();
    for file in files {
        let path = village.path(file);
        let kept = fs::read(&path).unwrap();
        for mode in [0o640, 0o604] {
            set_mode(&path, mode);
            let told = refused(&village, file);
            let path = path.display();
            assert!(told.contains(&format!("{path}: mode {mode:04o}")), "{told}");
            assert!(told.contains(&format!("chmod 600 {path}")), "{told}");
        }
        assert_eq!(fs::read(&path).unwrap(), kept, "it is left as it was");
        set_mode(&path, 0o600);
    }
    // What the messages ask for heals it.
    let server = village.server();
    let agent = village.agent("agent", None);
    assert!(village.operator(&["agent", "count"]).starts_with("1 "));
    agent.stop();
    server.stop();
}

#[test]
fn a_key_file_that_cannot_be_read_is_named_with_the_reason() {
    let (village, files) = with_keys();
    for file in files {
        let path = village.path(file);
        // Not even root can read these: a directory, and what is no key file.
        let away = village.path("away");
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        set_mode(&path, 0o700);
        let told = refused(&village, file);
        assert!(told.contains(&format!("{}: ", path.display())), "{told}");
        assert!(told.contains("Is a directory"), "{told}");
        fs::remove_dir(&path).unwrap();

        fs::write(&path, "no keys").unwrap();
        set_mode(&path, 0o600);
        let told = refused(&village, file);
        assert!(
            told.contains(&format!("{}: not a key file", path.display())),
            "{told}"
        );

        // And this one for all but root.
        if !nix::unistd::geteuid().is_root() {
            set_mode(&path, 0o000);
            let told = refused(&village, file);
            assert!(told.contains("Permission denied"), "{told}");
            set_mode(&path, 0o600);
        }
        fs::rename(&away, &path).unwrap();
    }
    let server = village.server();
    let agent = village.agent("agent", None);
    assert!(village.operator(&["agent", "count"]).starts_with("1 "));
    agent.stop();
    server.stop();
}

#[test]
fn a_server_whose_keys_are_gone_says_so_and_makes_new_ones() {
    let (village, _) = with_keys();
    fs::remove_file(village.path("server/keys.json")).unwrap();
    let server = village.server();
    server.says("No key of the authorities in the bundle is here, so new authorities are made");
    // Whoever trusted the old authority still may.
    let bundle = village.operator(&["bundle", "show"]);
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    server.stop();
}
