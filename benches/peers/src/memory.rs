//! What a server holds for each connection that is open and at rest: another process, looked at from
//! outside.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use spiffe_core::{
    X509Source,
    authorizer::member_of,
    testing::{FakeWorkloadApi, TestAuthority},
    tls::SourceExt,
    trust_domain,
    workload_api::Endpoint,
};
use spiffe_tonic::{channel, incoming};
use tokio::{net::TcpListener, runtime::Builder};
use tonic::transport::{self, Server, server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::sources::{self, runtime};

const CONNECTIONS: usize = 400;
const DOMAIN: spiffe_core::TrustDomain = trust_domain!("bench.test");

pub(crate) fn measure() {
    println!("\nResident memory of a tonic server for each connection at rest (must: 34 KiB)");
    for kind in ["plaintext", "spiffe-tonic", "plaintext", "spiffe-tonic"] {
        // Others serve while this thread waits for the other process.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bytes = runtime.block_on(per_connection(kind));
        println!("  {kind:<44} {:>8.1} KiB", bytes as f64 / 1024.0);
    }
}

async fn per_connection(kind: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let api = FakeWorkloadApi::on_socket(&socket).unwrap();
    api.publish(&TestAuthority::new(DOMAIN.as_str()).snapshot("/web"));
    let client = sources::ours(&api.endpoint()).await;
    let mut server = Served::start(kind, &format!("unix://{}", socket.display()));
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(server.connect(kind, &client).await);
    }
    let before = server.resident();
    for _ in 0..CONNECTIONS {
        held.push(server.connect(kind, &client).await);
    }
    let after = server.resident();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    (after - before) / CONNECTIONS
}

/// A server in a process of its own.
struct Served {
    child: Child,
    address: String,
}

/// Never read: it keeps its connection.
enum Held {
    Plaintext { _channel: transport::Channel },
    Ours { _channel: spiffe_tonic::Channel },
}

impl Served {
    fn start(kind: &str, endpoint: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["connections", kind])
            .env("SPIFFE_ENDPOINT_SOCKET", endpoint)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        let address = address.trim_end().to_owned();
        Self { child, address }
    }

    async fn connect(&self, kind: &str, client: &X509Source) -> Held {
        if kind == "plaintext" {
            let endpoint = transport::Endpoint::from_shared(format!("http://{}", self.address));
            let channel = endpoint.unwrap().connect().await.unwrap();
            let mut health = HealthClient::new(channel.clone());
            health.check(HealthCheckRequest::default()).await.unwrap();
            return Held::Plaintext { _channel: channel };
        }
        let tls = client.client(member_of(DOMAIN));
        let channel = channel(&format!("https://{}", self.address), tls)
            .await
            .unwrap();
        let mut health = HealthClient::new(channel.clone());
        health.check(HealthCheckRequest::default()).await.unwrap();
        Held::Ours { _channel: channel }
    }

    fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kibibytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kibibytes * 1024
    }
}

/// The other process: prints where it listens, and serves until it is killed.
pub(crate) fn serve(kind: &str) -> Result<(), Box<dyn Error>> {
    runtime().block_on(async {
        let (_, health) = tonic_health::server::health_reporter();
        let router = Server::builder().add_service(health);
        if kind == "plaintext" {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?);
            router
                .serve_with_incoming(TcpIncoming::from(listener))
                .await?;
            return Ok(());
        }
        let source = X509Source::builder()
            .endpoint(Endpoint::from_env()?)
            .connect()
            .await?;
        let tls = source.server(member_of(DOMAIN));
        let incoming = incoming("127.0.0.1:0".parse()?, tls).await?;
        println!("{}", incoming.local_addr().ok_or("no address")?);
        router.serve_with_incoming(incoming).await?;
        Ok(())
    })
}
