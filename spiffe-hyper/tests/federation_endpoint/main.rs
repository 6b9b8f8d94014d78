//! The bundle endpoint and its server.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod document;
#[path = "../federated/mod.rs"]
mod federated;
mod sequence;
mod serving;
mod tls;
mod web_identity;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use spiffe_core::TrustBundle;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::BundleEndpoint;
use tokio::io::{DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

use crate::federated::{Net, WebCa};

async fn ask(endpoint: &BundleEndpoint, request: Request<()>) -> (Response<()>, Bytes) {
    let answer = endpoint.clone().oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), body)
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn read(authority: &TestAuthority, body: &[u8]) -> TrustBundle {
    let loaded = TrustBundle::from_document(authority.trust_domain().clone(), body).unwrap();
    assert!(loaded.skipped.is_empty());
    loaded.value
}

/// Notes whether a server asks for a certificate.
#[derive(Debug, Default)]
struct WhenAsked(AtomicBool);

impl ResolvesClientCert for WhenAsked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Asks a server over what any client of the web has: who believes `roots` and speaks `versions`.
async fn stranger(
    io: DuplexStream,
    roots: &WebCa,
    versions: &[&'static SupportedProtocolVersion],
) -> (StatusCode, bool) {
    let mut store = RootCertStore::empty();
    for root in roots.roots() {
        store.add(root).unwrap();
    }
    let (asked, provider) = (
        Arc::new(WhenAsked::default()),
        rustls::crypto::aws_lc_rs::default_provider(),
    );
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_client_cert_resolver(asked.clone());
    let name = "h.test".try_into().unwrap();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, io)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .unwrap();
    let request = Request::get("/").header("host", "h.test");
    let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.unwrap(),
        _ = connection => panic!("the connection ended"),
    };
    (answer.status(), asked.0.load(Ordering::SeqCst))
}

fn dial(net: &Net, host: &str) -> DuplexStream {
    let (near, far) = duplex(64 * 1024);
    net.connect(host, far);
    near
}
