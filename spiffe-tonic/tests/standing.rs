//! gRPC on connections whose peers lose their good standing, or are about to.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::policy::Policy;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_core::{IdentitySnapshot, spiffe_id};
use spiffe_hyper::Listener;
use spiffe_tonic::{Channel, RouterExt};
use spiffe_tower::AuthorizeLayer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

#[tokio::test]
async fn a_stream_ends_with_unauthenticated_when_the_callers_authority_is_removed() {
    let (ours, friend) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let bundles = [&ours, &friend].map(TestAuthority::bundle);
    let knowing = |svid, bundles: &[spiffe_core::TrustBundle]| {
        IdentitySnapshot::new(vec![svid], bundles.iter().cloned().collect())
    };
    let server = SnapshotCell::new(knowing(ours.svid("/server"), &bundles));
    let server = Arc::new(server);
    let running = Running::start(server.server(anyone())).await;
    let theirs = Arc::new(SnapshotCell::new(knowing(friend.svid("/web"), &bundles)));
    let mut theirs = running.client(&theirs).await;
    let mut mine = running.client(&ours.source("/web")).await;
    let mut watched = Vec::new();
    for client in [&mut theirs, &mut mine] {
        let mut stream = client.watch(ASK).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        watched.push(stream);
    }

    server.publish(knowing(ours.svid("/server"), &bundles[..1]));
    let ended = timeout(SOON, watched[0].message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    // The connection is gone too, and there is no new one.
    let refused = theirs.check(ASK).await.unwrap_err();
    let code = refused.code();
    let refusals = [Code::Unauthenticated, Code::Unavailable, Code::Unknown];
    assert!(refusals.contains(&code), "{refused:?}");
    // Nothing happened to the others.
    mine.check(ASK).await.unwrap();
    let silent = timeout(Duration::from_millis(50), watched[1].message()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn a_removed_authority_is_served_no_more_by_tonics_own_server_without_a_layer() {
    let (ca, other) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let server = ca.source("/server");
    let addr = ([127, 0, 0, 1], 0).into();
    let incoming = spiffe_tonic::incoming(addr, server.server(anyone())).await;
    let incoming = incoming.unwrap();
    let uri = format!("https://{}", incoming.local_addr().unwrap());
    let bare = Server::builder().add_service(HealthServer::new(Greeter));
    tokio::spawn(bare.serve_with_incoming(incoming));
    let channel = spiffe_tonic::channel(&uri, ca.source("/web").client(anyone())).await;
    let mut client = HealthClient::new(channel.unwrap());
    client.check(ASK).await.unwrap();
    server.publish(other.snapshot("/server"));
    client.check(ASK).await.unwrap_err();
}

#[tokio::test]
async fn a_stream_ends_with_permission_denied_when_the_policy_changes() {
    let ca = TestAuthority::new("a.test");
    let policy = Policy::new(anyone());
    let running = Running::start(ca.source("/server").server(policy.clone())).await;
    let mut client = running.client(&ca.source("/web")).await;
    let mut stream = client.watch(ASK).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    policy.replace(exactly(spiffe_id!("spiffe://a.test/ops")));
    let ended = timeout(SOON, stream.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_server_that_stops_lets_a_stream_come_to_its_end() {
    let ca = TestAuthority::new("a.test");
    let running = Running::start(ca.source("/server").server(anyone())).await;
    let mut client = running.client(&ca.source("/web")).await;
    let mut stream = client.watch(ASK).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    running.stop.send(()).unwrap();
    let mut task = running.task;
    let waited = timeout(Duration::from_millis(50), &mut task).await;
    assert!(waited.is_err(), "a stream is going on");
    drop(stream);
    timeout(SOON, task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn goaway_comes_in_the_last_tenth_of_the_peers_certificate_and_the_end_with_it() {
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("a.test", now);
    let (near, far) = duplex(64 * 1024);
    let tls = ca.source("/server").server(anyone()).clock(clock.clone());
    let coming = tokio_stream::once(Ok(far)).chain(tokio_stream::pending());
    let incoming = Listener::<DuplexStream>::from_incoming(coming, tls);
    let served = router().serve_mtls_with_incoming(incoming.into(), std::future::pending());
    let served = tokio::spawn(served);

    let svid = ca.draft("/web").lifetime(Duration::from_secs(1000)).svid();
    let web = SnapshotCell::new(IdentitySnapshot::new(vec![svid], ca.bundle().into()));
    let connector = Arc::new(web)
        .client(anyone())
        .clock(clock)
        .alpn([&b"h2"[..]]);
    let mut io = connector.connector().connect(near).await.unwrap();
    let begun = Instant::now();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // A call that stays open, so that the server has something to wait for.
    io.write_all(&begin_of_a_call()).await.unwrap();
    io.flush().await.unwrap();
    let mut goaway = None;
    // Until the server cuts the connection.
    while let Ok(kind) = frame(&mut io).await {
        if kind == 7 {
            goaway.get_or_insert_with(|| begun.elapsed().as_secs());
        }
    }
    let (goaway, end) = (goaway.unwrap(), begun.elapsed().as_secs());
    assert!((899..=980).contains(&goaway), "{goaway}");
    assert!((1000..=1003).contains(&end), "{end}");
    served.abort();
}

/// Reads a frame, answers it where it must be, and tells of what kind it was.
async fn frame<IO: AsyncReadExt + AsyncWriteExt + Unpin>(io: &mut IO) -> std::io::Result<u8> {
    const PING: u8 = 6;
    let mut head = [0; 9];
    io.read_exact(&mut head).await?;
    let length = usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    if head[3] == PING && head[4] == 0 {
        io.write_all(&[0, 0, 8, PING, 1, 0, 0, 0, 0]).await?;
        io.write_all(&body).await?;
        io.flush().await?;
    }
    Ok(head[3])
}

/// A call on stream 1 whose body is yet to come.
fn begin_of_a_call() -> Vec<u8> {
    let path = b"/grpc.health.v1.Health/Watch";
    // By index in the static table of HPACK: POST, https, and a path of this length.
    let mut block = vec![0x83, 0x87, 0x04, 28];
    block.extend(path);
    let mut frame = vec![0, 0, 32, 1, 4, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

const ASK: HealthCheckRequest = HealthCheckRequest {
    service: String::new(),
};
const SOON: Duration = Duration::from_secs(10);

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(tls: ServerTls) -> Self {
        let addr = ([127, 0, 0, 1], 0).into();
        let incoming = spiffe_tonic::incoming(addr, tls).await.unwrap();
        let addr = incoming.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = router().serve_mtls_with_incoming(incoming, async { _ = stopped.await });
        let task = tokio::spawn(served);
        Self { addr, stop, task }
    }

    async fn client(&self, source: &Arc<SnapshotCell>) -> HealthClient<Channel> {
        let uri = format!("https://{}", self.addr);
        let channel = spiffe_tonic::channel(&uri, source.client(anyone())).await;
        HealthClient::new(channel.unwrap())
    }
}

fn router() -> tonic::transport::server::Router<
    tower::layer::util::Stack<AuthorizeLayer, tower::layer::util::Identity>,
> {
    Server::builder()
        .layer(AuthorizeLayer::new(anyone()))
        .add_service(HealthServer::new(Greeter))
}

/// A health service whose watches say one thing and then nothing.
struct Greeter;

#[tonic::async_trait]
impl Health for Greeter {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let once = tokio_stream::once(Ok(HealthCheckResponse::default()));
        Ok(Response::new(Box::pin(once.chain(tokio_stream::pending()))))
    }
}
