//! A disk without room.

use super::village::{Program, Village, refusal, with_room_for};

#[test]
fn a_server_on_a_full_disk_says_so_serves_what_it_has_and_loses_nothing() {
    let village = Village::new();
    let server = village.server();
    let token = village.token();
    let agent = village.agent("agent", Some(&token));
    assert!(village.create_entry(&token, "/web").status.success());
    village.fetches("agent", &["/web"]);
    server.stop();

    let server = Program::start(with_room_for(256, &village.server_command()));
    server.says("Starting Server APIs");
    let mut confirmed = Vec::new();
    let refused = loop {
        let output = village.create_entry("another", &format!("/{}", confirmed.len()));
        if !output.status.success() {
            break String::from_utf8(output.stderr).unwrap();
        }
        confirmed.push(String::from_utf8(output.stdout).unwrap());
        assert!(confirmed.len() < 1000, "the disk is not full");
    };
    assert!(refused.contains("code = Unavailable"), "{refused}");
    let store = village.path("server/store.sqlite3");
    let wanted = format!("{}: the disk", store.display());
    server.says(&wanted);
    // Reading goes on, and so does signing.
    let entries = village.operator(&["entry", "show"]);
    assert!(entries.contains("spiffe://example.org/web"));
    village.fetches("agent", &["/web"]);
    agent.stop();
    server.stop();

    let server = village.server();
    let entries = village.operator(&["entry", "show"]);
    for entry in &confirmed {
        assert!(entries.contains(entry.trim_end()), "{entry}\n{entries}");
    }
    let count = confirmed.len() + 1;
    assert!(
        entries.starts_with(&format!("Found {count} entries")),
        "{entries}"
    );
    server.stop();
}

#[test]
fn a_server_that_finds_no_room_to_begin_with_names_its_store() {
    let village = Village::new();
    let refused = |room| refusal(with_room_for(room, &village.server_command()));
    let store = village.path("server/store.sqlite3");
    for room in [0, 64] {
        let told = refused(room);
        assert!(
            told.contains(&format!("{}: the disk", store.display())),
            "{told}"
        );
    }
    // With room it starts as if nothing had been.
    village.server().stop();
}

#[test]
fn an_agent_on_a_full_disk_spends_no_token_and_comes_back_with_what_it_has() {
    let village = Village::new();
    let server = village.server();
    let token = village.token();
    assert!(village.create_entry(&token, "/web").status.success());
    let full = with_room_for(0, &village.agent_command("agent", Some(&token)));
    let agent = Program::start(full);
    let keys = village.path("agent/keys.json");
    agent.says(&format!("{}: writing the new file", keys.display()));
    agent.stop();
    assert!(village.operator(&["agent", "count"]).starts_with("0 "));

    let agent = village.agent("agent", Some(&token));
    village.fetches("agent", &["/web"]);
    agent.stop();
    let agent = Program::start(with_room_for(0, &village.agent_command("agent", None)));
    village.fetches("agent", &["/web"]);
    agent.stop();
    server.stop();
}
