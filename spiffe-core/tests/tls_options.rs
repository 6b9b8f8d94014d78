//! What may be chosen about TLS, and what it is where nothing is chosen.
#![expect(clippy::unwrap_used, reason = "a test")]

use rustls::crypto::aws_lc_rs::default_provider as provider;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::Acceptor;
use rustls::version::TLS12;
use rustls::{ClientConnection, NamedGroup, ProtocolVersion, ServerConnection};
use rustls_pki_types::ServerName;
use spiffe_core::SourceExt;
use spiffe_core::authorizer::anyone;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{ClientTls, ServerTls};

#[test]
fn tls_13_with_x25519mlkem768_where_nothing_is_said() {
    let (server, client) = sides();
    let (server, client) = shake(server, client).unwrap();
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = client.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn tls_12_is_spoken_where_it_is_allowed_and_not_otherwise() {
    for (allowed, spoken) in [(true, Some(ProtocolVersion::TLSv1_2)), (false, None)] {
        let (server, client) = sides();
        // A server that cannot do better, with our certificate.
        let old = rustls::ServerConfig::builder_with_provider(provider().into())
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(server.into_rustls().cert_resolver.clone());
        let shaken = pump(old, client.tls12(allowed).into_rustls());
        let version = shaken
            .ok()
            .and_then(|(server, _)| server.protocol_version());
        assert_eq!(version, spoken, "allowed: {allowed}");
    }
    // Where both can do better they do, whatever is allowed.
    let (server, client) = sides();
    let (server, _) = shake(server.tls12(true), client.tls12(true)).unwrap();
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn a_provider_is_taken_if_it_has_tls_13_and_refused_if_not() {
    let (server, client) = sides();
    let classic = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::SECP256R1],
        ..provider()
    };
    let client = client.crypto_provider(classic.into()).unwrap();
    let (_, client) = shake(server.clone(), client).unwrap();
    let group = client.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::secp256r1);

    let empty = CryptoProvider {
        cipher_suites: vec![],
        ..provider()
    };
    server.crypto_provider(empty.into()).unwrap_err();
}

#[tokio::test]
async fn a_name_is_told_where_that_is_asked_for_and_never_checked() {
    for name in [None, Some("ledger.example")] {
        let (server, mut client) = sides();
        if let Some(name) = name {
            client = client.server_name(name).unwrap();
        }
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let connector = client.connector();
        let hello = tokio_rustls::LazyConfigAcceptor::new(Acceptor::default(), ours);
        let (connected, told) = tokio::join!(connector.connect(theirs), async {
            let start = hello.await.unwrap();
            let told = start.client_hello().server_name().map(ToOwned::to_owned);
            start
                .into_stream(server.into_rustls().into())
                .await
                .unwrap();
            told
        });
        connected.unwrap();
        assert_eq!(told.as_deref(), name);
    }
    let (_, client) = sides();
    client.server_name("no name").unwrap_err();
}

fn sides() -> (ServerTls, ClientTls) {
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    (server.server(anyone()), client.client(anyone()))
}

type Shaken = Result<(ServerConnection, ClientConnection), rustls::Error>;

fn shake(server: ServerTls, client: ClientTls) -> Shaken {
    pump(server.into_rustls(), client.into_rustls())
}

fn pump(server: rustls::ServerConfig, client: rustls::ClientConfig) -> Shaken {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(client.into(), name)?;
    let mut server = ServerConnection::new(server.into())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut sent = &bytes[..];
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut sent = &bytes[..];
        while !sent.is_empty() {
            client.read_tls(&mut sent).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((server, client))
}
