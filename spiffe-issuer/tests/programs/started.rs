//! What keeps a server or an agent from starting: its configuration, its port, its token.

use super::village::{Program, Village, refusal};

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let village = Village::new();
    let file = village.path("server.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("bind_port", "bind_prot")).unwrap();
    let told = refusal(village.server_command());
    let wanted = format!(
        "{}:4:17: server.bind_prot: is not a setting; did you mean `bind_port`?",
        file.display()
    );
    assert!(told.contains(&wanted), "{told}");
    assert!(!village.path("server").exists(), "nothing was made");
}

#[test]
fn a_port_in_use_is_named_and_whoever_has_it_goes_on() {
    let village = Village::new();
    let server = village.server();
    let mut second = village.server_command();
    let (data, socket) = (village.text("second"), village.text("second.sock"));
    second.args(["-dataDir", &data, "-socketPath", &socket]);
    let told = refusal(second);
    let address = format!("127.0.0.1:{}", village.port());
    let wanted = format!("{address} is in use by another process; stop it, or change `bind_port`");
    assert!(told.contains(&wanted), "{told}");
    village.operator(&["healthcheck"]);
    server.stop();
}

#[test]
fn a_wrong_or_reused_token_is_refused_and_its_first_agent_stays() {
    const WHY: &str = "failed to attest: join token does not exist or has already been used";
    let village = Village::new();
    let server = village.server();
    let told = refusal(village.agent_command("stranger", Some("no-such-token")));
    assert!(told.contains(WHY), "{told}");

    let token = village.token();
    let first = village.agent("first", Some(&token));
    assert!(village.create_entry(&token, "/web").status.success());
    village.fetches("first", &["/web"]);
    let told = refusal(village.agent_command("thief", Some(&token)));
    assert!(told.contains(WHY), "{told}");
    village.fetches("first", &["/web"]);
    assert!(village.operator(&["agent", "count"]).starts_with("1 "));
    first.stop();
    server.stop();
}

#[test]
fn an_agent_without_a_token_says_where_one_comes_from() {
    let village = Village::new();
    let server = village.server();
    let told = refusal(village.agent_command("agent", None));
    for part in ["token generate", "-joinToken"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    server.stop();
}

#[test]
fn a_bundle_that_is_not_there_is_waited_for_by_name() {
    let village = Village::new();
    let agent = Program::start(village.agent_command("agent", Some("t")));
    agent.says("bundle.pem: the bootstrap bundle cannot be read: ");
    agent.stop();
}
