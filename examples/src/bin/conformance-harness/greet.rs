//! The port of mutual TLS: who proves to be somebody is told who, and whoever does not hears nothing.

use std::error::Error;
use std::io;

use spiffe_core::tls::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::info;

/// Greets all who connect. It ends only where no more can come.
pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor) -> io::Result<()> {
    let mut greetings = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        greetings.spawn(async move {
            if let Err(error) = greet(&acceptor, tcp).await {
                info!(error, "nobody was greeted");
            }
        });
        while greetings.try_join_next().is_some() {}
    }
}

async fn greet(acceptor: &Acceptor, tcp: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut stream = acceptor.accept(tcp).await?;
    let greeting = format!("{}\n", stream.peer().id());
    stream.write_all(greeting.as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
