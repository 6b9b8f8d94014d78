//! A whole agent with a whole server: from the operator's token to the workload's identity.

#![cfg(all(feature = "agent", feature = "server"))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod house;

use std::sync::Arc;
use std::time::Duration;

use house::House;
use spiffe_core::BundleSet;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use spiffe_core::proto::workload::{X509svidRequest, X509svidResponse};
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::{TrustBundle, X509Svid};
use spiffe_issuer::agent::Agent;
use spiffe_issuer::agent::config::AgentConfig;
use spiffe_issuer::agent::lifecycle::End;
use spiffe_issuer::config::parse;
use spiffe_issuer::proto::server::agent::agent_client::AgentClient;
use spiffe_issuer::proto::server::agent::{BanAgentRequest, CreateJoinTokenRequest};
use spiffe_issuer::proto::server::entry::BatchCreateEntryRequest;
use spiffe_issuer::proto::server::entry::entry_client::EntryClient;
use spiffe_issuer::proto::types;
use spiffe_issuer::runtime::{Shutdown, Stopped};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

/// An agent that runs.
struct Running {
    task: JoinSet<Result<(), Stopped>>,
    stop: Shutdown,
}

impl Running {
    async fn stop(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

async fn start(house: &House, port: u16, token: &str) -> Running {
    let dir = house.path("agent");
    let text = format!(
        r#"agent {{
            trust_domain = "example.org"
            data_dir = "{dir}"
            server_address = "localhost"
            server_port = {port}
            socket_path = "{dir}/public/api.sock"
            trust_bundle_path = "{bundle}"
            join_token = "{token}"
            experimental {{ sync_interval = "1s" }}
        }}
        plugins {{
            KeyManager "disk" {{ plugin_data {{ directory = "{dir}" }} }}
            NodeAttestor "join_token" {{ plugin_data {{}} }}
            WorkloadAttestor "unix" {{ plugin_data {{}} }}
        }}"#,
        dir = dir.display(),
        bundle = house.path("bundle.pem").display(),
    );
    let config = AgentConfig::read(&parse("agent.conf", &text).unwrap());
    let agent = Agent::start(config.unwrap().value, Arc::new(SystemClock))
        .await
        .unwrap();
    let stop = Shutdown::new();
    let mut task = JoinSet::new();
    task.spawn(agent.run(stop.clone().cancelled_owned()));
    Running { task, stop }
}

async fn fetch(house: &House) -> Result<Streaming<X509svidResponse>, Status> {
    let path = house.path("agent/public/api.sock");
    let endpoint = Endpoint::try_from(format!("unix:{}", path.display())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut request = Request::new(X509svidRequest {});
    let header = "true".parse().unwrap();
    request.metadata_mut().insert("workload.spiffe.io", header);
    let mut client = SpiffeWorkloadApiClient::new(channel);
    Ok(client.fetch_x509svid(request).await?.into_inner())
}

/// The same once the entry has come through, which takes the server and the agent a while.
async fn granted(house: &House) -> Streaming<X509svidResponse> {
    loop {
        match fetch(house).await {
            Ok(stream) => return stream,
            Err(status) => assert_eq!(status.code(), Code::PermissionDenied, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn first(stream: &mut Streaming<X509svidResponse>) -> X509svidResponse {
    stream.message().await.unwrap().unwrap()
}

async fn token(house: &House) -> String {
    let mut agents = AgentClient::new(house.operator().await);
    let request = CreateJoinTokenRequest {
        ttl: 60,
        ..Default::default()
    };
    agents
        .create_join_token(request)
        .await
        .unwrap()
        .into_inner()
        .value
}

fn id(path: &str) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: "example.org".into(),
        path: path.into(),
    }
}

async fn create_entry(house: &House, agent: &types::Spiffeid, path: &str) {
    let entry = types::Entry {
        spiffe_id: Some(id(path)),
        parent_id: Some(agent.clone()),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: format!("uid:{}", nix::unistd::geteuid()),
        }],
        ..Default::default()
    };
    let request = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    let mut entries = EntryClient::new(house.operator().await);
    let created = entries.batch_create_entry(request).await.unwrap();
    assert_eq!(
        created.get_ref().results[0].status.as_ref().unwrap().code,
        0
    );
}

/// What a server would say to a client with the first of these SVIDs.
fn verified(told: &X509svidResponse, trust: &BundleSet) -> String {
    let svid = &told.svids[0];
    let read = X509Svid::from_der(&svid.x509_svid, &svid.x509_svid_key).unwrap();
    let chain: Vec<_> = read.chain().iter().map(|one| one.der().clone()).collect();
    let peer = x509_peer(&chain, trust, Role::Client, SystemClock.now()).unwrap();
    let domain = read.id().trust_domain();
    let bundle = TrustBundle::from_der(domain.clone(), &svid.bundle).unwrap();
    assert_eq!(Some(&bundle), trust.get(&domain));
    peer.id().to_string()
}

#[tokio::test]
async fn a_workload_gets_what_its_entry_says_until_its_agent_is_banned() {
    let house = House::new();
    let server = house.run().await;
    let trust = house.trust().await;
    let pem: String = trust
        .iter()
        .flat_map(|bundle| bundle.x509_authorities())
        .map(|authority| authority.to_pem())
        .collect();
    std::fs::write(house.path("bundle.pem"), pem).unwrap();
    let token = token(&house).await;
    let agent_id = id(&format!("/spire/agent/join_token/{token}"));
    create_entry(&house, &agent_id, "/web").await;

    let agent = start(&house, server.address.port(), &token).await;
    let told = first(&mut granted(&house).await).await;
    assert_eq!(verified(&told, &trust), "spiffe://example.org/web");
    agent.stop().await;

    // The token is spent; what it was given for is kept.
    let mut agent = start(&house, server.address.port(), &token).await;
    let mut stream = granted(&house).await;
    let told = first(&mut stream).await;
    assert_eq!(verified(&told, &trust), "spiffe://example.org/web");

    create_entry(&house, &agent_id, "/api").await;
    let told = first(&mut stream).await;
    let ids: Vec<_> = told.svids.iter().map(|svid| &*svid.spiffe_id).collect();
    assert_eq!(
        ids.into_iter().collect::<std::collections::BTreeSet<_>>(),
        ["spiffe://example.org/api", "spiffe://example.org/web"].into()
    );

    let mut agents = AgentClient::new(house.operator().await);
    let request = BanAgentRequest { id: Some(agent_id) };
    agents.ban_agent(request).await.unwrap();
    let over = stream.message().await.unwrap_err();
    assert_eq!(over.code(), Code::PermissionDenied);
    let ended = agent.task.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.cause.downcast_ref(), Some(&End::Banned));
    server.stop().await;
}

#[tokio::test]
async fn a_token_lets_one_agent_in_once() {
    let house = House::new();
    let server = house.run().await;
    let pem: String = house
        .trust()
        .await
        .iter()
        .next()
        .unwrap()
        .x509_authorities()[0]
        .to_pem();
    std::fs::write(house.path("bundle.pem"), pem).unwrap();
    let mut agent = start(&house, server.address.port(), "no-such-token").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), agent.task.join_next()).await;
    let ended = ended.unwrap().unwrap().unwrap().unwrap_err();
    assert_eq!(ended.cause.downcast_ref(), Some(&End::Refused));
    server.stop().await;
}
