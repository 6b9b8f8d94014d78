//! One unary RPC over mutual TLS on loopback: what does it cost to ask who is calling?
#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use criterion::Criterion;
use spiffe_benches::{Authority, TRUST_DOMAIN};
use spiffe_core::{authorizer::member_of, tls::SourceExt};
use spiffe_tonic::{Channel, channel, incoming};
use spiffe_tower::AuthorizeLayer;
use tokio::runtime::{self, Runtime};
use tonic::transport::Server;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // One thread for both sides: what is measured is work, not how threads wake each other.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let authority = Authority::default();

    let mut group = criterion.benchmark_group("rpc");
    for (name, authorized) in [
        ("mTLS", false),
        ("mTLS and AuthorizeLayer", true),
        // The null: any difference to the first is noise.
        ("mTLS, once more", false),
    ] {
        let client = runtime.block_on(serve(&runtime, &authority, authorized));
        group.bench_function(name, |b| b.iter(|| runtime.block_on(call(client.clone()))));
    }
    group.finish();
    criterion.final_summary();
}

async fn call(mut client: HealthClient<Channel>) {
    client.check(HealthCheckRequest::default()).await.unwrap();
}

/// A server of its own, and a client with a connection to it.
async fn serve(
    runtime: &Runtime,
    authority: &Authority,
    authorized: bool,
) -> HealthClient<Channel> {
    let members = || member_of(TRUST_DOMAIN);
    let tls = authority.source("/server").server(members());
    let incoming = incoming("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();

    // The runtime ends it when the measurement is over.
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
