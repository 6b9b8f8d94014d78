//! An agent, run against a server that does as it is told.

mod fake_server;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use spiffe_core::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use spiffe_core::proto::workload::{X509svidRequest, X509svidResponse};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::cache::samples::{Authority, at, entry};
use super::lifecycle::{End, Why};
use super::server_client::TurnedAway;
use super::*;
use crate::config::parse;
use crate::domain::{Denial, Entry};
use fake_server::FakeServer;

/// A clock that stands still until it is set. Who sleeps looks at it again and again.
#[derive(Debug, Default)]
struct StepClock(AtomicU64);

impl StepClock {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for StepClock {
    fn now(&self) -> SystemTime {
        at(self.0.load(Ordering::SeqCst))
    }

    fn longest_nap(&self) -> Duration {
        Duration::from_millis(2)
    }
}

/// A node: a directory, a clock, and a server in reach.
struct Node {
    dir: tempfile::TempDir,
    clock: Arc<StepClock>,
    server: FakeServer,
}

/// An agent that runs.
struct Running {
    task: JoinSet<Result<(), Stopped>>,
    stop: Shutdown,
    health: Health,
    socket: PathBuf,
}

impl Node {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(StepClock::default());
        let server = FakeServer::start(dir.path().join("server.sock"), clock.clone()).await;
        std::fs::write(dir.path().join("bundle.pem"), server.bundle_pem()).unwrap();
        Self { dir, clock, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, lines: &str) -> AgentConfig {
        let text = format!(
            r#"agent {{
                trust_domain = "td"
                data_dir = "{data}"
                server_address = "localhost"
                server_port = 8081
                socket_path = "{socket}"
                {lines}
            }}
            plugins {{
                KeyManager "disk" {{ plugin_data {{ directory = "{data}" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                WorkloadAttestor "unix" {{ plugin_data {{}} }}
            }}"#,
            data = self.path("data").display(),
            socket = self.path("public/api.sock").display(),
        );
        let root = parse("agent.conf", &text).unwrap();
        AgentConfig::read(&root).unwrap().value
    }

    async fn try_start(&self, lines: &str) -> Result<Running, StartError> {
        let config = self.config(lines);
        let socket = config.socket_path.clone();
        let (verified, insecure) = (self.server.dialer(), self.server.dialer());
        let dialers = Dialers {
            verified: Box::new(move |_| Box::new(verified)),
            insecure: Box::new(move || Box::new(insecure.clone())),
        };
        let agent = Agent::start_with(config, self.clock.clone(), dialers).await?;
        let (health, stop) = (agent.health(), Shutdown::new());
        let mut task = JoinSet::new();
        task.spawn(agent.run(stop.clone().cancelled_owned()));
        Ok(Running {
            task,
            stop,
            health,
            socket,
        })
    }

    /// An agent that believes the bundle and has a token.
    async fn start(&self) -> Running {
        self.start_with_token("good").await
    }

    async fn start_with_token(&self, token: &str) -> Running {
        let bundle = self.path("bundle.pem");
        let lines = format!(
            "trust_bundle_path = \"{}\"\njoin_token = \"{token}\"",
            bundle.display()
        );
        self.try_start(&lines).await.unwrap()
    }

    /// Waits until another SVID is kept than this one.
    async fn until_another_svid_than(&self, before: &serde_json::Value) {
        while self.data()["svid"] == *before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn data(&self) -> serde_json::Value {
        let text = std::fs::read(self.path("data/agent-data.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Running {
    async fn client(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(connect(self.socket.clone()).await)
    }

    async fn fetch(&self) -> Result<Streaming<X509svidResponse>, Status> {
        let mut request = Request::new(X509svidRequest {});
        let header = "true".parse().unwrap();
        request.metadata_mut().insert("workload.spiffe.io", header);
        let answer = self.client().await.fetch_x509svid(request).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn fetch_one(&self) -> X509svidResponse {
        let mut stream = self.fetch().await.unwrap();
        stream.message().await.unwrap().unwrap()
    }

    /// Waits until the part says this of itself.
    async fn until(&self, part: &str, says: &str) {
        let mut reports = self.health.subscribe();
        let said = reports.wait_for(|report| {
            let state = report.parts().get(part);
            state.is_some_and(|state| format!("{state:?}").contains(says))
        });
        said.await.unwrap();
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }

    /// How the agent ended by itself.
    async fn ended(mut self) -> Stopped {
        self.task.join_next().await.unwrap().unwrap().unwrap_err()
    }
}

async fn connect(path: PathBuf) -> Channel {
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move {
            UnixStream::connect(path)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .unwrap()
}

fn end_of(stopped: &Stopped) -> Option<End> {
    stopped.cause.downcast_ref().copied()
}

/// An entry that the processes of this user match.
fn ours(id: &str) -> Arc<Entry> {
    let uid = nix::unistd::geteuid();
    entry(id, 1, &[&format!("unix:uid:{uid}")])
}

fn ids(told: &X509svidResponse) -> Vec<&str> {
    told.svids
        .iter()
        .map(|svid| svid.spiffe_id.as_str())
        .collect()
}

#[tokio::test]
async fn it_attests_and_serves_and_comes_back_without_its_token() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    assert_eq!(ids(&agent.fetch_one().await), ["spiffe://td/e"]);
    agent.stop().await;
    assert_eq!(node.server.spent_tokens(), 1);

    // The token is spent, so only the SVID on disk can let it in again.
    let agent = node.start_with_token("spent").await;
    assert_eq!(ids(&agent.fetch_one().await), ["spiffe://td/e"]);
    agent.stop().await;
    assert_eq!(node.server.attested(), 1);
}

#[tokio::test]
async fn a_refused_token_ends_it_and_says_why() {
    let node = Node::new().await;
    let ended = node.start_with_token("bad").await.ended().await;
    assert_eq!(ended.task, "node identity");
    assert_eq!(end_of(&ended), Some(End::Refused));
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let node = Node::new().await;
    node.server.be_away(true);
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    agent.until("node identity", "not attested yet").await;
    node.server.be_away(false);
    node.clock.set(10);
    assert_eq!(ids(&agent.fetch_one().await), ["spiffe://td/e"]);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_valid_is_served_while_the_server_is_away() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    let before = agent.fetch_one().await;
    node.server.be_away(true);
    node.clock.set(100);
    agent.until("entry sync", "Unready").await;
    assert_eq!(agent.fetch_one().await, before);
    // The own SVID and those of workloads have an hour.
    node.clock.set(3590);
    assert_eq!(agent.fetch_one().await, before);
    node.clock.set(3601);
    agent.until("node identity", "has expired").await;
    agent.stop().await;
}

#[tokio::test]
async fn renewal_failure_keeps_valid_svid() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    agent.fetch_one().await;
    let before = node.data()["svid"].clone();
    node.server.refuse_renewals(true);
    node.clock.set(2100);
    node.server.asked_to_renew().await;
    assert_eq!(node.data()["svid"], before);
    assert!(agent.fetch().await.is_ok());

    node.server.refuse_renewals(false);
    node.clock.set(2400);
    node.until_another_svid_than(&before).await;
    agent.stop().await;

    let agent = node.start_with_token("spent").await;
    assert!(agent.fetch().await.is_ok(), "the renewed one is good");
    agent.stop().await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_keeps_nobody_from_being_served() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    let mut stream = agent.fetch().await.unwrap();
    let before = stream.message().await.unwrap().unwrap();
    std::fs::rename(node.path("data"), node.path("away")).unwrap();
    node.clock.set(2100);
    agent
        .until("node identity", "renewing its SVID failed")
        .await;
    // Workloads' keys are in memory, so theirs are renewed all the same.
    let after = stream.message().await.unwrap().unwrap();
    assert_ne!(after.svids[0].x509_svid, before.svids[0].x509_svid);

    std::fs::rename(node.path("away"), node.path("data")).unwrap();
    let own = node.data()["svid"].clone();
    node.clock.set(2400);
    agent.until("node identity", "Ready").await;
    assert_ne!(node.data()["svid"], own);
    agent.stop().await;
}

#[tokio::test]
async fn rotation_reaches_the_workload() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    let mut stream = agent.fetch().await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    node.clock.set(2100);
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&second), ids(&first));
    assert_ne!(second.svids[0].x509_svid_key, first.svids[0].x509_svid_key);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_due_or_over_when_it_comes_is_not_asked_for_again_at_once() {
    // Fifty minutes on a life of an hour, and then more than that life. The identity of the agent
    // itself has to be believed, so its server is on time when it attests.
    for (lag, served) in [(3000, true), (3700, false)] {
        let node = Node::new().await;
        node.clock.set(5000);
        let agent = node.start().await;
        agent.until("entry sync", "Ready").await;
        node.server.lag_behind(lag);
        node.server.entries(&[ours("e")]);
        node.clock.set(5010);
        let before = node.server.signed();
        while node.server.signed() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Each of these waits for the agent to do what there is to do.
        for _ in 0..20 {
            assert_eq!(agent.fetch().await.is_ok(), served, "{lag}");
        }
        assert_eq!(node.server.signed(), before + 1, "{lag}");
        agent.stop().await;
    }
    let node = Node::new().await;
    node.clock.set(5000);
    node.server.lag_behind(3000);
    let agent = node.start().await;
    agent.until("entry sync", "Ready").await;
    assert_eq!(node.server.signed(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn new_entries_and_deleted_ones_reach_the_workload() {
    let node = Node::new().await;
    node.server.entries(&[ours("a")]);
    let agent = node.start().await;
    let mut stream = agent.fetch().await.unwrap();
    assert_eq!(
        ids(&stream.message().await.unwrap().unwrap()),
        ["spiffe://td/a"]
    );
    node.server.entries(&[ours("a"), ours("b")]);
    node.clock.set(10);
    let both = stream.message().await.unwrap().unwrap();
    assert_eq!(ids(&both), ["spiffe://td/a", "spiffe://td/b"]);
    node.server.entries(&[]);
    node.clock.set(20);
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::PermissionDenied);
    agent.stop().await;
}

#[tokio::test]
async fn a_banned_agent_takes_everything_back_and_ends() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    let mut stream = agent.fetch().await.unwrap();
    stream.message().await.unwrap().unwrap();
    node.server.deny(Some(Denial::AgentBanned));
    node.clock.set(10);
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::PermissionDenied);
    assert_eq!(end_of(&agent.ended().await), Some(End::Banned));
    assert_eq!(node.data()["svid"], serde_json::json!([]));
}

#[tokio::test]
async fn an_evicted_agent_that_has_only_a_spent_token_ends() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    agent.fetch_one().await;
    node.server.deny(Some(Denial::AgentNotAttested));
    node.clock.set(10);
    assert_eq!(end_of(&agent.ended().await), Some(End::Evicted));
    assert_eq!(node.data()["svid"], serde_json::json!([]));
}

#[tokio::test]
async fn an_evicted_agent_that_can_prove_itself_does() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    node.server.let_reattest();
    let agent = node.start_with_token("reusable").await;
    agent.fetch_one().await;
    node.server.deny(Some(Denial::AgentNotAttested));
    node.clock.set(10);
    agent.until("node identity", "attesting anew").await;
    assert!(
        agent.fetch().await.is_ok(),
        "what is valid is served meanwhile"
    );
    node.server.deny(None);
    node.clock.set(30);
    agent.until("node identity", "Ready").await;
    assert_eq!(node.server.attested(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn tainted_authorities_have_what_they_signed_replaced() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let agent = node.start().await;
    let mut stream = agent.fetch().await.unwrap();
    let before = stream.message().await.unwrap().unwrap();
    let own_before = node.data()["svid"].clone();
    node.server.taint_and_prepare(Authority::new());
    node.clock.set(10);
    // Bundle, own SVID and the workload's follow one another.
    let after = loop {
        let told = stream.message().await.unwrap().unwrap();
        if told.svids[0].x509_svid != before.svids[0].x509_svid {
            break told;
        }
    };
    assert_ne!(after.svids[0].bundle, before.svids[0].bundle);
    node.until_another_svid_than(&own_before).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_bootstrap_without_a_bundle_asks_the_first_server() {
    let node = Node::new().await;
    node.server.entries(&[ours("e")]);
    let lines = "insecure_bootstrap = true\njoin_token = \"good\"";
    let agent = node.try_start(lines).await.unwrap();
    assert_eq!(ids(&agent.fetch_one().await), ["spiffe://td/e"]);
    agent.stop().await;
}

#[tokio::test]
async fn who_is_turned_away_learns_with_which_identity() {
    let node = Node::new().await;
    let identity = Arc::new(SnapshotCell::new(Default::default()));
    let (server, mut told) = ServerClient::new(Box::new(node.server.dialer()), identity.clone());
    server.post_status("").await.unwrap();
    node.server.be_away(true);
    server.post_status("").await.unwrap_err();
    assert!(told.try_recv().is_err(), "being away says nothing about us");
    node.server.be_away(false);
    node.server.deny(Some(Denial::AgentNotActive));
    for generation in [1, 2] {
        server.post_status("").await.unwrap_err();
        let why = Why::Evicted;
        assert_eq!(told.try_recv(), Ok(TurnedAway { why, generation }));
        identity.publish(Default::default());
    }
}

#[tokio::test]
async fn a_wrong_bundle_does_not_outlive_its_file() {
    let node = Node::new().await;
    node.server.let_reattest();
    node.server.entries(&[ours("e")]);
    let right = std::fs::read(node.path("bundle.pem")).unwrap();
    let wrong = Authority::new().bundle("td");
    let wrong = wrong.x509_authorities()[0].to_pem();
    std::fs::write(node.path("bundle.pem"), wrong).unwrap();
    let agent = node.start_with_token("reusable").await;
    agent.until("node identity", "not attested yet").await;
    std::fs::write(node.path("bundle.pem"), right).unwrap();
    node.clock.set(10);
    assert_eq!(ids(&agent.fetch_one().await), ["spiffe://td/e"]);
    agent.stop().await;
}

#[tokio::test]
async fn garbled_data_is_named_and_nothing_is_spent() {
    let node = Node::new().await;
    std::fs::create_dir(node.path("data")).unwrap();
    std::fs::write(node.path("data/agent-data.json"), "{").unwrap();
    let bundle = node.path("bundle.pem");
    let lines = format!(
        "join_token = \"good\"\ntrust_bundle_path = \"{}\"",
        bundle.display()
    );
    let refused = node.try_start(&lines).await.err().unwrap();
    assert!(refused.to_string().contains("agent-data.json"), "{refused}");
    assert_eq!(node.server.spent_tokens(), 0);
}

#[tokio::test]
async fn crash_loop_creates_one_key() {
    let node = Node::new().await;
    node.server.be_away(true);
    for _ in 0..5 {
        let agent = node.start().await;
        agent.until("node identity", "not attested yet").await;
        agent.stop().await;
    }
    let text = std::fs::read(node.path("data/keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(keys["keys"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn it_is_well_once_it_knows_what_to_serve() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let node = Node::new().await;
    node.server.be_away(true);
    let agent = node.start().await;
    let mut client = HealthClient::new(connect(agent.socket.clone()).await);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    let mut states = vec![first.status()];
    agent.until("node identity", "not attested yet").await;
    node.server.be_away(false);
    node.clock.set(10);
    while *states.last().unwrap() != ServingStatus::Serving || states.len() == 1 {
        let told = watch.message().await.unwrap().unwrap();
        states.push(told.status());
    }
    node.server.be_away(true);
    node.clock.set(100);
    agent.until("entry sync", "Unready").await;
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let now = client.check(request).await.unwrap().into_inner();
    assert_eq!(
        now.status(),
        ServingStatus::Serving,
        "a server that is away is no illness"
    );
    drop(watch);
    agent.stop().await;
}
