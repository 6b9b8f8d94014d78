//! A trust domain, its Workload API, and the harness that runs in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use spiffe_core::testing::{FakeWorkloadApi, Impostor, TestAuthority};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// The trust domain that the suites use, and a Workload API that serves `/default` of it.
pub(crate) struct World {
    pub(crate) api: FakeWorkloadApi,
    pub(crate) authority: TestAuthority,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self::silent();
        world.api.give(&world.authority, "/default");
        world
    }

    /// One whose Workload API says nothing yet.
    pub(crate) fn silent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            api: FakeWorkloadApi::on_socket(&folder.path().join("api.sock")).unwrap(),
            authority: TestAuthority::new("test.example.org"),
            folder,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// A harness that has its first identity.
    pub(crate) async fn harness(&self) -> Harness {
        let mut harness = Harness::start(&self.endpoint());
        assert!(harness.ready().await, "it has not become ready");
        harness
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A client with an SVID that nothing is wrong with.
    pub(crate) fn probe(&self) -> Impostor {
        self.authority.draft("/probe").impostor()
    }
}

/// The process.
pub(crate) struct Harness {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    x509: u16,
    control: u16,
}

impl Harness {
    pub(crate) fn start(endpoint: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_conformance-harness"))
            .env("SPIFFE_ENDPOINT_SOCKET", endpoint)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            x509: 0,
            control: 0,
        }
    }

    /// Whether it tells all that it has to and is ready, before it ends.
    pub(crate) async fn ready(&mut self) -> bool {
        let mut version = 0;
        while let Some(line) = self.line().await {
            match line.split_once('=') {
                Some(("SPIFFE_HARNESS_VERSION", text)) => version = text.parse().unwrap(),
                Some(("SPIFFE_X509_PORT", text)) => self.x509 = text.parse().unwrap(),
                Some(("SPIFFE_CONTROL_PORT", text)) => self.control = text.parse().unwrap(),
                _ if line == "READY" => {
                    return version == 1 && self.x509 != 0 && self.control != 0;
                }
                _ => {}
            }
        }
        false
    }

    async fn line(&mut self) -> Option<String> {
        timeout(LIMIT, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until it logs this.
    pub(crate) async fn says(&mut self, words: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut lines = BufReader::new(stderr).lines();
        loop {
            let line = timeout(LIMIT, lines.next_line()).await.unwrap();
            if line.unwrap().unwrap().contains(words) {
                return;
            }
        }
    }

    /// How it ended, and what it said about that.
    pub(crate) async fn end(&mut self) -> (Option<i32>, String) {
        let status = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).await.unwrap();
        (status.code(), said)
    }

    /// Connects, and tells whom it met and what was said; whoever was turned away hears nothing.
    pub(crate) async fn meet(&self, probe: &Impostor) -> Meeting {
        let tcp = TcpStream::connect(local(self.x509)).await.unwrap();
        let Ok(mut stream) = probe.connect(tcp).await else {
            return Meeting::default();
        };
        let presented = Impostor::presented(&stream);
        let leaf = presented.first();
        let mut heard = Vec::new();
        let read = timeout(LIMIT, stream.read_to_end(&mut heard))
            .await
            .unwrap();
        assert!(
            read.is_ok() || heard.is_empty(),
            "half a greeting: {read:?}"
        );
        Meeting {
            server: leaf.map(|leaf| leaf.spiffe_id().unwrap().to_string()),
            serial: leaf.map(|leaf| leaf.serial().to_vec()).unwrap_or_default(),
            greeting: String::from_utf8(heard).unwrap(),
        }
    }

    /// Connects until the server is this one: then it has taken in what was published last.
    pub(crate) async fn meets(&self, probe: &Impostor, server: &str) {
        let begun = Instant::now();
        while self.meet(probe).await.server.as_deref() != Some(server) {
            assert!(begun.elapsed() < LIMIT, "never met {server}");
            sleep(BETWEEN).await;
        }
    }

    /// Asks the control port.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask_with(path, &body.to_string()).await
    }

    pub(crate) async fn ask_with(&self, path: &str, body: &str) -> (u16, Value) {
        let mut tcp = TcpStream::connect(local(self.control)).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: harness\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tcp.read_to_string(&mut answer);
        timeout(LIMIT, read).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let status = match code {
            200 => "ok",
            422 => "rejected",
            500 => "error",
            501 => "unsupported",
            other => panic!("code {other} is not in the contract"),
        };
        assert_eq!(body["status"], status, "{body}");
        (code, body)
    }
}

/// What came of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) server: Option<String>,
    pub(crate) serial: Vec<u8>,
    pub(crate) greeting: String,
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// As long as the slowest suite waits for a harness.
const LIMIT: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_millis(10);
