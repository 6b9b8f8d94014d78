//! A gRPC service that knows its callers by their SPIFFE IDs: `greeter-server ADDRESS`.
//!
//! Where the Workload API is, `SPIFFE_ENDPOINT_SOCKET` says.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use spiffe_core::{
    Peer, SourceExt, SpiffeId, X509Source,
    authorizer::{exactly, member_of},
    spiffe_id,
    x509::Certificate,
};
use spiffe_examples::{
    Failed,
    lines::{Line, serial_of},
    proto::greeter::{
        ResetRequest, ResetResponse, SayHelloRequest, SayHelloResponse,
        greeter_server::{Greeter, GreeterServer},
    },
    tell_identities,
};
use spiffe_tonic::{RequestExt, RouterExt};
use spiffe_tower::AuthorizeLayer;
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Request, Response, Status, transport::Server};

const CLIENT: SpiffeId = spiffe_id!("spiffe://example.org/greeter/client");
const OPERATOR: SpiffeId = spiffe_id!("spiffe://example.org/operator");

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // The SDK logs whom it turns away, and why.
    tracing_subscriber::fmt().with_ansi(false).init();
    let address: SocketAddr = std::env::args()
        .nth(1)
        .ok_or("usage: greeter-server ADDRESS, as in 127.0.0.1:50051")?
        .parse()?;

    let source = X509Source::connect().await?;
    let serving = Server::builder()
        .layer(
            AuthorizeLayer::new(exactly(CLIENT))
                .rpc("/greeter.v1.Greeter/Reset", exactly(OPERATOR))?,
        )
        .add_service(GreeterServer::new(Greetings::default()))
        .serve_mtls(address, source.server(member_of(CLIENT.trust_domain())));

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = serving => ended?,
        () = tell_identities(&source) => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// How often each caller was greeted, by the certificate that it came with.
#[derive(Default)]
struct Greetings(Mutex<BTreeMap<(SpiffeId, String), u64>>);

#[tonic::async_trait]
impl Greeter for Greetings {
    async fn say_hello(
        &self,
        request: Request<SayHelloRequest>,
    ) -> Result<Response<SayHelloResponse>, Status> {
        let peer = request
            .peer()
            .ok_or_else(|| Status::unauthenticated("the caller has no SPIFFE ID"))?;
        self.count(peer);
        Ok(Response::new(SayHelloResponse {
            greeting: format!("hello, {}", request.get_ref().nickname),
            caller: peer.id().to_string(),
        }))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        let greetings = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let forgotten = greetings.values().sum();
        Ok(Response::new(ResetResponse { forgotten }))
    }
}

impl Greetings {
    fn count(&self, peer: &Peer) {
        let leaf = peer.certificates().first();
        let leaf = leaf.and_then(|der| Certificate::from_der(der).ok());
        let serial = leaf.as_ref().map(serial_of).unwrap_or_default();
        let caller = peer.id().clone();
        let mut greetings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = greetings
            .entry((caller.clone(), serial.clone()))
            .or_default();
        *count += 1;
        if *count == 1 {
            println!("{}", Line::Greeted { caller, serial });
        }
    }
}
