//! Streams without HTTP: a listener that hands them out, and a connector that makes them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{HandshakeError, Resumption, SourceExt};
use spiffe_core::{SpiffeId, TrustDomain, spiffe_id};
use spiffe_hyper::{ConnectError, Connector, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const CLIENT: SpiffeId = spiffe_id!("spiffe://a.test/client");
const SERVER: SpiffeId = spiffe_id!("spiffe://a.test/server");

/// A server of anybody's streams, which says a word to each.
async fn listen(ca: &TestAuthority) -> (Listener, SocketAddr) {
    let tls = ca.source("/server").server(exactly(CLIENT));
    let tls = tls.resumption(Resumption::Bound);
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn greet(listener: &mut Listener) -> SpiffeId {
    let mut stream = listener.accept().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    stream.peer().id().clone()
}

#[tokio::test]
async fn a_stream_is_made_of_a_host_and_a_port() {
    let ca = TestAuthority::new("a.test");
    let (mut listener, address) = listen(&ca).await;
    let connector = Connector::new(ca.source("/client").client(exactly(SERVER)));
    // A name stands for many addresses, of which one answers.
    for address in [address.to_string(), format!("localhost:{}", address.port())] {
        let call = async {
            let mut stream = connector.connect(&address).await.unwrap();
            assert_eq!(stream.peer().id(), &SERVER);
            assert_eq!(stream.alpn_protocol(), None, "nobody speaks HTTP");
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "hello");
        };
        let (caller, ()) = tokio::join!(greet(&mut listener), call);
        assert_eq!(caller, CLIENT);
    }
}

#[tokio::test]
async fn a_client_may_name_a_protocol_of_its_own() {
    let ca = TestAuthority::new("a.test");
    let acceptor = ca
        .source("/server")
        .server(anyone())
        .alpn([&b"postgresql"[..]])
        .acceptor();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let client = ca.source("/client").client(exactly(SERVER));
    let client = client.server_name("db.example").unwrap();
    let connector = Connector::new(client.alpn([&b"postgresql"[..]]));
    let accept = async { acceptor.accept(socket.accept().await.unwrap().0).await };
    let (accepted, connected) = tokio::join!(accept, connector.connect(&address));
    accepted.unwrap();
    let spoken = connected.unwrap().alpn_protocol().map(<[u8]>::to_vec);
    assert_eq!(spoken.as_deref(), Some(&b"postgresql"[..]));
}

#[tokio::test]
async fn sessions_are_resumed_by_address() {
    let ca = TestAuthority::new("a.test");
    let (mut listener, address) = listen(&ca).await;
    let client = ca.source("/client").client(exactly(SERVER));
    let connector = Connector::new(client.resumption(Resumption::Bound));
    let by_name = format!("localhost:{}", address.port());
    let by_address = address.to_string();
    for (address, resumed) in [
        (&by_address, false),
        (&by_address, true),
        (&by_name, false),
        (&by_name, true),
    ] {
        let call = async {
            let mut stream = connector.connect(address).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            stream.is_resumed()
        };
        let (_, found) = tokio::join!(greet(&mut listener), call);
        assert_eq!(found, resumed, "{address}");
    }
}

#[tokio::test]
async fn why_there_is_no_stream_is_told() {
    let ca = TestAuthority::new("a.test");
    let connector = Connector::new(ca.source("/client").client(exactly(SERVER)));
    for address in [
        "",
        "db",
        ":5432",
        "db:",
        "db:http",
        "db:99999",
        "db:1/x",
        "https://db:1",
        "[::1]x:1",
        "[::1]:+1",
        "localhost:+1",
        "[127.0.0.1]:1",
        "[localhost]:1",
        "[::1:1",
        "::1:1",
        "[]:1",
    ] {
        let why = connector.connect(address).await.unwrap_err();
        assert!(
            matches!(&why, ConnectError::Address(it) if it == address),
            "{address}: {why}"
        );
        let told = format!("{address:?} is no address; it should look like host:port");
        assert_eq!(why.to_string(), told);
    }
    for address in ["me@db:1", "me:secret@db:1", "me:secret@", "@"] {
        let why = connector.connect(address).await.unwrap_err();
        assert!(matches!(why, ConnectError::UserInfo), "{address}: {why}");
        assert!(!format!("{why} {why:?}").contains("secret"));
    }

    // A port that was free a moment ago.
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let why = connector.connect(&address).await.unwrap_err();
    assert!(matches!(&why, ConnectError::Unreachable { authority, .. } if *authority == address));

    let (mut listener, address) = listen(&ca).await;
    let elsewhere = spiffe_core::authorizer::member_of(TrustDomain::from_static("b.test"));
    let picky = Connector::new(ca.source("/client").client(elsewhere));
    let address = address.to_string();
    let refused = tokio::select! {
        refused = picky.connect(&address) => refused.unwrap_err(),
        accepted = listener.accept() => unreachable!("{accepted:?}"),
    };
    assert!(
        matches!(refused, ConnectError::Handshake(HandshakeError::Denied(_))),
        "{refused}"
    );
}

/// One of them ended after ten in a row.
#[tokio::test]
async fn failed_handshakes_in_a_row_do_not_end_a_listener() {
    let ca = TestAuthority::new("a.test");
    let (mut listener, address) = listen(&ca).await;
    for _ in 0..50 {
        let mut garbage = tokio::net::TcpStream::connect(address).await.unwrap();
        garbage.write_all(b"no TLS at all").await.unwrap();
    }
    let connector = Connector::new(ca.source("/client").client(exactly(SERVER)));
    let address = address.to_string();
    let (caller, connected) = tokio::join!(greet(&mut listener), connector.connect(&address));
    assert_eq!(caller, CLIENT);
    connected.unwrap();
}
