//! For axum: the caller as an extractor, and the listener as one of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Once;
use std::task::{Context, Poll};

use axum::Extension;
use axum::extract::connect_info::{self, Connected};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::middleware::AddExtension;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use http::request::Parts;
use http::{Extensions, Request, StatusCode};
use spiffe_core::tls::PeerStream;
use spiffe_tower::{Connection, Principal};
use tower_layer::Layer;
use tower_service::Service;
use tracing::warn;

use crate::listener::Listener;
use crate::transport::{self, Transport};

/// Who calls, for a handler. `Option<Caller>` is for handlers that serve also whom nobody knows.
///
/// It is found in requests that [`serve`](crate::serve()) hands on, and under `axum::serve` where the
/// service was made by [`with_connections`], or by `into_make_service_with_connect_info`. Who shows a
/// token that a layer has verified is the caller, and not the other end of the connection; see
/// [`Principal`].
///
/// ```
/// use spiffe_hyper::Caller;
///
/// async fn hello(Caller(who): Caller) -> String {
///     format!("hello {}", who.id())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(hello));
/// ```
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "it is there to be taken apart")]
pub struct Caller(pub Principal);

impl Caller {
    /// The caller of a request, where it proved who it is and its connection still is in good
    /// standing.
    fn of(parts: &Parts) -> Option<Self> {
        let extensions = &parts.extensions;
        let connected = connection(extensions).map(Connection::peer);
        // Whom a layer found behind the connection does not outlive it.
        if let Some(peer) = connected.or_else(|| spiffe_tower::peer(extensions)) {
            peer.revalidate().ok()?;
        }
        let who = Principal::of(extensions);
        who.or_else(|| connected.cloned().map(Principal::Peer))
            .map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NoCaller;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCaller> {
        Self::of(parts).ok_or_else(|| {
            if connection(&parts.extensions).is_none() {
                WARN.call_once(warn_of_no_connection);
            }
            NoCaller
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Nobody has proven who is calling, or it does not hold any more: 403. A 401 would have to name a
/// scheme that helps (RFC 9110 section 15.5.2), and there is none for certificates.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the caller has not proven who it is")]
#[non_exhaustive]
pub struct NoCaller;

impl IntoResponse for NoCaller {
    fn into_response(self) -> Response {
        (StatusCode::FORBIDDEN, self.to_string()).into_response()
    }
}

/// Each connection of ours has a peer, so a server that tells of none likely is put together wrongly. It
/// is so for every request, and told once.
static WARN: Once = Once::new();

fn warn_of_no_connection() {
    warn!(
        "`Caller` refuses who calls: requests carry no connection \
         (serve with spiffe_hyper::serve, with spiffe_hyper::with_connections under axum::serve, or \
         into_make_service_with_connect_info::<spiffe_hyper::ConnectInfo>(); or add a layer that \
         verifies tokens)"
    );
}

/// Makes a service for `axum::serve` whose requests know their connection, as those of
/// [`serve`](crate::serve()) do: layers, handlers and [`Caller`] find it wherever they stand.
///
/// ```no_run
/// # use spiffe_core::authorizer::anyone;
/// # use spiffe_core::{IdentitySource, SourceExt};
/// # async fn example(source: impl IdentitySource + Clone, app: axum::Router) -> std::io::Result<()> {
/// let listener = spiffe_hyper::Listener::bind("0.0.0.0:8443", source.server(anyone())).await?;
/// axum::serve(listener, spiffe_hyper::with_connections(app)).await
/// # }
/// ```
pub fn with_connections<S>(service: S) -> WithConnections<S> {
    WithConnections(service)
}

/// What [`with_connections`] makes.
#[derive(Debug, Clone)]
pub struct WithConnections<S>(S);

impl<S: Clone, IO: Transport + Sync> Service<IncomingStream<'_, Listener<IO>>>
    for WithConnections<S>
{
    type Response = AddExtension<S, Connection>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, Listener<IO>>) -> Self::Future {
        let told = Extension(transport::connection(stream.io()));
        ready(Ok(told.layer(self.0.clone())))
    }
}

/// What `axum::serve` tells of a connection to a service that was made by
/// `into_make_service_with_connect_info::<ConnectInfo>()`. [`Caller`] looks there; for the layers of
/// `spiffe-tower` see [`ConnectInfoLayer`].
#[derive(Debug, Clone)]
pub struct ConnectInfo(Connection);

impl ConnectInfo {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.0
    }
}

impl<IO: Transport + Sync> Connected<IncomingStream<'_, Listener<IO>>> for ConnectInfo {
    fn connect_info(stream: IncomingStream<'_, Listener<IO>>) -> Self {
        Self(transport::connection(stream.io()))
    }
}

/// The connection, as a layer or as axum tells of it.
fn connection(extensions: &Extensions) -> Option<&Connection> {
    extensions.get().or_else(|| told(extensions))
}

fn told(extensions: &Extensions) -> Option<&Connection> {
    let info = extensions.get::<connect_info::ConnectInfo<ConnectInfo>>();
    info.map(|info| info.0.connection())
}

/// Shows the layers of `spiffe-tower` what axum tells of a connection, for services that are made by
/// `into_make_service_with_connect_info::<ConnectInfo>()`. It has to stand further out than they: in
/// `Router::layer`, after them. [`with_connections`] needs no such layer.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ConnectInfoLayer;

impl ConnectInfoLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for ConnectInfoLayer {
    type Service = WithConnectInfo<S>;

    fn layer(&self, inner: S) -> WithConnectInfo<S> {
        WithConnectInfo(inner)
    }
}

/// What a [`ConnectInfoLayer`] makes.
#[derive(Debug, Clone)]
pub struct WithConnectInfo<S>(S);

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithConnectInfo<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(connection) = told(request.extensions()).cloned() {
            request.extensions_mut().insert(connection);
        }
        self.0.call(request)
    }
}

/// `axum::serve` cannot part from a peer in time: a connection is cut when its peer's standing ends,
/// for it would go on serving.
impl<IO: Transport> axum::serve::Listener for Listener<IO> {
    type Io = PeerStream<IO>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match Self::accept(self).await {
            Ok(stream) => {
                let from = stream.get_ref().remote_addr();
                (stream, from.unwrap_or(NOWHERE))
            }
            // Nobody comes any more, and axum has no word for that.
            Err(_) => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

/// Where a connection comes from that has no IP address.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
