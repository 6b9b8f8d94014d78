//! gRPC over mutual TLS, on loopback: who gets in, who does not, and what changes underneath.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod calls;
mod rotation;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;

use spiffe_core::SpiffeId;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_tonic::{Channel, Incoming, RequestExt, RouterExt};
use spiffe_tower::AuthorizeLayer;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// A server of the [`Greeter`]; only `/ops` may watch.
struct Running {
    addr: SocketAddr,
    go_on: Arc<Notify>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(tls: ServerTls) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), tls).await
    }

    async fn start_at(addr: SocketAddr, tls: ServerTls) -> Self {
        let incoming: Incoming = spiffe_tonic::incoming(addr, tls).await.unwrap();
        let addr = incoming.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let go_on = Arc::<Notify>::default();
        let policy = AuthorizeLayer::new(anyone())
            .rpc("/grpc.health.v1.Health/Watch", exactly(id("/ops")))
            .unwrap();
        let served = Server::builder()
            .layer(policy)
            .add_service(HealthServer::new(Greeter {
                go_on: Arc::clone(&go_on),
            }))
            .serve_mtls_with_incoming(incoming, async { _ = stopped.await });
        let task = tokio::spawn(served);
        Self {
            addr,
            go_on,
            stop,
            task,
        }
    }

    /// Lets a watch say what it has to say.
    fn go_on(&self) {
        self.go_on.notify_one();
    }

    fn uri(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Somebody else is served, over a connection of their own.
    async fn answers(&self, authority: &TestAuthority) {
        let tls = authority.source("/other").client(exactly(id("/server")));
        let channel = spiffe_tonic::channel(&self.uri(), tls).await.unwrap();
        assert_eq!(check(channel).await.unwrap(), id("/other").as_str());
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A health service whose handlers tell in a header who called. A watch says one thing, when told
/// to go on.
#[derive(Default)]
struct Greeter {
    go_on: Arc<Notify>,
}

#[tonic::async_trait]
impl Health for Greeter {
    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request.spiffe_id().unwrap().as_str();
        let certificate = &request.peer().unwrap().certificates()[0];
        let mut response = Response::new(HealthCheckResponse::default());
        let metadata = response.metadata_mut();
        metadata.insert("caller", caller.parse().unwrap());
        metadata.insert_bin("certificate-bin", MetadataValue::from_bytes(certificate));
        Ok(response)
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (send, stream) = mpsc::channel(1);
        let go_on = Arc::clone(&self.go_on);
        tokio::spawn(async move {
            go_on.notified().await;
            _ = send.send(Ok(HealthCheckResponse::default())).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Calls, and tells whom the service took us for.
async fn check(channel: Channel) -> Result<String, Status> {
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await?;
    Ok(answer
        .metadata()
        .get("caller")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned())
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&"a.test".parse().unwrap(), path).unwrap()
}
