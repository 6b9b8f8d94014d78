//! A full mutual handshake, ours against rustls with its own verifiers: same certificates, same
//! provider, same pipe, no resumption on either side.
#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::sync::Arc;

use criterion::Criterion;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use spiffe_benches::{Authority, DNS_NAME, Signer, TRUST_DOMAIN};
use spiffe_core::{
    X509Svid,
    authorizer::member_of,
    tls::{Acceptor, Connector, SourceExt},
};
use tokio::{io::duplex, runtime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let authority = Authority::default();
    let (acceptor, connector) = ours(&authority);
    let (bare_acceptor, bare_connector) = bare(&authority);

    let mut group = criterion.benchmark_group("handshake");
    let bare = || runtime.block_on(bare_handshake(&bare_acceptor, &bare_connector));
    group.bench_function("bare rustls", |b| b.iter(bare));
    group.bench_function("spiffe", |b| {
        b.iter(|| runtime.block_on(handshake(&acceptor, &connector)));
    });
    // The null: any difference to the first is noise.
    group.bench_function("bare rustls, once more", |b| b.iter(bare));
    group.finish();
    criterion.final_summary();
}

async fn handshake(acceptor: &Acceptor, connector: &Connector) {
    let (near, far) = duplex(PIPE);
    let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(far));
    accepted.unwrap();
    connected.unwrap();
}

async fn bare_handshake(acceptor: &TlsAcceptor, connector: &TlsConnector) {
    let (near, far) = duplex(PIPE);
    let name = DNS_NAME.try_into().unwrap();
    let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(name, far));
    accepted.unwrap();
    connected.unwrap();
}

fn ours(authority: &Authority) -> (Acceptor, Connector) {
    let server = authority.source("/server").server(member_of(TRUST_DOMAIN));
    let client = authority.source("/client").client(member_of(TRUST_DOMAIN));
    (server.acceptor(), client.connector())
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

    let identity = |path| {
        let svid: X509Svid = authority.svid(path, Signer::Root);
        let chain: Vec<_> = svid.chain().iter().map(|c| c.der().clone()).collect();
        let key = PrivatePkcs8KeyDer::from(svid.key().pkcs8_der().to_vec());
        (chain, PrivateKeyDer::from(key))
    };
    let (chain, key) = identity("/server");
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let (chain, key) = identity("/client");
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
