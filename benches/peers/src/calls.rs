//! What a whole RPC costs: over our mutual TLS, over tonic's own, and over none.

use futures_util::future::join_all;
use spiffe_benches::{Authority, DNS_NAME, Signer, TRUST_DOMAIN};
use spiffe_core::{authorizer::member_of, tls::SourceExt};
use spiffe_tonic::{channel, incoming};
use spiffe_tower::AuthorizeLayer;
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    body::Body,
    client::GrpcService,
    codegen::{Bytes, StdError},
    transport::{
        Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    harness::{Subject, compare},
    sources::runtime,
};

/// A unary RPC over loopback, both ends on this thread.
pub(crate) fn measure() {
    let runtime = runtime();
    let authority = Authority::default();
    let plain = runtime.block_on(plaintext(&runtime));
    let ours = runtime.block_on(ours(&runtime, &authority, false));
    let authorized = runtime.block_on(self::ours(&runtime, &authority, true));
    let tonics = runtime.block_on(tonics(&runtime, &authority));
    compare(
        "A unary RPC, one at a time (must: spiffe-tonic 20 % above plaintext)",
        vec![
            Subject::new("tonic, plaintext", || runtime.block_on(call(&plain))),
            Subject::new("tonic, its own mutual TLS", || {
                runtime.block_on(call(&tonics))
            }),
            Subject::new("spiffe-tonic", || runtime.block_on(call(&ours))),
            Subject::new("spiffe-tonic, AuthorizeLayer", || {
                runtime.block_on(call(&authorized));
            }),
        ],
    );
    compare(
        "64 unary RPCs at a time (must: spiffe-tonic 12 % above plaintext)",
        vec![
            Subject::new("tonic, plaintext", || runtime.block_on(many(&plain))),
            Subject::new("tonic, its own mutual TLS", || {
                runtime.block_on(many(&tonics))
            }),
            Subject::new("spiffe-tonic", || runtime.block_on(many(&ours))),
            Subject::new("spiffe-tonic, AuthorizeLayer", || {
                runtime.block_on(many(&authorized));
            }),
        ],
    );
}

/// Makes so many calls, one at a time.
pub(crate) fn repeat(kind: &str, times: u32) {
    let runtime = runtime();
    let authority = Authority::default();
    if kind == "call-plaintext" {
        let client = runtime.block_on(plaintext(&runtime));
        (0..times).for_each(|_| runtime.block_on(call(&client)));
    } else {
        let authorized = kind == "call-authorized";
        let client = runtime.block_on(ours(&runtime, &authority, authorized));
        (0..times).for_each(|_| runtime.block_on(call(&client)));
    }
}

async fn call<C: GrpcService<Body> + Clone>(client: &HealthClient<C>)
where
    C::Error: Into<StdError>,
    C::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    let answer = client.clone().check(HealthCheckRequest::default()).await;
    answer.unwrap();
}

async fn many<C: GrpcService<Body> + Clone>(client: &HealthClient<C>)
where
    C::Error: Into<StdError>,
    C::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    join_all((0..64).map(|_| call(client))).await;
}

async fn plaintext(runtime: &Runtime) -> HealthClient<tonic::transport::Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let router = Server::builder().add_service(health);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    runtime.spawn(router.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

async fn tonics(
    runtime: &Runtime,
    authority: &Authority,
) -> HealthClient<tonic::transport::Channel> {
    let identity = |path| {
        let svid = authority.svid(path, Signer::Root);
        Identity::from_pem(svid.chain_pem(), svid.key().to_pem())
    };
    let bundle = authority.bundle();
    let root = || Certificate::from_pem(bundle.x509_authorities()[0].to_pem());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let tls = ServerTlsConfig::new()
        .identity(identity("/server"))
        .client_ca_root(root());
    let router = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(health);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    runtime.spawn(router.serve_with_incoming(incoming));
    let tls = ClientTlsConfig::new()
        .identity(identity("/client"))
        .ca_certificate(root())
        .domain_name(DNS_NAME);
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

async fn ours(
    runtime: &Runtime,
    authority: &Authority,
    authorized: bool,
) -> HealthClient<spiffe_tonic::Channel> {
    let members = || member_of(TRUST_DOMAIN);
    let tls = authority.source("/server").server(members());
    let incoming = incoming("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    if authorized {
        let layer = AuthorizeLayer::new(members())
            .rpc("/grpc.health.v1.Health/Watch", members())
            .unwrap();
        let router = Server::builder().layer(layer).add_service(health);
        runtime.spawn(router.serve_with_incoming(incoming));
    } else {
        let router = Server::builder().add_service(health);
        runtime.spawn(router.serve_with_incoming(incoming));
    }
    let tls = authority.source("/client").client(members());
    let channel = channel(&format!("https://{address}"), tls).await.unwrap();
    HealthClient::new(channel)
}
