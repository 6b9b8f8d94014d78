//! A server of a bundle endpoint.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use spiffe_core::with_causes;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;
use tokio_stream::Stream;
use tower_service::Service;
use tracing::debug;

use super::places::{Place, Places};
use super::{BundleEndpoint, EndpointTls};
use crate::handshakes::Handshakes;
use crate::server::builder;
use crate::transport::{Transport, accepted};

/// Serves a [`BundleEndpoint`] to whoever comes, over HTTP/1.1 and HTTP/2.
///
/// As anybody may come, nobody may stay: a connection lasts a minute, and ten seconds where nothing
/// is asked. There are a thousand at most, and a hundred of one address of version 4 or one network
/// (`/64`) of version 6: where a proxy stands in between, all are its own.
#[derive(Debug)]
pub struct BundleServer<IO = TcpStream> {
    handshakes: Handshakes<IO, Guest<IO>>,
    tls: EndpointTls,
    local_addr: Option<SocketAddr>,
}

/// A connection, and its place.
type Guest<IO> = (Box<TlsStream<IO>>, Place);

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
        let (acceptor, places) = (tls.clone(), Places::new(PER_NETWORK));
        Self {
            handshakes: Handshakes::new(incoming, HANDSHAKES, move |io: IO| {
                let (acceptor, from) = (acceptor.clone(), io.remote_addr());
                let place = places.take(from);
                async move {
                    let Some(place) = place else {
                        debug!(?from, "too many connections from one network");
                        return None;
                    };
                    Some((acceptor.accept(io).await?, place))
                }
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
                guest = handshakes.next(), if !is_full => {
                    let Some(guest) = guest else { break };
                    connections.spawn(serve_one(guest, endpoint.clone(), stopped.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(handshakes);
        drop(stop);
        while connections.join_next().await.is_some() {}
    }
}

/// Serves one connection until it is over, nothing is asked, its time is up, or the server ends.
async fn serve_one<IO: Transport>(
    (stream, _place): Guest<IO>,
    endpoint: BundleEndpoint,
    mut stopped: watch::Receiver<()>,
) {
    let builder = builder();
    let asked = Notify::new();
    let service = service_fn(|request| {
        asked.notify_one();
        endpoint.clone().call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        over = &mut connection => Ok(over),
        // Nothing is ever sent: this is the end of the sender.
        _ = stopped.changed() => Err(()),
        () = silence(&asked) => Err(()),
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
        debug!(error = %with_causes(&*error), "a connection broke");
    }
}

/// Waits until nothing has been asked for a while.
async fn silence(asked: &Notify) {
    while timeout(SILENCE, asked.notified()).await.is_ok() {}
}

/// How many handshakes are carried on at a time.
const HANDSHAKES: usize = 256;
/// How many connections there are at a time.
const CONNECTIONS: usize = 1000;
/// How many of them and of the handshakes one network may have.
const PER_NETWORK: usize = 100;
/// How long a connection lasts.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a connection lasts on which nothing is asked.
const SILENCE: Duration = Duration::from_secs(10);
/// How long an answer goes on that has begun by then.
const LAST_WORDS: Duration = Duration::from_secs(5);
