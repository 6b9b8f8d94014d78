//! Two peers over plain mutual TLS, without any protocol on top: an echo among the members of one
//! trust domain. Both ends run in this process, with the identity that the Workload API gives it.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example plain_tokio`
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::{error::Error, io};

use spiffe_core::{IdentitySource, SourceExt, X509Source, authorizer::member_of};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let source = X509Source::connect().await?;
    let home = match source.snapshot().svid() {
        Some(svid) => svid.id().trust_domain(),
        None => return Err("the identity was withdrawn".into()),
    };
    let acceptor = source.server(member_of(home.clone())).acceptor();
    let connector = source.client(member_of(home)).connector();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async {
        let (tcp, _) = listener.accept().await?;
        let mut stream = acceptor.accept(tcp).await.map_err(io::Error::other)?;
        println!("server: talking to {}", stream.peer().id());
        let mut said = [0; 5];
        stream.read_exact(&mut said).await?;
        stream.write_all(&said).await?;
        stream.shutdown().await
    };
    let calling = async {
        let tcp = TcpStream::connect(address).await?;
        let mut stream = connector.connect(tcp).await.map_err(io::Error::other)?;
        println!("client: talking to {}", stream.peer().id());
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut echo = String::new();
        stream.read_to_string(&mut echo).await?;
        println!("client: heard {echo:?}");
        Ok(())
    };
    tokio::try_join!(serving, calling)?;
    Ok(())
}
