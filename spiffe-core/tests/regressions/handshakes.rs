//! Handshakes of which others make something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use spiffe_core::authorizer::{anyone, member_of};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{Impostor, TestAuthority};
use spiffe_core::tls::{HandshakeError, ServerTls, SourceExt};
use spiffe_core::verify::{self, JwtRules, PeerError, VerifyError};
use spiffe_core::x509::X509Error;
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, Peer, with_causes};
use tokio::io::duplex;

use crate::Outcome;

/// go-spiffe verifies all of a leaf but this.
#[tokio::test]
async fn a_leaf_that_names_a_bare_trust_domain_is_nobody_in_a_handshake() {
    let ca = TestAuthority::new("a.test");
    let impostor = ca.draft("/web").named("spiffe://a.test").impostor();
    let (as_client, as_server) = present(&ca, &impostor).await;
    for outcome in [as_client, as_server] {
        let why = outcome.unwrap_err();
        let root_path = matches!(
            &why,
            HandshakeError::Unverified(VerifyError::Leaf(X509Error::RootPath))
        );
        assert!(root_path, "{why}");
    }
}

/// The Python and .NET libraries and two proxies take the first name, or any.
#[tokio::test]
async fn a_leaf_of_two_names_is_nobody_in_a_handshake() {
    let ca = TestAuthority::new("a.test");
    let impostor = ca.draft("/web").also_named("/ops").impostor();
    let (as_client, as_server) = present(&ca, &impostor).await;
    for outcome in [as_client, as_server] {
        let why = with_causes(&outcome.unwrap_err());
        assert!(why.contains("URI"), "{why}");
    }
}

/// The Python library puts the authorities of all trust domains in one pot, and takes none out.
#[tokio::test]
async fn a_federated_authority_vouches_for_its_own_trust_domain_alone_and_while_it_is_federated() {
    let (ours, theirs) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let knows = |known: &[&TestAuthority]| {
        let bundles = known.iter().map(|ca| ca.bundle()).collect();
        IdentitySnapshot::new(vec![ours.svid("/s")], bundles)
    };
    let cell = Arc::new(SnapshotCell::new(knows(&[&ours, &theirs])));
    let tls = cell.server(anyone());
    let forger = theirs.draft("/web").named("spiffe://a.test/web").impostor();
    let why = accept(&tls, &forger).await.unwrap_err();
    let unknown = VerifyError::UnknownAuthority(ours.trust_domain().clone());
    assert!(
        matches!(&why, HandshakeError::Unverified(it) if *it == unknown),
        "{why}"
    );

    let guest = theirs.draft("/web").impostor();
    accept(&tls, &guest).await.unwrap();
    cell.publish(knows(&[&ours]));
    let why = accept(&tls, &guest).await.unwrap_err();
    let unknown = VerifyError::UnknownTrustDomain(theirs.trust_domain().clone());
    assert!(
        matches!(&why, HandshakeError::Unverified(it) if *it == unknown),
        "{why}"
    );
}

/// PyPI's spiffe-tls adds the intermediates of each renewal to those before.
#[tokio::test]
async fn old_intermediates_do_not_pile_up() {
    let root = TestAuthority::new("a.test");
    let source = root.source("/server");
    let acceptor = source.server(anyone()).acceptor();
    let connector = root.source("/client").client(anyone()).connector();
    for _ in 0..5 {
        let renewed = root.intermediate().authority().snapshot("/server");
        source.publish(renewed.clone());
        let (near, far) = duplex(64 * 1024);
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
        ours.unwrap();
        let chain = renewed.svid().unwrap().chain().iter();
        let chain: Vec<_> = chain.map(|certificate| certificate.der().clone()).collect();
        assert_eq!(chain.len(), 2, "leaf and intermediate");
        assert_eq!(theirs.unwrap().peer().certificates(), chain);
    }
}

/// Of a library that lets in everybody of every federated trust domain, unless it is told not to.
#[tokio::test]
async fn who_is_believed_is_not_let_in_for_that() {
    let (ours, theirs) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let bundles = [ours.bundle(), theirs.bundle()].into_iter().collect();
    let cell = IdentitySnapshot::new(vec![ours.svid("/s")], bundles);
    let cell = Arc::new(SnapshotCell::new(cell));
    let tls = cell.server(member_of(ours.trust_domain().clone()));
    let why = accept(&tls, &theirs.draft("/web").impostor())
        .await
        .unwrap_err();
    assert!(matches!(why, HandshakeError::Denied(_)), "{why}");
}

/// One library turns "may do without a certificate" into "any will do".
#[tokio::test]
async fn where_a_certificate_is_optional_a_bad_one_is_refused_all_the_same() {
    let ca = TestAuthority::new("a.test");
    let tls = ca.source("/s").server(anyone()).client_auth_optional();
    for impostor in [
        ca.draft("/web").signed_by_stranger().impostor(),
        ca.draft("/web").also_named("/ops").impostor(),
        ca.draft("/web").with_foreign_key().impostor(),
    ] {
        let (ours, theirs) = duplex(64 * 1024);
        let acceptor = tls.acceptor();
        let (accepted, _) = tokio::join!(acceptor.accept_any(ours), impostor.connect(theirs));
        accepted.unwrap_err();
    }
}

/// rust-spiffe 0.19 has two sorts of material, and handshakes fail while the newer one is made of the
/// other; one that is under way fails with it.
#[tokio::test]
async fn a_rotation_in_the_middle_of_a_handshake_harms_nobody() {
    let ca = TestAuthority::new("a.test");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    let rotating = |cell: &Arc<SnapshotCell>, path| {
        let (cell, fresh) = (cell.clone(), ca.snapshot(path));
        move |_: &Peer| {
            cell.publish(fresh.clone());
            Ok(())
        }
    };
    // A client is asked to sign after it has judged the server, so its own material changes between.
    let client_tls = client.client(rotating(&client, "/c"));
    let server_tls = server.server(rotating(&server, "/s"));
    let (acceptor, connector) = (server_tls.acceptor(), client_tls.connector());
    for _ in 0..3 {
        let (ours, theirs) = duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
        accepted.unwrap().peer().revalidate().unwrap();
        connected.unwrap().peer().revalidate().unwrap();
    }
    assert!(server.generation() > 3 && client.generation() > 3);
}

/// Some libraries ask the process for its provider, and panic where two crates have chosen two.
#[tokio::test]
async fn the_provider_of_the_process_is_nobodys_business() {
    let useless = CryptoProvider {
        cipher_suites: vec![],
        kx_groups: vec![],
        ..aws_lc_rs::default_provider()
    };
    useless.install_default().unwrap();
    let ca = TestAuthority::new("a.test");
    let tls = ca.source("/s").server(anyone());
    accept(&tls, &ca.draft("/web").impostor()).await.unwrap();
    let token = ca.jwt_svid("/web", &["db"]);
    let (bundles, now) = (BundleSet::from(ca.bundle()), SystemClock.now());
    verify::jwt(token.token(), &bundles, &["db"], now, &JwtRules::default()).unwrap();
}

/// rustls wants the hints of a verifier, and whoever connects reads them.
#[tokio::test]
async fn a_stranger_is_not_told_whom_we_trust() {
    #[derive(Debug)]
    struct Listens(std::sync::Mutex<Option<usize>>);
    impl ResolvesClientCert for Listens {
        fn resolve(
            &self,
            hints: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<CertifiedKey>> {
            *self.0.lock().unwrap() = Some(hints.len());
            None
        }

        fn has_certs(&self) -> bool {
            true
        }
    }
    let ca = TestAuthority::new("a.test");
    let listens = Arc::new(Listens(std::sync::Mutex::new(None)));
    let mut config = ca.source("/c").client(anyone()).into_rustls();
    config.client_auth_cert_resolver = listens.clone();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let acceptor = ca.source("/s").server(anyone()).acceptor();
    let (ours, theirs) = duplex(64 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let (accepted, _) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
    accepted.unwrap_err();
    assert_eq!(
        *listens.0.lock().unwrap(),
        Some(0),
        "asked, and told nothing"
    );
}

/// A machine that slept wakes up with everything expired, and no timer has fired.
#[tokio::test]
async fn a_clock_that_jumps_is_noticed_at_the_next_request() {
    #[derive(Debug, Default)]
    struct Jumping(AtomicU64);
    impl Clock for Jumping {
        fn now(&self) -> SystemTime {
            SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }
    let ca = TestAuthority::new("a.test");
    let clock = Arc::new(Jumping::default());
    let tls = ca.source("/s").server(anyone()).clock(clock.clone());
    let stream = accept(&tls, &ca.draft("/web").impostor()).await.unwrap();
    stream.peer().revalidate().unwrap();
    clock.0.store(24 * 3600, Ordering::SeqCst);
    let expired = PeerError::from(VerifyError::Expired);
    let found = stream.peer().revalidate().unwrap_err();
    // Its authority has ended with it.
    let no_authority = VerifyError::NoAuthority(ca.trust_domain().clone()).into();
    assert!([expired, no_authority].contains(&found), "{found}");
}

/// It presents itself to a server of ours, and is dialled by a client of ours.
async fn present(ca: &TestAuthority, impostor: &Impostor) -> (Outcome, Outcome) {
    let as_client = accept(&ca.source("/s").server(anyone()), impostor).await;
    let connector = ca.source("/c").client(anyone()).connector();
    let (ours, theirs) = duplex(64 * 1024);
    let (as_server, _) = tokio::join!(connector.connect(ours), impostor.accept(theirs));
    (as_client, as_server)
}

async fn accept(tls: &ServerTls, impostor: &Impostor) -> Outcome {
    let acceptor = tls.acceptor();
    let (ours, theirs) = duplex(64 * 1024);
    let (accepted, _) = tokio::join!(acceptor.accept(ours), impostor.connect(theirs));
    accepted
}
