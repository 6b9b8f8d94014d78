//! Streams with a peer, as tonic's server takes them.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use spiffe_core::tls::{PeerStream, ServerTls};
use spiffe_hyper::{Listener, Transport, connection};
use spiffe_tower::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::{Connected, Router};
use tower_layer::Layer;
use tower_service::Service;

/// A stream with a peer. Each request that comes over it has the [`Connection`] in its extensions.
#[derive(Debug)]
pub struct Stream<IO = TcpStream>(PeerStream<IO>);

impl<IO: Transport> Connected for Stream<IO> {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        connection(&self.0)
    }
}

impl<IO> Stream<IO> {
    /// The stream below, which knows its peer.
    #[must_use]
    pub fn get_ref(&self) -> &PeerStream<IO> {
        &self.0
    }
}

/// What comes in over mutual TLS, for `serve_with_incoming`.
#[derive(Debug)]
pub struct Incoming<IO = TcpStream>(Listener<IO>);

/// Listens on a TCP address.
///
/// # Errors
///
/// Where the address cannot be had.
pub async fn incoming(addr: SocketAddr, tls: ServerTls) -> io::Result<Incoming> {
    Ok(Listener::bind(addr, tls).await?.into())
}

impl Incoming {
    /// Where we listen; worth asking after listening on port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local_addr()
    }
}

impl<IO> From<Listener<IO>> for Incoming<IO> {
    fn from(listener: Listener<IO>) -> Self {
        Self(listener)
    }
}

impl<IO: Transport> tokio_stream::Stream for Incoming<IO> {
    type Item = io::Result<Stream<IO>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        next.map(|stream| stream.map(|stream| stream.map(Stream)))
    }
}

/// Serving over mutual TLS, on tonic's own router.
pub trait RouterExt {
    /// Listens and serves for ever, in place of `serve`.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had, or tonic gives up.
    fn serve_mtls(
        self,
        addr: SocketAddr,
        tls: ServerTls,
    ) -> impl Future<Output = Result<(), ServeError>> + Send;

    /// Listens and serves until `shutdown`, then lets calls that have begun come to their end.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had, or tonic gives up.
    fn serve_mtls_with_shutdown(
        self,
        addr: SocketAddr,
        tls: ServerTls,
        shutdown: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<(), ServeError>> + Send;
}

impl<L, B> RouterExt for Router<L>
where
    L: Layer<Routes> + Send,
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
        let incoming = incoming(addr, tls)
            .await
            .map_err(|source| ServeError::Bind { addr, source })?;
        Ok(self
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await?)
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
    /// tonic gave up.
    #[error("serving failed")]
    Serve(#[from] tonic::transport::Error),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<IO: Transport> AsyncRead for Stream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<IO: Transport> AsyncWrite for Stream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
