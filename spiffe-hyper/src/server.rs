//! A server of HTTP/1.1 and HTTP/2 over what a listener hands out.

use std::error::Error;
use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use spiffe_core::tls::PeerStream;
use spiffe_tower::Connection;
use tokio::task::JoinSet;
use tower_service::Service;
use tracing::{debug, warn};

use crate::listener::Listener;
use crate::transport::{Transport, connection};

/// Serves until `shutdown`, then lets calls that have begun come to their end.
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
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let builder = builder();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => {
                let Ok(stream) = accepted else { break };
                let (io, service) = prepare(stream, &service);
                let served = builder.serve_connection_with_upgrades(io, service).into_owned();
                connections.spawn(graceful.watch(served));
            }
            Some(ended) = connections.join_next() => note(ended),
        }
    }
    // Whoever still comes is to go to another server, not to wait for this one.
    drop(listener);
    graceful.shutdown().await;
    while let Some(ended) = connections.join_next().await {
        note(ended);
    }
}

/// With an eye on peers that fall silent.
fn builder() -> Builder<TokioExecutor> {
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
    TowerToHyperService<WithConnection<S>>,
) {
    let service = WithConnection {
        connection: connection(&stream),
        inner: service.clone(),
    };
    (TokioIo::new(stream), TowerToHyperService::new(service))
}

fn note<E: std::fmt::Display>(ended: Result<Result<(), E>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection broke"),
        Err(error) => warn!(%error, "a connection's task panicked"),
    }
}

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
