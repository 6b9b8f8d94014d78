//! Serving over mutual TLS, on tonic's own router.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use spiffe_core::tls::{PeerStream, ServerTls};
use spiffe_core::with_causes;
use spiffe_hyper::Transport;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::Router;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{debug, warn};

use crate::incoming::{Incoming, Stream};

/// Serving over mutual TLS, on tonic's own router.
///
/// Other than tonic's `serve`, these part from a peer in time: at some moment in the last tenth of
/// its certificate's life no more calls begin on the connection (a graceful GOAWAY), and a client
/// that has a new certificate by then goes on over a new connection. The same happens at once where
/// the peer is not trusted any more or may not proceed; what is still going on then is cut off a
/// second later. An [`AuthorizeLayer`](spiffe_tower::AuthorizeLayer) or
/// [`PeerLayer`](spiffe_tower::PeerLayer) tells such a peer by a status, streams included.
pub trait RouterExt {
    /// Listens and serves for ever, in place of `serve`.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    fn serve_mtls(
        self,
        addr: SocketAddr,
        tls: ServerTls,
    ) -> impl Future<Output = Result<(), ServeError>> + Send;

    /// Listens and serves until `shutdown`, then lets calls that have begun come to their end.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had.
    fn serve_mtls_with_shutdown(
        self,
        addr: SocketAddr,
        tls: ServerTls,
        shutdown: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<(), ServeError>> + Send;

    /// Serves what comes in until `shutdown`, or until no more can come. For who listens on port 0,
    /// on a Unix socket, or wherever else; see [`incoming`](crate::incoming).
    fn serve_mtls_with_incoming<IO: Transport>(
        self,
        incoming: Incoming<IO>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send;
}

impl<L, B> RouterExt for Router<L>
where
    L: Layer<Routes> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
    <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn serve_mtls(self, addr: SocketAddr, tls: ServerTls) -> Result<(), ServeError> {
        self.serve_mtls_with_shutdown(addr, tls, pending()).await
    }

    async fn serve_mtls_with_shutdown(
        self,
        addr: SocketAddr,
        tls: ServerTls,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let incoming = crate::incoming(addr, tls)
            .await
            .map_err(|source| ServeError::Bind { addr, source })?;
        self.serve_mtls_with_incoming(incoming, shutdown).await;
        Ok(())
    }

    async fn serve_mtls_with_incoming<IO: Transport>(
        self,
        incoming: Incoming<IO>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut listener = incoming.into_listener();
        let (stop, stopped) = watch::channel(());
        let router = Arc::new(self);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => {
                    let Ok(stream) = accepted else { break };
                    connections.spawn(serve_one(router.clone(), stream, stopped.clone()));
                }
                Some(ended) = connections.join_next() => note(ended),
            }
        }
        // Whoever still comes is to go to another server, not to wait for this one.
        drop(listener);
        drop(stop);
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    }
}

/// Serves one connection until it is over. tonic can end all connections of a server and no single
/// one, so each has a server of its own: a handful of shared pointers.
async fn serve_one<IO, L, B>(
    router: Arc<Router<L>>,
    stream: PeerStream<IO>,
    mut stopped: watch::Receiver<()>,
) -> Result<(), tonic::transport::Error>
where
    IO: Transport,
    L: Layer<Routes> + Clone,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
    <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let parting = stream.parting();
    let (open, closed) = oneshot::channel();
    let only = One {
        stream: Some(Stream::guarded(stream, open)),
        closed,
    };
    let end = async move {
        tokio::select! {
            why = parting => debug!(?why, "no more calls are to begin on a connection"),
            // Nothing is ever sent: this is the end of the sender.
            _ = stopped.changed() => {}
        }
    };
    let router = Router::clone(&router);
    router.serve_with_incoming_shutdown(only, end).await
}

/// One connection, and no other until it is closed: then no more come, and its server ends.
struct One<IO> {
    stream: Option<Stream<IO>>,
    closed: oneshot::Receiver<()>,
}

impl<IO: Transport> tokio_stream::Stream for One<IO> {
    type Item = io::Result<Stream<IO>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.stream.take() {
            Some(stream) => Poll::Ready(Some(Ok(stream))),
            None => Pin::new(&mut self.closed).poll(cx).map(|_| None),
        }
    }
}

fn note(ended: Result<Result<(), tonic::transport::Error>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %with_causes(&error), "a connection broke"),
        Err(error) => warn!(%error, "a connection's task panicked"),
    }
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {addr}")]
    Bind {
        /// Where it was to listen.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
