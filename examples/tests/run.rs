//! Each example is run, with a Workload API of the test's own.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::x509::X509Svid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// An agent on a socket, in whose eyes everybody is the same workload.
struct Agent {
    api: FakeWorkloadApi,
    authority: TestAuthority,
    folder: TempDir,
}

impl Agent {
    fn new(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Self {
            api: FakeWorkloadApi::on_socket(&folder.path().join("api.sock")).unwrap(),
            authority: TestAuthority::new("example.org"),
            folder,
        };
        agent.api.give(&agent.authority, path);
        agent
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let socket = self.folder.path().join("api.sock");
        command
            .env(
                "SPIFFE_ENDPOINT_SOCKET",
                format!("unix://{}", socket.display()),
            )
            .kill_on_drop(true);
        command
    }

    /// Runs an example to its end, and gives what it printed.
    async fn run(&self, name: &str) -> String {
        let running = self.command(example(name)).output();
        let output = timeout(LIMIT, running).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A program that goes on, line by line.
struct Running {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            lines,
            _child: child,
        }
    }

    async fn line_with(&mut self, words: &str) -> String {
        loop {
            let line = timeout(LIMIT, self.lines.next_line()).await.unwrap();
            let line = line
                .unwrap()
                .unwrap_or_else(|| panic!("ended without {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Where it says that it listens.
    async fn address(&mut self) -> String {
        let line = self.line_with("listening on ").await;
        line.rsplit(' ').next().unwrap().to_owned()
    }
}

/// Where cargo puts examples. `cargo test --test run` alone does not build them.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().unwrap().parent().unwrap().join("examples");
    let program = built.join(name);
    assert!(
        program.exists(),
        "build it first: cargo build -p spiffe-examples --examples"
    );
    program
}

#[tokio::test]
async fn plain_tokio_talks_to_itself() {
    let printed = Agent::new("/peer").run("plain_tokio").await;
    assert!(printed.contains("client: heard \"hello\""), "{printed}");
    assert!(printed.contains("server: talking to spiffe://example.org/peer"));
}

#[tokio::test]
async fn axum_server_greets_and_refuses() {
    let printed = Agent::new("/peer").run("axum_server").await;
    assert!(
        printed.contains("/hello: 200 OK hello spiffe://example.org/peer"),
        "{printed}"
    );
    assert!(printed.contains("/secret: 403 Forbidden"), "{printed}");
}

#[tokio::test]
async fn reqwest_client_is_greeted() {
    let printed = Agent::new("/peer").run("reqwest_client").await;
    assert!(
        printed.contains("hello spiffe://example.org/peer"),
        "{printed}"
    );
}

#[tokio::test]
async fn jwt_behind_a_proxy_knows_the_caller_and_not_the_proxy() {
    let (client, proxy) = (Agent::new("/client"), Agent::new("/proxy"));
    // Of one trust domain, they have to have one authority.
    proxy.api.give(&client.authority, "/proxy");
    let start = |agent: &Agent, arguments: &[&str]| {
        let mut command = agent.command(example("jwt_behind_a_proxy"));
        command.args(arguments);
        command
    };
    let caller = "spiffe://example.org/client";
    for (allowed, outcome) in [
        (caller, "hello spiffe://example.org/client"),
        ("spiffe://example.org/proxy", "403 Forbidden"),
    ] {
        let mut service = Running::start(start(&client, &["service", "127.0.0.1:0", allowed]));
        let behind = service.address().await;
        let mut before = Running::start(start(&proxy, &["proxy", "127.0.0.1:0", &behind]));
        let uri = format!("https://{}/hello", before.address().await);
        let mut command = start(&client, &["client", &uri, "spiffe://example.org/proxy"]);
        let called = timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let (told, erred) = (called.stdout, called.stderr);
        let told = String::from_utf8_lossy(&[told, erred].concat()).into_owned();
        assert!(told.contains(outcome), "{told}");
    }
}

#[tokio::test]
async fn federation_lets_the_till_in_until_the_bank_ends_it() {
    let printed = Agent::new("/unused").run("federation").await;
    let called = "spiffe://shop.example/till calls spiffe://bank.example/ledger";
    assert_eq!(printed.matches(called).count(), 2, "{printed}");
    for ended in [
        "the open connection: the peer is not verified any more",
        "a new one: ",
    ] {
        assert!(printed.contains(ended), "{printed}");
    }
}

#[tokio::test]
async fn metrics_exporter_shows_when_the_identity_ends() {
    let agent = Agent::new("/peer");
    let mut command = agent.command(example("metrics_exporter"));
    command.arg("127.0.0.1:0");
    let mut exporter = Running::start(command);
    let line = exporter.line_with("see http://").await;
    let address = line
        .trim_start_matches("see http://")
        .trim_end_matches("/metrics");
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    let mut page = String::new();
    tcp.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("spiffe_svid_expires_timestamp_seconds{"),
        "{page}"
    );
}

#[tokio::test]
async fn x509_watch_follows_the_identity() {
    let agent = Agent::new("/first");
    let mut watch = Running::start(agent.command(example("x509_watch")));
    watch.line_with("spiffe://example.org/first").await;
    agent.api.give(&agent.authority, "/second");
    watch.line_with("spiffe://example.org/second").await;
}

#[tokio::test]
async fn files_follows_the_files() {
    let agent = Agent::new("/unused");
    let folder = agent.folder.path().join("files");
    fs::create_dir(&folder).unwrap();
    let write = |svid: &X509Svid| {
        let root = &agent.authority.x509_bundle().x509_authorities()[0].to_pem();
        fs::write(folder.join("svid_bundle.pem"), root).unwrap();
        fs::write(folder.join("svid_key.pem"), svid.key().to_pem()).unwrap();
        fs::write(folder.join("svid.pem"), svid.chain_pem()).unwrap();
    };
    write(&agent.authority.svid("/first"));
    let mut command = Command::new(example("files"));
    command
        .arg(&folder)
        .env_remove("SPIFFE_ENDPOINT_SOCKET")
        .kill_on_drop(true);
    let mut files = Running::start(command);
    files.line_with("spiffe://example.org/first").await;
    write(&agent.authority.svid("/second"));
    files.line_with("spiffe://example.org/second").await;
}

#[tokio::test]
async fn the_greeter_answers_its_client() {
    let (server, client) = (Agent::new("/greeter/server"), Agent::new("/greeter/client"));
    // Of one trust domain, they have to have one authority.
    client.api.give(&server.authority, "/greeter/client");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut command = server.command(env!("CARGO_BIN_EXE_greeter-server"));
    command.arg(&address).stderr(Stdio::null());
    let mut serving = Running::start(command);
    serving
        .line_with("spiffe://example.org/greeter/server")
        .await;

    let mut command = client.command(env!("CARGO_BIN_EXE_greeter-client"));
    command.args([&address, "hello", "you"]);
    let called = timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&called.stdout);
    assert!(
        printed.contains("spiffe://example.org/greeter/client"),
        "{called:?}"
    );
}

#[tokio::test]
async fn a_stranger_is_told_why() {
    let agent = Agent::new("/unused");
    agent.api.refuse(tonic::Code::PermissionDenied);
    let mut command = agent.command(env!("CARGO_BIN_EXE_stranger"));
    let output = timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("PermissionDenied"), "{printed}");
}

#[tokio::test]
async fn who_has_no_agent_is_told_what_to_set() {
    let programs: [(PathBuf, &[&str]); 9] = [
        (example("axum_server"), &[]),
        (
            example("jwt_behind_a_proxy"),
            &["service", "127.0.0.1:0", "spiffe://example.org/client"],
        ),
        (example("metrics_exporter"), &["127.0.0.1:0"]),
        (example("plain_tokio"), &[]),
        (example("reqwest_client"), &[]),
        (example("x509_watch"), &[]),
        (
            env!("CARGO_BIN_EXE_greeter-client").into(),
            &["127.0.0.1:1", "hello", "you"],
        ),
        (
            env!("CARGO_BIN_EXE_greeter-server").into(),
            &["127.0.0.1:0"],
        ),
        (env!("CARGO_BIN_EXE_stranger").into(), &[]),
    ];
    for (program, arguments) in programs {
        let mut command = Command::new(&program);
        let command = command
            .args(arguments)
            .env_remove("SPIFFE_ENDPOINT_SOCKET")
            .kill_on_drop(true);
        let output = timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{}", program.display());
        let words = "Error: SPIFFE_ENDPOINT_SOCKET is not set: set it to where the agent listens";
        assert!(told.starts_with(words), "{}: {told}", program.display());
    }
}

const LIMIT: Duration = Duration::from_secs(30);
