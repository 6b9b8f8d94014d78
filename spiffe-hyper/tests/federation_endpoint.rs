//! The bundle endpoint and its server.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod federated;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use federated::{Log, MINUTE, Net, WebCa, id, self_serving, url};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use spiffe_core::clock::Clock;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::{BundleSet, IdentitySnapshot, TrustBundle};
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, BundleServer, EndpointTls, EndpointUrl, FetchError, Relationship,
    WebIdentityError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

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

// conformance: FD-21+ FD-21- FD-22+ FD-23+ FD-23- FD-40+ FD-40- FD-41+ FD-42+ FD-42- TB-2+ TB-4+ TB-6+
#[tokio::test]
async fn the_newest_bundle_is_served_as_the_standard_has_it() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let source = old.source("/s");
    let endpoint = BundleEndpoint::new(
        &url("https://a.test/bundle.json"),
        source.clone(),
        old.trust_domain().clone(),
    );
    let mut numbers = Vec::new();
    for authority in [&old, &new, &old] {
        source.publish(authority.snapshot("/s"));
        let (answer, body) = ask(&endpoint, get("/bundle.json?whatever")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(
            answer.headers()["cache-control"],
            "no-cache",
            "nobody keeps it unasked"
        );
        assert_eq!(answer.headers()["content-length"], body.len().to_string());
        assert!(
            std::str::from_utf8(&body).unwrap().starts_with('{'),
            "no byte order mark"
        );
        let bundle = read(authority, &body);
        let expected = authority.bundle();
        assert_eq!(bundle.x509_authorities(), expected.x509_authorities());
        assert_eq!(bundle.jwt_authorities(), expected.jwt_authorities());
        assert_eq!(bundle.refresh_hint(), Some(5 * MINUTE));
        numbers.push(bundle.sequence().unwrap());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let hinted = endpoint.refresh_hint(MINUTE);
    source.publish(new.snapshot("/s"));
    let (_, body) = ask(&hinted, get("/bundle.json")).await;
    assert_eq!(read(&new, &body).refresh_hint(), Some(MINUTE));
}

#[tokio::test]
async fn only_reading_at_the_one_path_is_answered() {
    let authority = TestAuthority::new("a.test");
    let at = url("https://a.test/bundle.json");
    let bundle = authority.bundle();
    let endpoint = BundleEndpoint::by(&at, move || Some(bundle.clone()));
    for path in ["/", "/bundle.json/", "/bundle", "//bundle.json"] {
        let (answer, _) = ask(&endpoint, get(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = get("/bundle.json");
        *request.method_mut() = method.clone();
        let (answer, _) = ask(&endpoint, request).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
    let (whole, body) = ask(&endpoint, get("/bundle.json")).await;
    let mut request = get("/bundle.json");
    *request.method_mut() = Method::HEAD;
    let (head, none) = ask(&endpoint, request).await;
    assert_eq!((head.status(), none.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers(), whole.headers());
    assert!(!body.is_empty());

    let nothing = BundleEndpoint::by(&at, || None);
    let (answer, _) = ask(&nothing, get("/bundle.json")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn who_has_it_already_is_told_so_and_sent_nothing() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let source = old.source("/s");
    let domain = old.trust_domain().clone();
    let endpoint = BundleEndpoint::new(&url("https://a.test/"), source.clone(), domain);
    let (answer, _) = ask(&endpoint, get("/")).await;
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let asked_with = |known: String| {
        let mut request = get("/");
        let known = known.parse().unwrap();
        request.headers_mut().insert("if-none-match", known);
        ask(&endpoint, request)
    };
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let (answer, body) = asked_with(known.clone()).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(answer.headers()["etag"], tag);
        assert!(body.is_empty());
    }
    for known in ["\"x\"", "", ",,", "\""] {
        let (answer, _) = asked_with(known.to_owned()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{known}");
    }
    source.publish(new.snapshot("/s"));
    let (answer, body) = asked_with(tag.clone()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        read(&new, &body).x509_authorities(),
        new.bundle().x509_authorities()
    );
}

// conformance: FD-24+ FD-25+ FD-25- FD-44+ FD-44-
#[tokio::test]
async fn an_endpoint_that_moved_says_where_to_and_that_it_is_for_now() {
    let (here, there) = (url("https://a.test/old"), url("https://b.test:8443/new"));
    let endpoint = BundleEndpoint::elsewhere(&here, &there);
    let (answer, _) = ask(&endpoint, get("/old")).await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "https://b.test:8443/new");
    // There is no way to say another kind of target.
    assert!("http://b.test/".parse::<EndpointUrl>().is_err());
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

// conformance: FD-18+ FD-19+ FD-19-
#[tokio::test(start_paused = true)]
async fn the_certificate_of_the_web_is_for_the_host_and_renewed_without_a_word() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let at = url("https://h.test/");
    let (certificate, key) = ca.files("h.test");
    let tls = EndpointTls::https_web(&at, &certificate, &key).unwrap();
    let endpoint = BundleEndpoint::new(
        &at,
        authority.source("/s"),
        authority.trust_domain().clone(),
    );
    net.serve("h.test", tls, endpoint);
    let relationship = Relationship::https_web(authority.trust_domain().clone(), at.clone());
    let fetch = async |client: &BundleClient| {
        client
            .fetch(&relationship, None, &BundleSet::default())
            .await
    };
    let (of_old, later) = (net.client(&ca), WebCa::new());
    let of_new = net.client(&later);
    fetch(&of_old).await.unwrap();
    assert!(fetch(&of_new).await.is_err());

    let replace = |(new_certificate, new_key): (String, String)| {
        std::fs::write(&certificate, new_certificate).unwrap();
        std::fs::write(&key, new_key).unwrap();
    };
    // What is no good is not taken: half of a pair, another host's, of another time, no PEM.
    let (other, own) = (later.pem("h.test"), later.pem("h.test"));
    for bad in [
        (other.0, own.1.clone()),
        later.pem("g.test"),
        later.pem_of("h.test", 2020),
        later.pem_of("h.test", 3000),
        (String::new(), own.1.clone()),
        (own.0.clone(), String::new()),
    ] {
        replace(bad);
        tokio::time::sleep(Duration::from_secs(11)).await;
        fetch(&of_old).await.unwrap();
    }
    replace(own);
    tokio::time::sleep(Duration::from_secs(11)).await;
    fetch(&of_new).await.unwrap();
    assert!(fetch(&of_old).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_told_its_url_presents_what_it_has_at_the_root() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let (certificate, key) = ca.files("h.test");
    let tls = EndpointTls::https_web_of_any_host(&certificate, &key).unwrap();
    let bundle = authority.bundle();
    let endpoint = BundleEndpoint::at_root(move || Some(bundle.clone()));
    net.serve("h.test", tls.look_every(Duration::from_secs(60)), endpoint);
    let (client, later) = (net.client(&ca), WebCa::new());
    let fetch = async |client: &BundleClient, at: &str| {
        let relationship = Relationship::https_web(authority.trust_domain().clone(), url(at));
        let believed = BundleSet::default();
        client.fetch(&relationship, None, &believed).await
    };
    let fetched = fetch(&client, "https://h.test/").await.unwrap();
    assert_eq!(
        fetched.held.bundle().x509_authorities(),
        authority.bundle().x509_authorities()
    );
    let elsewhere = fetch(&client, "https://h.test/bundle").await.unwrap_err();
    assert!(matches!(elsewhere, FetchError::Status(status) if status == 404));

    // The files are looked at as often as was said.
    let (new_certificate, new_key) = later.pem("h.test");
    std::fs::write(&certificate, new_certificate).unwrap();
    std::fs::write(&key, new_key).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    fetch(&client, "https://h.test/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let of_new = net.client(&later);
    fetch(&of_new, "https://h.test/").await.unwrap();
}

// conformance: FD-19-
#[test]
fn files_that_are_no_identity_of_the_host_are_refused_at_the_start() {
    let ca = WebCa::new();
    let (certificate, key) = ca.files("h.test");
    let (_, other_key) = ca.files("g.test");
    let absent = key.with_extension("absent");
    type Check = fn(&WebIdentityError) -> bool;
    let (folder, large) = (key.parent().unwrap(), key.with_extension("large"));
    let file = std::fs::File::create(&large).unwrap();
    file.set_len(5 << 20).unwrap();
    let fifo = key.with_extension("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let cases: [(&str, &Path, &Path, Check); 9] = [
        (
            "https://g.test/",
            &certificate,
            &key,
            |e| matches!(e, WebIdentityError::OtherHost { host, .. } if host == "g.test"),
        ),
        ("https://10.0.0.7/", &certificate, &key, |e| {
            matches!(e, WebIdentityError::OtherHost { .. })
        }),
        ("https://h.test/", &certificate, &other_key, |e| {
            matches!(e, WebIdentityError::Key { .. })
        }),
        ("https://h.test/", &key, &certificate, |e| {
            matches!(e, WebIdentityError::Pem { .. })
        }),
        ("https://h.test/", &absent, &key, |e| {
            matches!(e, WebIdentityError::File { .. })
        }),
        ("https://h.test/", &fifo, &key, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", &certificate, &fifo, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", folder, &key, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", &large, &key, |e| {
            matches!(e, WebIdentityError::TooLarge { .. })
        }),
    ];
    for (at, certificate, key, check) in cases {
        let refused = EndpointTls::https_web(&url(at), certificate, key).unwrap_err();
        assert!(check(&refused), "{at}: {refused}");
    }
}

#[test]
fn a_certificate_of_another_time_is_refused_at_the_start() {
    let ca = WebCa::new();
    let (certificate, key) = ca.files("h.test");
    let refused = |year| {
        let (new_certificate, new_key) = ca.pem_of("h.test", year);
        std::fs::write(&certificate, new_certificate).unwrap();
        std::fs::write(&key, new_key).unwrap();
        EndpointTls::https_web(&url("https://h.test/"), &certificate, &key).unwrap_err()
    };
    let why = refused(2020);
    assert!(matches!(why, WebIdentityError::Expired { .. }), "{why}");
    let why = refused(3000);
    assert!(matches!(why, WebIdentityError::NotYetValid { .. }), "{why}");
}

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

// conformance: TB-3+ TB-3-
#[tokio::test]
async fn the_number_goes_on_growing_where_a_server_begins_anew() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let mut last = 0;
    for (authority, hour) in [(&old, 1), (&new, 2), (&old, 3)] {
        let now = UNIX_EPOCH + Duration::from_secs(3600 * hour);
        let bundle = authority.bundle();
        let endpoint = BundleEndpoint::by(&url("https://a.test/"), move || Some(bundle.clone()));
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(now));
        let (_, body) = ask(&endpoint.clock(clock), get("/")).await;
        let number = read(authority, &body).sequence().unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

// conformance: TB-3+ TB-3-
#[tokio::test]
async fn the_number_stays_above_the_last_one_also_where_the_clock_was_set_back() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let at = |authority: &TestAuthority, hour: u64| {
        let bundle = authority.bundle();
        let endpoint = BundleEndpoint::by(&url("https://a.test/"), move || Some(bundle.clone()));
        endpoint.clock(Arc::new(TestClock::at(
            UNIX_EPOCH + Duration::from_secs(3600 * hour),
        )))
    };
    let before = at(&old, 9);
    assert_eq!(before.sequence(), None);
    ask(&before, get("/")).await;
    let last = before.sequence().unwrap();
    let after = at(&new, 1).sequence_above(last);
    let (_, body) = ask(&after, get("/")).await;
    assert_eq!(read(&new, &body).sequence(), Some(last + 1));
    assert_eq!(after.clone().sequence(), Some(last + 1));
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
