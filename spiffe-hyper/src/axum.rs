//! For axum: the caller as an extractor, and the listener as one of its own.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::connect_info::{self, Connected};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use http::StatusCode;
use http::request::Parts;
use spiffe_core::Peer;
use spiffe_core::tls::PeerStream;
use spiffe_tower::Connection;

use crate::listener::Listener;
use crate::transport::{LAST_WORDS, Transport, connection};

/// Who calls, for a handler. `Option<Caller>` is for handlers that serve also whom nobody knows.
///
/// It is found in requests that [`serve`](crate::serve()) hands on, and under `axum::serve` where the
/// service was made by `into_make_service_with_connect_info::<ConnectInfo>()`.
///
/// ```
/// use spiffe_hyper::Caller;
///
/// async fn hello(Caller(peer): Caller) -> String {
///     format!("hello {}", peer.id())
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(hello));
/// ```
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "it is there to be taken apart")]
pub struct Caller(pub Peer);

impl Caller {
    /// The caller of a request, where it proved who it is and still is in good standing.
    fn of(parts: &Parts) -> Option<Self> {
        let told = parts
            .extensions
            .get::<connect_info::ConnectInfo<ConnectInfo>>();
        let found = spiffe_tower::peer(&parts.extensions);
        let peer = found.or_else(|| told.map(|info| info.0.connection().peer()))?;
        peer.revalidate().ok()?;
        Some(Self(peer.clone()))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NoCaller;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCaller> {
        Self::of(parts).ok_or(NoCaller)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Nobody has proven who is calling, or it does not hold any more: 401.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the caller has not proven who it is")]
#[non_exhaustive]
pub struct NoCaller;

impl IntoResponse for NoCaller {
    fn into_response(self) -> Response {
        (StatusCode::UNAUTHORIZED, self.to_string()).into_response()
    }
}

/// What `axum::serve` tells its services of a connection.
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
        Self(connection(stream.io()))
    }
}

/// `axum::serve` cannot part from a peer in time: a connection is cut when its peer's standing ends.
impl<IO: Transport> axum::serve::Listener for Listener<IO> {
    type Io = PeerStream<IO>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match Self::accept(self).await {
            Ok(stream) => {
                let from = stream.get_ref().remote_addr();
                let stream = stream.with_last_words(LAST_WORDS);
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
