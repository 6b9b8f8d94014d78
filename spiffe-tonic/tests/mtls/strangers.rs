//! Who does not get as far as a call.

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::SourceExt;
use spiffe_core::{IdentitySnapshot, with_causes};
use spiffe_tonic::{RouterExt, ServeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use crate::{Greeter, Running, check, id};

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
    if with_causes(&error).contains("fatal alert") {
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
    let told = with_causes(&error);
    assert!(
        told.contains("spiffe://a.test/server is not spiffe://a.test/ledger"),
        "{told}"
    );
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
