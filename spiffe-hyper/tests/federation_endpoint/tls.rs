//! What TLS at an endpoint takes and shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SignatureScheme};
use spiffe_core::testing::TestAuthority;
use spiffe_core::{BundleSet, IdentitySnapshot};
use spiffe_hyper::federation::{BundleEndpoint, EndpointTls, FetchError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::federated::{Net, WebCa, self_serving, url};
use crate::{WhenAsked, dial, stranger};

// conformance: FD-11+ FD-12+ FD-20+ FD-20-
#[tokio::test]
async fn anybody_may_ask_by_tls_1_2_and_1_3_and_is_asked_nothing() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let at = url("https://h.test/");
    let endpoint = BundleEndpoint::new(
        &at,
        authority.source("/s"),
        authority.trust_domain().clone(),
    );
    net.serve("h.test", ca.endpoint(&at), endpoint);
    for version in [&TLS12, &TLS13] {
        let answer = stranger(dial(&net, "h.test"), &ca, &[version]).await;
        assert_eq!(answer, (StatusCode::OK, false), "{version:?}");
    }
}

// conformance: FD-39+ FD-39-
#[tokio::test]
async fn by_svid_too_nobody_is_asked_who_they_are() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let relationship = self_serving(&authority);
    let source = authority.source("/bundles");
    let endpoint = BundleEndpoint::new(
        relationship.url(),
        source.clone(),
        authority.trust_domain().clone(),
    );
    net.serve("a.test", EndpointTls::https_spiffe(source), endpoint);
    net.client(&ca)
        .fetch(&relationship, None, &BundleSet::default())
        .await
        .unwrap();
    let asked = Arc::new(WhenAsked::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in [&TLS12, &TLS13] {
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible))
            .with_client_cert_resolver(asked.clone());
        let connector = TlsConnector::from(Arc::new(config));
        let io = dial(&net, "a.test");
        let mut tls = connector
            .connect("a.test".try_into().unwrap(), io)
            .await
            .unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        tls.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert!(!asked.0.load(Ordering::SeqCst), "{version:?}");
    }
}

/// Believes any server; for a test that is about something else.
#[derive(Debug)]
struct Gullible;

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// conformance: FD-11- FD-12-
#[tokio::test]
async fn who_speaks_older_tls_or_none_is_turned_away() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let at = url("https://h.test/");
    let endpoint = || {
        BundleEndpoint::new(
            &at,
            authority.source("/s"),
            authority.trust_domain().clone(),
        )
    };
    net.serve("h.test", ca.endpoint(&at), endpoint());
    let spiffe = EndpointTls::https_spiffe(authority.source("/s"));
    net.serve("a.test", spiffe, endpoint());
    let (tls10, tls12) = ([3, 1], [3, 3]);
    let (rsa_cbc, rsa_gcm) = ([0x00, 0x2f], [0x00, 0x9c]);
    let (ecdhe_cbc, ecdhe_gcm) = ([0xc0, 0x09], [0xc0, 0x2b]);
    let (alert, handshake) = (21, 22);
    for host in ["h.test", "a.test"] {
        for (what, version, suite, expected) in [
            ("what is good", tls12, ecdhe_gcm, handshake),
            ("TLS 1.0", tls10, ecdhe_cbc, alert),
            ("keys sent under RSA", tls12, rsa_gcm, alert),
            ("keys sent under RSA, CBC", tls12, rsa_cbc, alert),
            ("CBC", tls12, ecdhe_cbc, alert),
        ] {
            let mut io = dial(&net, host);
            io.write_all(&client_hello(version, suite)).await.unwrap();
            let mut answer = [0];
            io.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [expected], "{what} at {host}");
        }
        let mut io = dial(&net, host);
        io.write_all(b"GET / HTTP/1.1\r\nhost: h.test\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

/// A client's first words that offer one cipher suite, and no version but this one.
fn client_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let groups = [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17];
    let points = [0x00, 0x0b, 0x00, 0x02, 0x01, 0x00];
    let signatures = [0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x04, 0x01];
    let extensions = [&groups[..], &points, &signatures].concat();
    let body = [
        &version[..],
        &[7; 32],
        &[0, 0, 2],
        &suite,
        &[1, 0, 0, u8::try_from(extensions.len()).unwrap()],
        &extensions,
    ]
    .concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

// conformance: FD-38+ FD-38-
#[tokio::test]
async fn what_the_server_presents_is_its_newest_valid_svid() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let relationship = self_serving(&authority);
    let source = authority.source("/bundles");
    let endpoint = BundleEndpoint::new(
        relationship.url(),
        source.clone(),
        authority.trust_domain().clone(),
    );
    net.serve(
        "a.test",
        EndpointTls::https_spiffe(source.clone()),
        endpoint,
    );
    let client = net.client(&ca);
    let show = |svids| source.publish(IdentitySnapshot::new(svids, authority.bundle().into()));
    show(vec![authority.svid("/bundles")]);
    client
        .fetch(&relationship, None, &BundleSet::default())
        .await
        .unwrap();
    for svids in [
        vec![authority.draft("/bundles").expired().svid()],
        vec![authority.svid("/other")],
        vec![],
    ] {
        show(svids);
        let error = client
            .fetch(&relationship, None, &BundleSet::default())
            .await;
        let error = error.unwrap_err();
        assert!(matches!(error, FetchError::Handshake(_)), "{error}");
    }
}
