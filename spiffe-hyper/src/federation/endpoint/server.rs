//! A server of a bundle endpoint.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;
use tokio_stream::Stream;
use tracing::debug;

use super::{BundleEndpoint, EndpointTls};
use crate::handshakes::Handshakes;
use crate::server::builder;
use crate::transport::{Transport, accepted};

/// Serves a [`BundleEndpoint`] to whoever comes, over HTTP/1.1 and HTTP/2.
///
/// As anybody may come, nobody may stay: a connection lasts a minute, and there are a thousand at
/// most.
#[derive(Debug)]
pub struct BundleServer<IO = TcpStream> {
    handshakes: Handshakes<IO, Box<TlsStream<IO>>>,
    tls: EndpointTls,
    local_addr: Option<SocketAddr>,
}

impl BundleServer {
    /// Listens on a TCP address.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    pub async fn bind(addr: impl ToSocketAddrs, tls: EndpointTls) -> io::Result<Self> {
        Self::from_tcp(TcpListener::bind(addr).await?, tls)
    }

    /// Listens on a socket that is open already.
    ///
    /// # Errors
    ///
    /// Where the socket has no address.
    pub fn from_tcp(socket: TcpListener, tls: EndpointTls) -> io::Result<Self> {
        let local_addr = Some(socket.local_addr()?);
        let server = Self::from_incoming(accepted(socket), tls);
        Ok(Self {
            local_addr,
            ..server
        })
    }
}

impl<IO: Transport> BundleServer<IO> {
    /// Serves connections that come in elsewhere. With their end the server ends.
    pub fn from_incoming(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        tls: EndpointTls,
    ) -> Self {
        let acceptor = tls.clone();
        Self {
            handshakes: Handshakes::new(incoming, HANDSHAKES, move |io| {
                acceptor.clone().accept(io)
            }),
            tls,
            local_addr: None,
        }
    }

    /// Where we listen, if that is a TCP address.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Serves until `shutdown`, then lets answers that have begun come to their end.
    pub async fn serve(self, endpoint: BundleEndpoint, shutdown: impl Future<Output = ()>) {
        let Self {
            mut handshakes,
            tls,
            ..
        } = self;
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let (mut shutdown, mut fresh) = (pin!(shutdown), pin!(tls.keep_fresh()));
        loop {
            let is_full = connections.len() >= CONNECTIONS;
            tokio::select! {
                () = &mut shutdown => break,
                () = &mut fresh => break,
                stream = handshakes.next(), if !is_full => {
                    let Some(stream) = stream else { break };
                    connections.spawn(serve_one(stream, endpoint.clone(), stopped.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(handshakes);
        drop(stop);
        while connections.join_next().await.is_some() {}
    }
}

/// Serves one connection until it is over, its time is up, or the server ends.
async fn serve_one<IO: Transport>(
    stream: Box<TlsStream<IO>>,
    endpoint: BundleEndpoint,
    mut stopped: watch::Receiver<()>,
) {
    let builder = builder();
    let service = TowerToHyperService::new(endpoint);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        over = &mut connection => Ok(over),
        // Nothing is ever sent: this is the end of the sender.
        _ = stopped.changed() => Err(()),
        () = sleep(LIFETIME) => Err(()),
    };
    let served = match served {
        Ok(over) => over,
        Err(()) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_WORDS, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection broke");
    }
}

/// How many handshakes are carried on at a time.
const HANDSHAKES: usize = 256;
/// How many connections there are at a time.
const CONNECTIONS: usize = 1000;
/// How long a connection lasts.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long an answer goes on that has begun by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
