//! A server of HTTP/1.1 and HTTP/2 over what a listener hands out.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, UpgradeableConnection};
use hyper_util::service::TowerToHyperService;
use spiffe_core::tls::{Parting, PeerStream};
use spiffe_core::with_causes;
use spiffe_tower::{Connection, PeerLayer, Proven};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{debug, warn};

use crate::listener::Listener;
use crate::transport::{LAST_WORDS, Transport, connection};

/// Serves until `shutdown`, then lets calls that have begun come to their end.
///
/// A connection ends likewise before its peer's certificate does ([`PeerStream::parting`]): no call
/// begins on it, and a client that has a new certificate by then goes on over a new connection.
/// Where the peer is not trusted any more, or may not proceed, its calls are refused and ended at
/// once, as by a [`PeerLayer`], and so is the connection.
///
/// Each request carries its [`Connection`] in its extensions; [`spiffe_tower::peer`] finds it.
/// Whoever does not want to wait for the last call drops the future: that ends all connections.
pub async fn serve<IO, S, B>(
    mut listener: Listener<IO>,
    service: S,
    shutdown: impl Future<Output = ()>,
) where
    IO: Transport,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let builder = builder();
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => {
                let Ok(stream) = accepted else { break };
                let parting = stream.parting();
                let (io, service) = prepare(stream, &service);
                let served = builder.serve_connection_with_upgrades(io, service).into_owned();
                connections.spawn(serve_one(served, parting, stopped.clone()));
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

/// Serves one connection until it is over, and lets no more calls begin once it is time to part from
/// the peer or the server ends.
async fn serve_one<IO, S, B>(
    connection: UpgradeableConnection<'_, TokioIo<PeerStream<IO>>, S, TokioExecutor>,
    parting: impl Future<Output = Parting>,
    mut stopped: watch::Receiver<()>,
) -> Result<(), BoxError>
where
    IO: Transport,
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        over = &mut connection => return over,
        why = parting => debug!(?why, "no more calls are to begin on a connection"),
        // Nothing is ever sent: this is the end of the sender.
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    // The stream itself ends when the peer's standing does, however long a call may go on.
    connection.await
}

/// With an eye on peers that fall silent.
pub(crate) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Its default time limit for request headers needs a timer.
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

fn prepare<IO: Transport, S: Clone>(
    stream: PeerStream<IO>,
    service: &S,
) -> (
    TokioIo<PeerStream<IO>>,
    TowerToHyperService<WithConnection<Proven<S>>>,
) {
    let service = WithConnection {
        connection: connection(&stream),
        inner: PeerLayer::new().layer(service.clone()),
    };
    let stream = stream.with_last_words(LAST_WORDS);
    (TokioIo::new(stream), TowerToHyperService::new(service))
}

fn note(ended: Result<Result<(), BoxError>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = %with_causes(&*error), "a connection broke"),
        Err(error) => warn!(%error, "a connection's task panicked"),
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Tells each request which connection it came over.
#[derive(Clone)]
struct WithConnection<S> {
    connection: Connection,
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithConnection<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.inner.call(request)
    }
}
