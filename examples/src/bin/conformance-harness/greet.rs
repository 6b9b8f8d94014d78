//! The port of mutual TLS: who proves to be somebody is told who, and whoever does not hears nothing.

use std::io;

use spiffe_core::tls::PeerStream;
use spiffe_hyper::Listener;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tracing::info;

/// Greets all who connect. It ends only where no more can come.
pub(crate) async fn serve(mut listener: Listener) -> io::Result<()> {
    let mut greetings = JoinSet::new();
    loop {
        let stream = listener.accept().await?;
        greetings.spawn(async move {
            if let Err(error) = greet(stream).await {
                info!(%error, "a greeting was not heard");
            }
        });
        while greetings.try_join_next().is_some() {}
    }
}

async fn greet(mut stream: PeerStream<TcpStream>) -> io::Result<()> {
    let greeting = format!("{}\n", stream.peer().id());
    stream.write_all(greeting.as_bytes()).await?;
    stream.shutdown().await
}
