//! Servers that the web knows by their names, and clients that prove who they are by their SVIDs.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use spiffe_core::SourceExt;
use spiffe_core::authorizer::exactly;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{HandshakeError, PeerStream, web_client};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

const NAME: &str = "ledger.example";

#[tokio::test]
async fn the_server_shows_its_name_and_the_client_its_svid() {
    let web = TestAuthority::new("web.test");
    let prod = TestAuthority::new("prod.example");
    let peer = shake(&web, &prod, &prod, NAME).await.unwrap();
    assert_eq!(peer.peer().id().as_str(), "spiffe://prod.example/web");
}

#[tokio::test]
async fn another_name_another_root_and_a_client_of_strangers_are_refused() {
    let web = TestAuthority::new("web.test");
    let prod = TestAuthority::new("prod.example");
    let stranger = TestAuthority::new("prod.example");
    let wrong_name = shake(&web, &prod, &prod, "other.example").await;
    assert!(
        matches!(wrong_name, Err(HandshakeError::Failed(_))),
        "{wrong_name:?}"
    );
    let unverified = shake(&web, &prod, &stranger, NAME).await;
    assert!(
        matches!(unverified, Err(HandshakeError::Unverified(_))),
        "{unverified:?}"
    );
}

/// A handshake of a server in the web of `web` that knows members of `prod`, with a client of
/// `clients` that looks for `name`.
async fn shake(
    web: &TestAuthority,
    prod: &TestAuthority,
    clients: &TestAuthority,
    name: &'static str,
) -> Result<PeerStream<DuplexStream>, HandshakeError> {
    let only_web = exactly("spiffe://prod.example/web".parse().unwrap());
    let server = prod.source("/ledger").server(only_web);
    let acceptor = server.presenting(certificate(web)).acceptor();

    let mut roots = RootCertStore::empty();
    for root in web.bundle().x509_authorities() {
        roots.add(root.der().clone()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let config = web_client(clients.source("/web"), servers.build().unwrap());
    let connector = TlsConnector::from(Arc::new(config));

    let (near, far) = duplex(64 * 1024);
    let client = async {
        let name = ServerName::try_from(name).unwrap();
        if let Ok(mut stream) = connector.connect(name, far).await {
            // Until the server has judged us.
            _ = stream.read_u8().await;
        }
    };
    let server = async {
        let mut stream = acceptor.accept(near).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok(stream)
    };
    let (accepted, ()) = tokio::join!(server, client);
    accepted
}

/// What a server in the web presents.
fn certificate(web: &TestAuthority) -> Arc<dyn ResolvesServerCert> {
    let (chain, key) = web.draft("/any").also_dns(NAME).chain_and_key();
    let chain = chain.iter().map(|one| one.der().clone()).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec()));
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key);
    let certified = CertifiedKey::new(chain, key.unwrap());
    Arc::new(SingleCertAndKey::from(certified))
}
