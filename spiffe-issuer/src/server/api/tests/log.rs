//! What operators find in the log.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::proto::server::agent::{ListAgentsRequest, PostStatusRequest};

/// What is logged by this thread, line by line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(lines))
    }

    /// The lines that hold this text.
    fn lines(&self, text: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        let all = String::from_utf8(bytes).unwrap();
        let found = all.lines().filter(|line| line.contains(text));
        found.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_call_that_changes_something_leaves_one_line() {
    let world = World::new().await;
    let (log, _listening) = Log::listen();
    let mut operator = world.agents(local()).await;
    operator
        .list_agents(ListAgentsRequest::default())
        .await
        .unwrap();
    assert_eq!(log.lines("API accessed"), [""; 0], "nothing was changed");

    let agent = world.attested().await;
    let lines = log.lines("API accessed");
    let [attested] = &lines[..] else {
        panic!("{lines:?}");
    };
    for part in [
        "type=\"audit\"",
        "method=\"/spire.api.server.agent.v1.Agent/AttestAgent\"",
        "authorized_as=\"nobody\"",
        "caller_addr=\"10.",
        "status=\"success\"",
        "status_code=\"Ok\"",
        "request_id=",
    ] {
        assert!(attested.contains(part), "{part}: {attested}");
    }

    let id = agent.svid().unwrap().id().to_string();
    world.attest("no token").await.unwrap_err();
    let mut agents = world.agents(agent).await;
    agents
        .post_status(PostStatusRequest::default())
        .await
        .unwrap();
    let lines = log.lines("API accessed");
    let [_, failed, posted] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(
        failed.contains("status=\"error\" status_code=\"InvalidArgument\""),
        "{failed}"
    );
    assert!(posted.contains(&format!("caller_id=\"{id}\"")), "{posted}");
    assert!(posted.contains("authorized_as=\"agent\""), "{posted}");
}

#[tokio::test]
async fn a_call_that_is_broken_off_or_refused_leaves_its_line_too() {
    let world = World::new().await;
    let (log, _listening) = Log::listen();
    let mut agents = world.agents(anonymous()).await;
    let silence = tokio_stream::pending::<AttestAgentRequest>();
    drop(agents.attest_agent(silence).await.unwrap());
    let refused = agents.post_status(PostStatusRequest::default()).await;
    assert!(refused.is_err());
    let lines = log.lines("API accessed");
    let [broken_off, refused] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(broken_off.contains("status=\"broken off\""), "{broken_off}");
    assert!(
        refused.contains("status_code=\"PermissionDenied\""),
        "{refused}"
    );
}

#[tokio::test]
async fn an_agent_that_is_turned_away_is_named_as_scripts_look_for_it() {
    let world = World::new().await;
    let agent = world.attested().await;
    let id = agent.svid().unwrap().id().clone();
    let post = async || {
        let mut agents = world.agents(agent.clone()).await;
        agents
            .post_status(PostStatusRequest::default())
            .await
            .map(drop)
    };
    let (log, _listening) = Log::listen();
    world.nodes.ban(&id).await.unwrap();
    post().await.unwrap_err();
    world.nodes.delete(&id).await.unwrap();
    post().await.unwrap_err();
    for marker in [
        "Agent banned",
        "Agent is banned",
        "Agent deleted",
        "Agent is not attested",
    ] {
        let lines = log.lines(marker);
        assert!(
            lines.len() == 1 && lines[0].contains(id.as_str()),
            "{marker}: {lines:?}"
        );
    }
    let marked = log.lines("Agent is not attested");
    assert!(
        marked[0].contains(&format!("caller_id=\"{id}\"")),
        "{marked:?}"
    );
}

#[tokio::test]
async fn no_secret_in_logs() {
    let world = World::new().await;
    let (log, _listening) = Log::listen();
    let request = crate::proto::server::agent::CreateJoinTokenRequest {
        ttl: 60,
        ..Default::default()
    };
    let mut operator = world.agents(local()).await;
    let made = operator
        .create_join_token(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        log.lines(&made.value),
        [""; 0],
        "while it can still be used"
    );
    world.attest(&made.value).await.unwrap();
    // Once it is used it is a part of the agent's ID, which is no secret.
    world.attest("wrong-token").await.unwrap_err();
    assert_eq!(log.lines("wrong-token"), [""; 0]);
}
