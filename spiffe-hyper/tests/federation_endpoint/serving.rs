//! Whom a server has room for, and how it ends.

use std::io::ErrorKind;
use std::sync::Arc;

use http::StatusCode;
use rustls::{ClientConfig, RootCertStore};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{BundleSet, IdentitySnapshot};
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, BundleServer, EndpointTls, FetchError, Relationship,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::federated::{Log, MINUTE, Net, WebCa, id, url};
use crate::{ask, dial, get};

#[tokio::test(start_paused = true)]
async fn nobody_stays_at_an_endpoint() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let at = url("https://h.test/");
    let endpoint = BundleEndpoint::new(
        &at,
        authority.source("/s"),
        authority.trust_domain().clone(),
    );
    net.serve("h.test", ca.endpoint(&at), endpoint);
    let begun = tokio::time::Instant::now();
    // No handshake at all, and one with nothing asked after it.
    let mut silent = dial(&net, "h.test");
    let ended = silent.read(&mut [0; 1]).await;
    assert!(matches!(ended, Ok(0)), "{ended:?}");
    assert!(begun.elapsed() < MINUTE);
    let mut store = RootCertStore::empty();
    store.add(ca.roots()[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = async || {
        let name = "h.test".try_into().unwrap();
        let io = dial(&net, "h.test");
        connector.connect(name, io).await.unwrap()
    };
    let begun = tokio::time::Instant::now();
    let mut idle = connect().await;
    let ended = idle.read(&mut [0; 1]).await;
    let gone = |kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe);
    assert!(
        ended
            .as_ref()
            .map_or_else(|e| gone(e.kind()), |read| *read == 0),
        "{ended:?}"
    );
    assert!(begun.elapsed() < MINUTE / 3, "{:?}", begun.elapsed());

    // Who goes on asking is answered for a minute.
    let (mut busy, begun) = (connect().await, tokio::time::Instant::now());
    let mut answer = [0; 4096];
    loop {
        let request = b"GET /none HTTP/1.1\r\nhost: h.test\r\n\r\n";
        let asked = busy.write_all(request).await;
        match busy.read(&mut answer).await {
            Ok(read) if read > 0 && asked.is_ok() => {
                assert!(answer.starts_with(b"HTTP/1.1 404"));
            }
            _ => break,
        }
        tokio::time::sleep(MINUTE / 12).await;
    }
    let lasted = begun.elapsed();
    assert!(
        lasted > MINUTE - MINUTE / 12 && lasted < 2 * MINUTE,
        "{lasted:?}"
    );
}

/// Another address of this machine is no other one everywhere.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let authority = TestAuthority::new("a.test");
    let source = authority.source("/bundles");
    let tls = EndpointTls::https_spiffe(source.clone());
    let server = BundleServer::bind("127.0.0.1:0", tls).await.unwrap();
    let at = server.local_addr().unwrap();
    let domain = authority.trust_domain().clone();
    let endpoint = BundleEndpoint::new(&url("https://a.test/"), source, domain);
    // Whoever does not speak TLS is told so, where there was a place for them.
    let ask = async |from: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let mut io = socket.connect(at).await.unwrap();
        let mut answer = Vec::new();
        let _ = io.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let _ = io.read_to_end(&mut answer).await;
        !answer.is_empty()
    };
    let asking = async {
        assert!(ask("127.0.0.1:0").await);
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(tokio::net::TcpStream::connect(at).await.unwrap());
        }
        assert!(!ask("127.0.0.1:0").await, "one too many");
        assert!(ask("127.0.0.2:0").await, "somebody else");
        drop(silent);
        while !ask("127.0.0.1:0").await {
            tokio::task::yield_now().await;
        }
    };
    let serving = server.serve(endpoint, std::future::pending());
    tokio::select! {
        () = serving => unreachable!("nobody told it to end"),
        () = asking => {}
    }
}

#[tokio::test]
async fn that_there_is_no_bundle_is_told_once_however_often_strangers_ask() {
    let authority = TestAuthority::new("a.test");
    let source = Arc::new(SnapshotCell::new(IdentitySnapshot::default()));
    let domain = authority.trust_domain().clone();
    let endpoint = BundleEndpoint::new(&url("https://a.test/"), source.clone(), domain);
    let log = Log::start();
    let told = || log.text().matches("there is none").count();
    for times in [1, 2] {
        for _ in 0..3 {
            let (answer, _) = ask(&endpoint.clone(), get("/")).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(told(), times, "{}", log.text());
        source.publish(authority.snapshot("/s"));
        ask(&endpoint, get("/")).await;
        source.publish(IdentitySnapshot::default());
    }
}

#[tokio::test]
async fn a_server_on_a_socket_ends_when_it_is_told_to() {
    let authority = TestAuthority::new("a.test");
    let source = authority.source("/bundles");
    let tls = EndpointTls::https_spiffe(source.clone());
    let server = BundleServer::bind("127.0.0.1:0", tls).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let at = url(&format!("https://localhost:{port}/"));
    let domain = authority.trust_domain().clone();
    let endpoint = BundleEndpoint::new(&at, source, domain.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve(endpoint, async { _ = stopped.await });
    let relationship = Relationship::https_spiffe(domain, at, id("spiffe://a.test/bundles"))
        .bootstrap(authority.bundle())
        .unwrap();
    let asking = async {
        let client = BundleClient::new();
        client
            .fetch(&relationship, None, &BundleSet::default())
            .await
            .unwrap();
        stop.send(()).unwrap();
    };
    tokio::join!(serving, asking);
    let gone = BundleClient::new()
        .fetch(&relationship, None, &BundleSet::default())
        .await;
    assert!(
        matches!(gone, Err(FetchError::Unreachable { .. })),
        "{gone:?}"
    );
}
