//! A whole server over TCP: an agent's life from its token to its ban, as SPIRE's agents lead it.

#![expect(clippy::unwrap_used, reason = "a test")]

mod house;

use std::net::SocketAddr;
use std::sync::Arc;

use house::House;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use spiffe_core::authorizer::exactly;
use spiffe_core::source::SnapshotCell;
use spiffe_core::tls::ClientTls;
use spiffe_core::x509::PrivateKey;
use spiffe_core::{BundleSet, IdentitySnapshot, X509Svid, spiffe_id};
use spiffe_issuer::domain::Denial;
use spiffe_issuer::proto::server::agent::agent_client::AgentClient;
use spiffe_issuer::proto::server::agent::{
    AgentX509svidParams, AttestAgentRequest, BanAgentRequest, CreateJoinTokenRequest,
    PostStatusRequest, RenewAgentRequest, attest_agent_request, attest_agent_response,
};
use spiffe_issuer::proto::server::bundle::GetBundleRequest;
use spiffe_issuer::proto::server::bundle::bundle_client::BundleClient;
use spiffe_issuer::proto::server::entry::entry_client::EntryClient;
use spiffe_issuer::proto::server::entry::{
    BatchCreateEntryRequest, GetAuthorizedEntriesRequest, ListEntriesRequest,
};
use spiffe_issuer::proto::server::svid::svid_client::SvidClient;
use spiffe_issuer::proto::server::svid::{BatchNewX509svidRequest, NewX509svidParams};
use spiffe_issuer::proto::types;
use spiffe_issuer::wire::{self, bundle};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

/// Connects as whoever this is, to the server that these authorities vouch for.
async fn connect(address: SocketAddr, svid: Option<X509Svid>, trust: &BundleSet) -> Channel {
    let identity = IdentitySnapshot::new(svid.into_iter().collect(), trust.clone());
    let source = Arc::new(SnapshotCell::new(identity));
    let server = exactly(spiffe_id!("spiffe://example.org/spire/server"));
    let connector = ClientTls::new(source, server)
        .alpn([&b"h2"[..]])
        .connector();
    let dial = service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect(stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://server");
    endpoint.connect_with_connector(dial).await.unwrap()
}

/// A key, and a request for a certificate of it.
fn key_and_request() -> (PrivateKey, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let key = PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap();
    (key, request.der().to_vec())
}

fn svid(message: Option<types::X509svid>, key: PrivateKey) -> X509Svid {
    X509Svid::new(bundle::chain_from_message(&message.unwrap()).unwrap(), key).unwrap()
}

async fn attest(channel: Channel, token: &str) -> Result<X509Svid, Status> {
    let (key, csr) = key_and_request();
    let params = attest_agent_request::Params {
        data: Some(types::AttestationData {
            r#type: "join_token".into(),
            payload: token.into(),
        }),
        params: Some(AgentX509svidParams { csr }),
    };
    let request = AttestAgentRequest {
        step: Some(attest_agent_request::Step::Params(params)),
    };
    let answers = AgentClient::new(channel)
        .attest_agent(tokio_stream::iter([request]))
        .await?;
    let mut answers = answers.into_inner();
    let answer = answers.message().await?.unwrap();
    let Some(attest_agent_response::Step::Result(result)) = answer.step else {
        return Err(Status::internal("a challenge"));
    };
    assert!(!result.reattestable);
    assert!(answers.message().await?.is_none());
    Ok(svid(result.svid, key))
}

#[tokio::test]
async fn an_agent_lives_from_its_token_to_its_ban() {
    let house = House::new();
    let running = house.run().await;
    let operator = house.operator().await;
    let mut operator_agents = AgentClient::new(operator.clone());
    let token = operator_agents
        .create_join_token(CreateJoinTokenRequest {
            ttl: 60,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();

    // Nobody yet: the bundle is there for everyone, and a token lets one in.
    let trust = house.trust().await;
    let nobody = connect(running.address, None, &trust).await;
    let mut bundles = BundleClient::new(nobody.clone());
    let public = bundles.get_bundle(GetBundleRequest::default()).await;
    assert_eq!(public.unwrap().get_ref().trust_domain, "example.org");
    let mut entries = EntryClient::new(nobody.clone());
    let listed = entries.list_entries(ListEntriesRequest::default()).await;
    assert_eq!(listed.unwrap_err().code(), Code::PermissionDenied);
    drop((bundles, entries));
    let first = attest(nobody, &token.value).await.unwrap();
    let id = format!(
        "spiffe://example.org/spire/agent/join_token/{}",
        token.value
    );
    assert_eq!(first.id().as_str(), id);

    // Its entry, and an SVID for the workload of it.
    let workload = Some(types::Spiffeid {
        trust_domain: "example.org".into(),
        path: "/web".into(),
    });
    let entry = types::Entry {
        spiffe_id: workload,
        parent_id: Some(wire::id_to_message(first.id())),
        selectors: vec![types::Selector {
            r#type: "unix".into(),
            value: "uid:0".into(),
        }],
        ..Default::default()
    };
    let create = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    EntryClient::new(operator)
        .batch_create_entry(create)
        .await
        .unwrap();
    let agent = connect(running.address, Some(first.clone()), &trust).await;
    let entry = loop {
        let request = GetAuthorizedEntriesRequest::default();
        let told = EntryClient::new(agent.clone())
            .get_authorized_entries(request)
            .await;
        // The server follows its store within half a second.
        if let Some(entry) = told.unwrap().into_inner().entries.pop() {
            break entry;
        }
    };
    let (key, csr) = key_and_request();
    let request = BatchNewX509svidRequest {
        params: vec![NewX509svidParams {
            entry_id: entry.id,
            csr,
        }],
    };
    let issued = SvidClient::new(agent.clone())
        .batch_new_x509svid(request)
        .await;
    let issued = issued.unwrap().into_inner().results.remove(0);
    assert_eq!(issued.status, Some(wire::ok()));
    let web = svid(issued.svid, key);
    assert_eq!(web.id().as_str(), "spiffe://example.org/web");

    // A workload is no agent, and whoever has no place here has none with an SVID either.
    let intruder = connect(running.address, Some(web), &trust).await;
    let told = AgentClient::new(intruder)
        .post_status(PostStatusRequest::default())
        .await;
    assert_eq!(
        wire::denial(&told.unwrap_err()),
        Some(Denial::AgentNotAttested)
    );

    // Renewed, it goes on with the new SVID and not with the old one.
    let (key, csr) = key_and_request();
    let request = RenewAgentRequest {
        params: Some(AgentX509svidParams { csr }),
    };
    let renewed = AgentClient::new(agent.clone()).renew_agent(request).await;
    let second = svid(renewed.unwrap().into_inner().svid, key);
    let renewed = connect(running.address, Some(second), &trust).await;
    let mut renewed = AgentClient::new(renewed);
    renewed
        .post_status(PostStatusRequest::default())
        .await
        .unwrap();
    let old = AgentClient::new(agent)
        .post_status(PostStatusRequest::default())
        .await;
    assert_eq!(
        wire::denial(&old.unwrap_err()),
        Some(Denial::AgentNotActive)
    );

    let ban = BanAgentRequest {
        id: Some(wire::id_to_message(first.id())),
    };
    operator_agents.ban_agent(ban).await.unwrap();
    let told = renewed.post_status(PostStatusRequest::default()).await;
    assert_eq!(wire::denial(&told.unwrap_err()), Some(Denial::AgentBanned));
    drop((renewed, operator_agents));
    running.stop().await;
}

#[tokio::test]
async fn slow_handshake() {
    let house = House::new();
    let running = house.run().await;
    // They say nothing, and hold up nobody.
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let nobody = connect(running.address, None, &house.trust().await).await;
    let told = BundleClient::new(nobody)
        .get_bundle(GetBundleRequest::default())
        .await;
    assert!(told.is_ok());
    drop(silent);
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_let_in() {
    let (one, other) = (House::new(), House::new());
    let (here, there) = (one.run().await, other.run().await);
    let token = AgentClient::new(other.operator().await)
        .create_join_token(CreateJoinTokenRequest {
            ttl: 60,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let nobody = connect(there.address, None, &other.trust().await).await;
    let stranger = attest(nobody, &token.value).await.unwrap();
    // With TLS 1.3 a client hears of it when it first reads.
    let refused = connect(here.address, Some(stranger), &one.trust().await).await;
    let told = BundleClient::new(refused)
        .get_bundle(GetBundleRequest::default())
        .await;
    assert!(told.is_err());
    here.stop().await;
    there.stop().await;
}
