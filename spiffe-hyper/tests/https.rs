//! Servers and clients of HTTP over mutual TLS, on loopback and in-memory pipes.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{ServerTls, SourceExt};
use spiffe_core::{IdentitySnapshot, IdentitySource, SpiffeId, with_causes};
use spiffe_hyper::{Connector, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tower_service::Service;

#[tokio::test]
async fn both_ends_know_each_other() {
    let authority = TestAuthority::new("a.test");
    let server = Server::start(authority.source("/server").server(exactly(id("/web")))).await;
    let client = client(authority.source("/web").client(exactly(id("/server"))));
    let response = client.get(server.uri("/hello")).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2, "as ALPN chose");
    let who = spiffe_tower::peer(response.extensions()).unwrap();
    assert_eq!(who.id(), &id("/server"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "spiffe://a.test/web asks for /hello");
}

#[tokio::test]
async fn a_server_lets_in_only_whom_it_should() {
    let (authority, stranger) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let server = Server::start(authority.source("/server").server(exactly(id("/web")))).await;
    for source in [authority.source("/ops"), stranger.source("/web")] {
        // The client would trust the server, whatever the server thinks of it.
        let snapshot = source.snapshot();
        let bundles = snapshot.bundles().with(authority.bundle());
        let svids = snapshot.svids().to_vec();
        source.publish(IdentitySnapshot::new(svids, bundles));
        let answer = client(source.client(anyone())).get(server.uri("/")).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let client = client(authority.source("/web").client(anyone()));
    let answer = client.get(server.uri("/")).await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::OK,
        "the others stopped nothing"
    );
}

#[tokio::test]
async fn a_client_leaves_who_is_not_the_one_and_says_why() {
    let authority = TestAuthority::new("a.test");
    let server = Server::start(authority.source("/server").server(anyone())).await;
    let client = client(authority.source("/web").client(exactly(id("/ledger"))));
    let error = client.get(server.uri("/")).await.unwrap_err();
    let told = with_causes(&error);
    assert!(
        told.contains("spiffe://a.test/server is not spiffe://a.test/ledger"),
        "{told}"
    );
}

#[tokio::test]
async fn each_server_must_be_the_one_that_its_uri_stands_for() {
    let authority = TestAuthority::new("a.test");
    let ledger = Server::start(authority.source("/ledger").server(anyone())).await;
    let bank = Server::start(authority.source("/bank").server(anyone())).await;
    let (source, port) = (authority.source("/web"), ledger.addr.port());
    let connector = Connector::choosing(move |uri| {
        let is_ledger = uri.port_u16() == Some(port);
        source.client(exactly(id(if is_ledger { "/ledger" } else { "/vault" })))
    });
    let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
    client.get(ledger.uri("/")).await.unwrap();
    let error = client.get(bank.uri("/")).await.unwrap_err();
    let told = with_causes(&error);
    assert!(
        told.contains("spiffe://a.test/bank is not spiffe://a.test/vault"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn goaway_comes_before_the_peers_certificate_ends() {
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let authority = TestAuthority::at("a.test", now);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let tls = authority
        .source("/server")
        .server(anyone())
        .clock(clock.clone());
    let coming = tokio_stream::iter([Ok(far)]).chain(tokio_stream::pending());
    let listener = Listener::<tokio::io::DuplexStream>::from_incoming(coming, tls);
    let echo = tower::service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    tokio::spawn(spiffe_hyper::serve(listener, echo, std::future::pending()));
    let svid = authority
        .draft("/web")
        .lifetime(Duration::from_secs(1000))
        .svid();
    let web = IdentitySnapshot::new(vec![svid], authority.bundle().into());
    let tls = Arc::new(SnapshotCell::new(web))
        .client(anyone())
        .clock(clock);
    let connector = tls.alpn([&b"h2"[..]]).connector();
    let mut io = connector.connect(near).await.unwrap();
    let begun = tokio::time::Instant::now();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    io.flush().await.unwrap();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        io.read_exact(&mut body).await.unwrap();
        match head[3] {
            // GOAWAY.
            7 => break,
            // A ping: the server looks whether we are still there.
            6 => {
                io.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                io.write_all(&body).await.unwrap();
                io.flush().await.unwrap();
            }
            _ => {}
        }
    }
    let at = begun.elapsed().as_secs();
    assert!((899..=980).contains(&at), "{at}");
}

#[tokio::test]
async fn calls_that_have_begun_come_to_their_end_before_a_server_does() {
    let authority = TestAuthority::new("a.test");
    let (begun, has_begun) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel();
    let call = Arc::new(std::sync::Mutex::new(Some((begun, may_go_on))));
    let slow = tower::service_fn(move |_: Request<Incoming>| {
        let call = call.lock().unwrap().take();
        async move {
            let (begun, may_go_on) = call.unwrap();
            begun.send(()).unwrap();
            may_go_on.await.unwrap();
            Ok::<_, Infallible>(Response::new("done".to_owned()))
        }
    });
    let mut server = Server::start_with(authority.source("/server").server(anyone()), slow).await;
    let client = client(authority.source("/web").client(anyone()));
    let uri = server.uri("/");
    let answer = tokio::spawn(async move { client.get(uri).await.unwrap() });
    has_begun.await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    go_on.send(()).unwrap();
    let body = answer.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "done");
    server.task.await.unwrap();
}

#[tokio::test]
async fn a_server_that_stopped_accepts_no_more() {
    let authority = TestAuthority::new("a.test");
    let mut server = Server::start(authority.source("/server").server(anyone())).await;
    server.stop.take().unwrap().send(()).unwrap();
    let uri = server.uri("/");
    server.task.await.unwrap();
    let error = client(authority.source("/web").client(anyone()))
        .get(uri)
        .await;
    let told = with_causes(&error.unwrap_err());
    assert!(told.contains("cannot connect to 127.0.0.1:"), "{told}");
}

// conformance: FD-54-
#[tokio::test]
async fn live_conn_closed_on_bundle_removal() {
    let (authority, friend) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let knows = |svid, others: &[&TestAuthority]| {
        let bundles = others.iter().map(|ca| ca.bundle()).collect();
        Arc::new(SnapshotCell::new(IdentitySnapshot::new(
            vec![svid],
            bundles,
        )))
    };
    let source = knows(authority.svid("/server"), &[&authority, &friend]);
    let server = Server::start(source.server(anyone())).await;
    let theirs = client(knows(friend.svid("/web"), &[&authority]).client(anyone()));
    let ours = client(authority.source("/web").client(anyone()));
    for client in [&theirs, &ours] {
        client.get(server.uri("/")).await.unwrap();
    }

    let alone = IdentitySnapshot::new(vec![authority.svid("/server")], authority.bundle().into());
    source.publish(alone);
    // A call may still get in before the server has looked; the connection does not last.
    let ended = async {
        while let Ok(response) = theirs.get(server.uri("/")).await {
            response.into_body().collect().await.unwrap();
        }
    };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    ours.get(server.uri("/")).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_does_not_hold_up_the_end() {
    let authority = TestAuthority::new("a.test");
    let mut server = Server::start(authority.source("/server").server(anyone())).await;
    let connector = authority.source("/web").client(anyone()).connector();
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let mut silent = connector.connect(tcp).await.unwrap();
    // The other one came later and is served, so the silent one has come in.
    let client = client(authority.source("/web").client(anyone()));
    client.get(server.uri("/")).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    server.task.await.unwrap();
    _ = silent.read(&mut [0; 1]).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_takes_its_connections_with_it() {
    let authority = TestAuthority::new("a.test");
    let (begun, has_begun) = oneshot::channel();
    let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
    let endless = tower::service_fn(move |_: Request<Incoming>| {
        begun.lock().unwrap().take().unwrap().send(()).unwrap();
        std::future::pending::<Result<Response<String>, Infallible>>()
    });
    let server = Server::start_with(authority.source("/server").server(anyone()), endless).await;
    let client = client(authority.source("/web").client(anyone()));
    let call = tokio::spawn(client.get(server.uri("/")));
    has_begun.await.unwrap();
    server.task.abort();
    call.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_listener_takes_any_io_and_ends_with_it() {
    let authority = TestAuthority::new("a.test");
    let (ours, theirs) = tokio::io::duplex(16 * 1024);
    let tls = authority.source("/server").server(anyone());
    let mut listener = Listener::from_incoming(tokio_stream::iter([Ok(theirs)]), tls);
    let connector = authority.source("/web").client(anyone()).connector();
    let (connected, accepted) = tokio::join!(connector.connect(ours), listener.accept());
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
    assert_eq!(accepted.peer().id(), &id("/web"));
    connected.write_all(b"hello").await.unwrap();
    connected.flush().await.unwrap();
    let mut heard = [0; 5];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert!(listener.accept().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_only_push_each_other_out() {
    let authority = TestAuthority::new("a.test");
    let (come, incoming) = tokio::sync::mpsc::channel(100);
    let tls = authority
        .source("/server")
        .server(anyone())
        .max_pending_handshakes(16);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let mut listener = Listener::from_incoming(incoming, tls);
    let mut held = Vec::new();
    for _ in 0..16 {
        let (ours, theirs) = tokio::io::duplex(64);
        held.push(ours);
        come.send(Ok(theirs)).await.unwrap();
    }
    let silent = tokio::time::timeout(Duration::from_secs(1), listener.accept());
    assert!(silent.await.is_err(), "nobody has said a word");

    let connector = authority.source("/web").client(anyone()).connector();
    let begin = tokio::time::Instant::now();
    for client in 0..3 {
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        come.send(Ok(theirs)).await.unwrap();
        let (connected, accepted) = tokio::join!(connector.connect(ours), listener.accept());
        assert_eq!(accepted.unwrap().peer().id(), &id("/web"), "{client}");
        connected.unwrap();
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let mut gone = Vec::new();
    for mut silent in held {
        let waited = tokio::time::timeout(Duration::from_millis(1), silent.read_u8());
        gone.push(waited.await.is_ok());
    }
    let expected: Vec<_> = (0..16).map(|number| number == 0).collect();
    assert_eq!(
        gone, expected,
        "the oldest made room, for one after the other"
    );
}

struct Server {
    addr: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that tells its callers who they are.
    async fn start(tls: ServerTls) -> Self {
        let echo = tower::service_fn(async |request: Request<Incoming>| {
            let caller = spiffe_tower::peer(request.extensions()).unwrap().id();
            let text = format!("{caller} asks for {}", request.uri().path());
            Ok::<_, Infallible>(Response::new(text))
        });
        Self::start_with(tls, echo).await
    }

    async fn start_with<S>(tls: ServerTls, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<String>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { _ = stopped.await };
        let task = tokio::spawn(spiffe_hyper::serve(listener, service, stopped));
        let stop = Some(stop);
        Self { addr, stop, task }
    }

    fn uri(&self, path: &str) -> http::Uri {
        format!("https://{}{path}", self.addr).parse().unwrap()
    }
}

fn client(tls: spiffe_core::tls::ClientTls) -> Client<Connector, String> {
    Client::builder(TokioExecutor::new()).build(Connector::new(tls))
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&"a.test".parse().unwrap(), path).unwrap()
}
