//! Two peers over plain mutual TLS, without any protocol on top: an echo among the members of one
//! trust domain. Both ends run in this process, with the identity that the Workload API gives it.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example plain_tokio`
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use spiffe_core::authorizer::member_of;
use spiffe_core::{IdentitySource, SourceExt, X509Source};
use spiffe_examples::Failed;
use spiffe_hyper::{Connector, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let home = match source.snapshot().svid() {
        Some(svid) => svid.id().trust_domain(),
        None => return Err("the identity was withdrawn".into()),
    };
    let server = source.server(member_of(home.clone()));
    let client = Connector::new(source.client(member_of(home)));

    let mut listener = Listener::bind("127.0.0.1:0", server).await?;
    let address = listener.local_addr().ok_or("no address")?.to_string();
    let serving = async {
        let mut stream = listener.accept().await?;
        println!("server: talking to {}", stream.peer().id());
        let mut said = [0; 5];
        stream.read_exact(&mut said).await?;
        stream.write_all(&said).await?;
        stream.shutdown().await?;
        Ok(())
    };
    let calling = async {
        let mut stream = client.connect(&address).await?;
        println!("client: talking to {}", stream.peer().id());
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut echo = String::new();
        stream.read_to_string(&mut echo).await?;
        println!("client: heard {echo:?}");
        Ok::<_, Failed>(())
    };
    tokio::try_join!(serving, calling)?;
    Ok(())
}
