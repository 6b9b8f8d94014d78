//! A server or an agent that is killed, at whatever moment, and started again.

use super::village::{Program, Village};

#[test]
fn a_killed_server_has_lost_nothing_that_it_confirmed() {
    let village = Village::new();
    let server = village.server();
    let (token, unspent) = (village.token(), village.token());
    let agent = village.agent("agent", Some(&token));
    assert!(village.create_entry(&token, "/web").status.success());
    village.fetches("agent", &["/web"]);
    let (bundle, agents) = (
        village.operator(&["bundle", "show"]),
        village.operator(&["agent", "list"]),
    );

    // Killed in the midst of writing: what was confirmed is there, the rest is not half there.
    let confirmed = std::thread::scope(|scope| {
        let (first, is_first) = std::sync::mpsc::channel();
        let village = &village;
        let writing = scope.spawn(move || {
            let mut confirmed = Vec::new();
            for n in 0.. {
                // Below another agent, so that ours is not given them.
                let output = village.create_entry("another", &format!("/{n}"));
                if !output.status.success() {
                    break;
                }
                confirmed.push(String::from_utf8(output.stdout).unwrap());
                let _ = first.send(());
            }
            confirmed
        });
        for _ in 0..3 {
            is_first.recv().unwrap();
        }
        server.kill();
        writing.join().unwrap()
    });
    // What is valid is served while it is away.
    village.fetches("agent", &["/web"]);

    let server = village.server();
    let entries = village.operator(&["entry", "show"]);
    for entry in &confirmed {
        assert!(entries.contains(entry.trim_end()), "{entry}\n{entries}");
    }
    assert_eq!(village.operator(&["bundle", "show"]), bundle);
    assert_eq!(village.operator(&["agent", "list"]), agents);
    // Its agent follows it again, and a token from before lets one in.
    assert!(village.create_entry(&token, "/api").status.success());
    village.fetches("agent", &["/api", "/web"]);
    let second = village.agent("second", Some(&unspent));
    second.says("Node attestation was successful");
    second.stop();
    agent.stop();
    server.stop();
}

#[test]
fn a_killed_agent_comes_back_without_a_token() {
    let village = Village::new();
    let server = village.server();
    let token = village.token();
    assert!(village.create_entry(&token, "/web").status.success());
    let agent = village.agent("agent", Some(&token));
    agent.says("Node attestation was successful");
    agent.kill();
    // As early as it can be killed, as soon as it serves, and once it has served.
    for moment in ["Configured", "Starting agent APIs", "Creating X509-SVID"] {
        let agent = Program::start(village.agent_command("agent", None));
        agent.says(moment);
        agent.kill();
    }
    // Also while the server is away.
    let agent = village.agent("agent", None);
    village.fetches("agent", &["/web"]);
    let agents = village.operator(&["agent", "list"]);
    agent.kill();
    server.kill();
    let agent = village.agent("agent", None);
    let server = village.server();
    village.fetches("agent", &["/web"]);
    assert!(agents.starts_with("Found 1 attested agent:"), "{agents}");
    assert_eq!(village.operator(&["agent", "list"]), agents);
    agent.stop();
    server.stop();
}
