//! gRPC over mutual TLS, on loopback: who gets in, who does not, and what changes underneath.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, SpiffeId, TrustBundle};
use spiffe_tonic::{Channel, Incoming, RequestExt, RouterExt, ServeError};
use spiffe_tower::AuthorizeLayer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

#[tokio::test]
async fn a_call_that_is_allowed_tells_the_service_who_calls() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(exactly(id("/web")))).await;
    let tls = authority.source("/web").client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    assert_eq!(check(channel).await.unwrap(), id("/web").as_str());
}

#[tokio::test]
async fn what_may_be_called_is_decided_by_path() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/web").client(anyone());
    let mut client = HealthClient::new(spiffe_tonic::channel_lazy(&server.uri(), tls).unwrap());
    client.check(HealthCheckRequest::default()).await.unwrap();
    let denied = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(
        denied.message(),
        "spiffe://a.test/web is not authorized to call /grpc.health.v1.Health/Watch"
    );
    // The same connection goes on.
    client.check(HealthCheckRequest::default()).await.unwrap();

    let tls = authority.source("/ops").client(anyone());
    let mut client = HealthClient::new(spiffe_tonic::channel(&server.uri(), tls).await.unwrap());
    client.watch(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_stranger_does_not_get_past_the_handshake() {
    let (authority, stranger) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let server = Running::start(authority.source("/server").server(anyone())).await;
    // It trusts the server; the server does not know its trust domain.
    let snapshot = IdentitySnapshot::new(vec![stranger.svid("/web")], authority.bundle().into());
    let tls = Arc::new(SnapshotCell::new(snapshot)).client(anyone());
    let channel = spiffe_tonic::channel_lazy(&server.uri(), tls).unwrap();
    let error = check(channel).await.unwrap_err();
    // In TLS 1.3 the client is done before the server has judged it, so tonic meets the refusal
    // when it connects or when it calls.
    let code = error.code();
    assert!(
        matches!(code, Code::Unavailable | Code::Unknown),
        "{error:?}"
    );
    // The connection may break before the alert is read; where it is, it is told.
    if chain(&error).contains("fatal alert") {
        assert_eq!(code, Code::Unavailable, "{error:?}");
        assert!(error.message().contains("UnknownCA"), "{error:?}");
    }
    server.answers(&authority).await;
}

#[tokio::test]
async fn a_server_that_is_not_the_one_is_told_nothing() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/web").client(exactly(id("/ledger")));
    let error = spiffe_tonic::channel(&server.uri(), tls).await.unwrap_err();
    let told = chain(&error);
    assert!(
        told.contains("spiffe://a.test/server is not spiffe://a.test/ledger"),
        "{told}"
    );
}

#[tokio::test]
async fn rotation_costs_no_call() {
    let authority = TestAuthority::new("a.test");
    let (web, server_source) = (authority.source("/web"), authority.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = || web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls()).await.unwrap();
    let calls = Calls::begin(channel);
    for _ in 0..20 {
        web.publish(authority.snapshot("/web"));
        server_source.publish(authority.snapshot("/server"));
        // A connection made now shows what was published now.
        let tcp = TcpStream::connect(server.addr).await.unwrap();
        let fresh = tls().connector().connect(tcp).await.unwrap();
        let published = server_source.snapshot();
        let leaf = published.svid().unwrap().leaf().der();
        assert_eq!(&fresh.peer().certificates()[0], leaf);
        let fresh = spiffe_tonic::channel(&server.uri(), tls()).await.unwrap();
        check(fresh).await.unwrap();
    }
    assert!(calls.end().await >= 20, "calls went on meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_rotates_and_loses_no_call() {
    let authority = TestAuthority::new("a.test");
    let (web, server_source) = (authority.source("/web"), authority.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    let callers: Vec<_> = (0..8).map(|_| Calls::begin(channel.clone())).collect();
    for _ in 0..20 {
        web.publish(authority.snapshot("/web"));
        let presented = web.snapshot().svid().unwrap().leaf().der().clone();
        // Until the server sees the new certificate, by that very channel.
        let moved = async {
            while certificate_seen(channel.clone()).await != presented {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), moved).await.unwrap();
        // The server's own rotation is nobody's matter; its proof is good for as long as before.
        server_source.publish(authority.snapshot("/server"));
    }
    for calls in callers {
        assert!(calls.end().await >= 20, "calls went on meanwhile");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_follows_its_peers_to_another_authority_and_loses_no_call() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    let calls = Calls::begin(channel.clone());
    // As SPIRE does it: trust the new one everywhere, move to it, drop the old one.
    let authorities = |these: &[&TestAuthority]| {
        let these = these
            .iter()
            .flat_map(|ca| ca.bundle().x509_authorities().to_vec());
        BundleSet::from(TrustBundle::new("a.test".parse().unwrap(), these.collect()))
    };
    let publish = |ca: &TestAuthority, trusted: &BundleSet| {
        for (source, path) in [(&server_source, "/server"), (&web, "/web")] {
            let snapshot = IdentitySnapshot::new(vec![ca.svid(path)], trusted.clone());
            source.publish(snapshot);
        }
    };
    publish(&old, &authorities(&[&old, &new]));
    publish(&new, &authorities(&[&old, &new]));
    let presented = web.snapshot().svid().unwrap().leaf().der().clone();
    let moved = async {
        while certificate_seen(channel.clone()).await != presented {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), moved).await.unwrap();
    assert!(calls.end().await > 0);
    publish(&new, &authorities(&[&new]));
    check(channel).await.unwrap();
}

#[tokio::test]
async fn a_call_that_has_begun_stays_on_the_connection_it_began_on() {
    let authority = TestAuthority::new("a.test");
    let web = authority.source("/ops");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    let mut client = HealthClient::new(channel.clone());
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    web.publish(authority.snapshot("/ops"));
    let presented = web.snapshot().svid().unwrap().leaf().der().clone();
    while certificate_seen(channel.clone()).await != presented {}
    server.go_on();
    assert!(watch.message().await.unwrap().is_some());
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_channel_gives_a_server_that_is_trusted_no_more_no_call() {
    let (ours, others) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let web = ours.source("/web");
    let server = Running::start(ours.source("/server").server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    check(channel.clone()).await.unwrap();
    web.publish(IdentitySnapshot::new(
        vec![ours.svid("/web")],
        others.bundle().into(),
    ));
    let refused = check(channel.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let told = chain(&refused);
    assert!(told.contains("does not lead to an authority"), "{told}");
    web.publish(ours.snapshot("/web"));
    check(channel).await.unwrap();
}

#[tokio::test]
async fn a_call_takes_no_longer_than_it_says() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/ops").client(anyone());
    // Nobody answers there: the listener's queue takes the connection, and that is all.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", silent.local_addr().unwrap());
    let channel = spiffe_tonic::channel_lazy(&uri, tls).unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(20));
    let late = HealthClient::new(channel).check(request).await.unwrap_err();
    assert_eq!(
        late.code(),
        Code::Cancelled,
        "as tonic's own channel has it"
    );
    server.answers(&authority).await;
}

#[tokio::test]
async fn a_new_authority_takes_effect_without_a_restart() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(anyone())).await;
    let tls = web.client(anyone());
    let stale = old.source("/web").client(anyone());
    let connect = |tls| {
        let uri = server.uri();
        async move { check(spiffe_tonic::channel_lazy(&uri, tls).unwrap()).await }
    };
    connect(tls.clone()).await.unwrap();

    server_source.publish(new.snapshot("/server"));
    connect(tls.clone()).await.unwrap_err();

    // The same configuration, once its source has heard of the new authority.
    web.publish(new.snapshot("/web"));
    connect(tls).await.unwrap();
    connect(stale).await.unwrap_err();
}

#[tokio::test]
async fn a_channel_finds_its_way_back_with_the_identity_of_the_moment() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    check(channel.clone()).await.unwrap();

    // Another server takes its place, under another authority.
    let addr = server.addr;
    server.stop().await;
    web.publish(new.snapshot("/web"));
    server_source.publish(new.snapshot("/server"));
    let _server = Running::start_at(addr, server_source.server(anyone())).await;
    let mut answer = check(channel.clone()).await;
    // The first call may still find the connection that broke.
    if answer.is_err() {
        answer = check(channel).await;
    }
    assert_eq!(answer.unwrap(), id("/web").as_str());
}

#[tokio::test]
async fn slow_handshakes_hold_up_nobody() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    for clients in [1, 100] {
        let mut silent = Vec::new();
        for _ in 0..clients {
            silent.push(TcpStream::connect(server.addr).await.unwrap());
        }
        // Far less than the ten seconds that each of them has.
        let answer = timeout(Duration::from_secs(5), server.answers(&authority));
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn garbage_does_not_stop_the_listener() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 600],
        &[0x16, 3, 1, 0xff, 0xff, 1],
    ] {
        let mut client = TcpStream::connect(server.addr).await.unwrap();
        client.write_all(garbage).await.unwrap();
        client.shutdown().await.unwrap();
        // At most an alert comes back; whether it or the reset does is a race.
        _ = client.read_to_end(&mut Vec::new()).await;
        server.answers(&authority).await;
    }
}

#[tokio::test]
async fn more_handshakes_than_may_go_on_wait_until_the_oldest_gives_way() {
    let authority = TestAuthority::new("a.test");
    let tls = authority
        .source("/server")
        .server(anyone())
        .max_pending_handshakes(2);
    let server = Running::start(tls).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let begin = Instant::now();
    server.answers(&authority).await;
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(10)).contains(&begin.elapsed()),
        "two at a time, each with half a second of its own, and not the ten that it might take"
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let authority = TestAuthority::new("a.test");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let tls = authority.source("/server").server(anyone());
    let served = Server::builder()
        .add_service(HealthServer::new(Greeter::default()))
        .serve_mtls(server.addr, tls)
        .await;
    let error = served.unwrap_err();
    assert!(matches!(error, ServeError::Bind { addr, .. } if addr == server.addr));
}

#[tokio::test]
async fn denials_become_a_status_that_does_not_tell_what_was_expected() {
    let authority = TestAuthority::new("a.test");
    let leaf = [authority.svid("/web").leaf().der().clone()];
    let bundles = BundleSet::from(authority.bundle());
    let now = SystemClock.now();
    let role = spiffe_core::verify::Role::Client;
    let peer = spiffe_core::verify::x509_peer(&leaf, &bundles, role, now).unwrap();
    let denied = spiffe_core::authorizer::Denied::new(&peer, "a secret");
    let status = spiffe_tonic::status(&denied);
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "spiffe://a.test/web is not authorized");
}

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
        let policy =
            AuthorizeLayer::new(anyone()).rpc("/grpc.health.v1.Health/Watch", exactly(id("/ops")));
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

/// The certificate that the server saw at a call over this channel.
async fn certificate_seen(channel: Channel) -> CertificateDer<'static> {
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let seen = answer.metadata().get_bin("certificate-bin").unwrap();
    CertificateDer::from(seen.to_bytes().unwrap().to_vec())
}

/// Calls without a pause over one channel; each must succeed.
struct Calls {
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

impl Calls {
    fn begin(channel: Channel) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut calls = 0;
            while stopped.try_recv().is_err() {
                check(channel.clone()).await.unwrap();
                calls += 1;
            }
            calls
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

/// An error and all that is below it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(|error| format!("{error}; ")).collect()
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&"a.test".parse().unwrap(), path).unwrap()
}
