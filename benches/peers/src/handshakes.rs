//! A full mutual handshake over a pipe in memory: same certificates, same provider, same key exchange,
//! TLS 1.3, no resumption.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use spiffe_benches::{Authority, DNS_NAME, Signer, TRUST_DOMAIN};
use spiffe_core::{
    BundleSet, IdentitySnapshot,
    authorizer::member_of,
    testing::FakeWorkloadApi,
    tls::{Acceptor, Connector, SourceExt},
};
use tokio::io::duplex;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    harness::{Subject, compare},
    sources::{runtime, theirs},
};

pub(crate) fn measure() {
    let runtime = runtime();
    let authority = Authority::default();
    let (acceptor, connector) = ours(&authority);
    let (bare_acceptor, bare_connector) = bare(&authority);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let (their_acceptor, their_connector) = runtime.block_on(async {
        let api = FakeWorkloadApi::on_socket(&socket).unwrap();
        api.publish(&snapshot(&authority, "/web"));
        let pair = pair(theirs(&socket).await);
        // The source keeps what it has heard.
        drop(api);
        pair
    });
    compare(
        "A full mutual handshake, both sides (must: 0.5 % above bare rustls, in instructions)",
        vec![
            Subject::new("bare rustls", || {
                runtime.block_on(bare_handshake(&bare_acceptor, &bare_connector));
            }),
            Subject::new("spiffe-core", || {
                runtime.block_on(handshake(&acceptor, &connector)).unwrap();
            }),
            Subject::new("spiffe-rustls 0.11", || {
                runtime.block_on(bare_handshake(&their_acceptor, &their_connector));
            }),
        ],
    );
}

/// So many handshakes of ours, or of bare rustls.
pub(crate) fn repeat(kind: &str, times: u32) {
    let runtime = runtime();
    let authority = Authority::default();
    let (acceptor, connector) = ours(&authority);
    let (bare_acceptor, bare_connector) = bare(&authority);
    for _ in 0..times {
        match kind {
            "bare" => runtime.block_on(bare_handshake(&bare_acceptor, &bare_connector)),
            _ => runtime.block_on(handshake(&acceptor, &connector)).unwrap(),
        }
    }
}

pub(crate) fn snapshot(authority: &Authority, path: &str) -> IdentitySnapshot {
    let svids = vec![authority.svid(path, Signer::Root)];
    IdentitySnapshot::new(svids, BundleSet::from(authority.bundle()))
}

pub(crate) async fn handshake(acceptor: &Acceptor, connector: &Connector) -> Result<(), String> {
    let (near, far) = duplex(PIPE);
    let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(far));
    accepted.map_err(|why| why.to_string())?;
    connected.map_err(|why| why.to_string())?;
    Ok(())
}

async fn bare_handshake(acceptor: &TlsAcceptor, connector: &TlsConnector) {
    try_bare_handshake(acceptor, connector).await.unwrap();
}

pub(crate) async fn try_bare_handshake(
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
) -> Result<(), String> {
    let (near, far) = duplex(PIPE);
    let name = ServerName::try_from(DNS_NAME).unwrap();
    let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
    accepted.map_err(|why| why.to_string())?;
    connected.map_err(|why| why.to_string())?;
    Ok(())
}

fn ours(authority: &Authority) -> (Acceptor, Connector) {
    let server = authority.source("/web").server(member_of(TRUST_DOMAIN));
    let client = authority.source("/web").client(member_of(TRUST_DOMAIN));
    (server.acceptor(), client.connector())
}

/// rust-spiffe's server and client of this source.
pub(crate) fn pair(source: spiffe::X509Source) -> (TlsAcceptor, TlsConnector) {
    let members = || spiffe_rustls::authorizer::trust_domains([TRUST_DOMAIN.as_str()]).unwrap();
    let server = spiffe_rustls::mtls_server(source.clone()).authorize(members());
    let client = spiffe_rustls::mtls_client(source).authorize(members());
    (
        Arc::new(server.build().unwrap()).into(),
        Arc::new(client.build().unwrap()).into(),
    )
}

fn bare(authority: &Authority) -> (TlsAcceptor, TlsConnector) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in authority.bundle().x509_authorities() {
        roots.add(root.der().clone()).unwrap();
    }
    let roots = Arc::new(roots);
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();

    let svid = authority.svid("/web", Signer::Root);
    let identity = || {
        let chain: Vec<_> = svid.chain().iter().map(|c| c.der().clone()).collect();
        let key = PrivatePkcs8KeyDer::from(svid.key().pkcs8_der().to_vec());
        (chain, PrivateKeyDer::from(key))
    };
    let (chain, key) = identity();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let (chain, key) = identity();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_webpki_verifier(servers.unwrap())
        .with_client_auth_cert(chain, key)
        .unwrap();
    client.resumption = Resumption::disabled();
    (Arc::new(server).into(), Arc::new(client).into())
}

/// Room for either side's first flight.
const PIPE: usize = 64 * 1024;
