//! rust-spiffe as a peer; see ../README.md.

use std::{collections::HashSet, error::Error, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, ServerName};
use spiffe::{JwtSource, JwtSvid, SpiffeId, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use spiffe_rustls_tokio::{TlsAcceptor, TlsConnector};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use x509_parser::parse_x509_certificate;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "usage: interop-rust-spiffe (who | serve ADDRESS CLIENT-ID | \
                     call ADDRESS SERVER-ID RENEWALS | jwt-mint AUDIENCE | jwt-check AUDIENCE TOKEN)";
const HELLO: &[u8] = b"hello\n";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["who"] => {
            println!("{}", X509Source::new().await?.svid()?.spiffe_id());
            Ok(())
        }
        ["serve", address, client] => serve(address, client).await,
        ["call", address, server, renewals] => call(address, server, renewals.parse()?).await,
        ["jwt-mint", audience] => {
            let svid = JwtSource::new().await?.fetch_jwt_svid([audience]).await?;
            println!("{}", svid.token());
            Ok(())
        }
        ["jwt-check", audience, token] => {
            let source = JwtSource::new().await?;
            let svid = JwtSvid::parse_and_validate(token, &source, &[audience])?;
            println!("{}", svid.spiffe_id());
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

async fn serve(address: &str, client: &str) -> Outcome<()> {
    let source = X509Source::new().await?;
    let config = mtls_server(source)
        .authorize(authorizer::exact([client])?)
        .build()?;
    let acceptor = TlsAcceptor::new(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    println!("listening");
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(why) = answer(&acceptor, tcp).await {
                eprintln!("refused: {why:?}");
            }
        });
    }
}

async fn answer(acceptor: &TlsAcceptor, tcp: TcpStream) -> Outcome<()> {
    let (mut stream, peer) = acceptor.accept(tcp).await?;
    let mut said = [0; HELLO.len()];
    stream.read_exact(&mut said).await?;
    let serial = serial(stream.get_ref().1.peer_certificates())?;
    let line = format!("{} {serial}\n", known(peer.spiffe_id())?);
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn call(address: &str, server: &str, renewals: usize) -> Outcome<()> {
    let source = X509Source::new().await?;
    let config = mtls_client(source)
        .authorize(authorizer::exact([server])?)
        .build()?;
    let connector = TlsConnector::new(Arc::new(config));
    let (mut calls, mut theirs, mut ours) = (0, HashSet::new(), HashSet::new());
    while theirs.len().min(ours.len()) <= renewals {
        if calls > 0 {
            sleep(Duration::from_millis(100)).await;
        }
        let (seen, told) = ask(&connector, address).await?;
        calls += 1;
        theirs.insert(seen);
        ours.insert(told);
    }
    let (theirs, ours) = (theirs.len() - 1, ours.len() - 1);
    println!("{calls} calls, {theirs} renewals of theirs, {ours} of ours");
    Ok(())
}

/// What the server's certificate says, and what it says of ours.
async fn ask(connector: &TlsConnector, address: &str) -> Outcome<(String, String)> {
    // Any name: the certificate has none.
    let name = ServerName::try_from("peer.test")?;
    let (mut stream, peer) = connector.connect_addr(address.parse()?, name).await?;
    known(peer.spiffe_id())?;
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    let mut told = String::new();
    stream.read_to_string(&mut told).await?;
    if told.is_empty() {
        return Err("the server said nothing".into());
    }
    Ok((serial(stream.get_ref().1.peer_certificates())?, told))
}

fn known(id: Option<&SpiffeId>) -> Outcome<&SpiffeId> {
    id.ok_or_else(|| "the peer has no SPIFFE ID".into())
}

fn serial(chain: Option<&[CertificateDer<'_>]>) -> Outcome<String> {
    let leaf = chain.and_then(<[_]>::first).ok_or("no certificate")?;
    let (_, leaf) = parse_x509_certificate(leaf)?;
    Ok(leaf.raw_serial_as_string())
}
