//! The sockets of the server: TCP with TLS for everyone, a Unix socket for its operator.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream};
use spiffe_core::SpiffeId;
use spiffe_core::authorizer::anyone;
use spiffe_core::clock::Clock;
use spiffe_core::source::IdentitySource;
use spiffe_core::tls::{Acceptor, Arrival, ServerTls};
use spiffe_hyper::Handshakes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tracing::{debug, info, warn};

use super::api::{Api, Caller, Process};
use crate::runtime::connections::{Connections, Place};
use crate::runtime::health::{Health, State};
use crate::runtime::unix_socket::{self, Modes, SocketError, SocketFile};
use crate::runtime::{Shutdown, TaskError};

/// Listens for everyone.
///
/// # Errors
///
/// Where the address cannot be had, with the settings to change.
pub(super) async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address, source },
            _ => ListenError::Bind { address, source },
        })
}

/// Listens for the operator. The socket is for the owner and the group; so is its directory.
///
/// # Errors
///
/// Where another server answers on it, or the system does not let us.
pub(super) async fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    Ok(unix_socket::listen(path, MODES).await?)
}

/// Does TLS with the server's own identity, whatever that is at each handshake. A client may stay
/// anonymous; one that shows a certificate has to be verified. What each may do is decided later.
pub(super) fn acceptor(identity: Arc<dyn IdentitySource>, clock: Arc<dyn Clock>) -> Acceptor {
    ServerTls::new(identity, anyone())
        .alpn([&b"h2"[..]])
        .client_auth_optional()
        .clock(clock)
        .acceptor()
}

/// Serves everyone who can reach us, until told to stop; what was let in is finished then.
///
/// # Errors
///
/// Where the transport fails as a whole; a single connection that fails is only logged.
pub(super) async fn serve_tcp(
    listener: TcpListener,
    acceptor: Acceptor,
    api: Api,
    stop: Shutdown,
) -> Result<(), TaskError> {
    let address = listener.local_addr()?;
    info!(%address, network = "tcp", "Starting Server APIs");
    server()
        .max_connection_age(MAX_AGE)
        .layer(api.stack())
        .add_routes(api.remote())
        .serve_with_incoming_shutdown(tcp_arrivals(listener, acceptor), stop.cancelled())
        .await?;
    Ok(())
}

/// Serves the operator, likewise, and tells whoever asks how we are.
///
/// # Errors
///
/// Where the transport fails as a whole.
pub(super) async fn serve_unix(
    // The file goes when serving ends.
    (listener, _file): (UnixListener, SocketFile),
    api: Api,
    health: Health,
    stop: Shutdown,
) -> Result<(), TaskError> {
    let address = listener.local_addr()?;
    let address = address.as_pathname().unwrap_or(Path::new("")).display();
    info!(%address, network = "unix", "Starting Server APIs");
    let (reporter, service) = health_reporter();
    let served = server()
        .layer(api.stack())
        .add_routes(api.local(service))
        .serve_with_incoming_shutdown(unix_arrivals(listener), stop.cancelled());
    tokio::select! {
        served = served => Ok(served?),
        () = report(&reporter, health) => Ok(()),
    }
}

/// Passes on how we are, for ever. A part that only starts is no reason to turn anyone away.
async fn report(reporter: &HealthReporter, health: Health) {
    let mut reports = health.subscribe();
    loop {
        let ailing = |state: &State| matches!(state, State::Dead(_) | State::Unready(_));
        let status = match reports.borrow_and_update().parts().values().any(ailing) {
            true => ServingStatus::NotServing,
            false => ServingStatus::Serving,
        };
        reporter.set_service_status("", status).await;
        if reports.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// HTTP/2 with bounds on what a peer can make us hold or do.
fn server() -> Server {
    Server::builder()
        .http2_max_header_list_size(16 * 1024)
        .max_concurrent_streams(128)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_max_local_error_reset_streams(Some(128))
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
}

/// Connections over TCP, once their handshakes are done.
fn tcp_arrivals(
    listener: TcpListener,
    acceptor: Acceptor,
) -> impl Stream<Item = Result<Connection, Infallible>> {
    let incoming = TcpListenerStream::new(listener);
    let connections = Connections::by_descriptors(1);
    let at_most = MAX_HANDSHAKES.min(connections.at_most() / 2);
    let shake = move |stream| shake(acceptor.clone(), connections.clone(), stream);
    let mut handshakes = Handshakes::new(incoming, at_most, shake);
    stream::poll_fn(move |cx| handshakes.poll_next(cx).map(|done| done.map(Ok)))
}

/// Does the handshake and decides who calls.
async fn shake(
    acceptor: Acceptor,
    connections: Connections<Option<SpiffeId>>,
    stream: TcpStream,
) -> Option<Connection> {
    // Who has gone already has no address any more.
    let from = stream.peer_addr().ok()?;
    // Small messages go out at once; where that cannot be set they only come later.
    let _ = stream.set_nodelay(true);
    match acceptor.accept_any(stream).await {
        Ok(Arrival::Peer(stream)) => match Caller::proven(from, stream.peer().clone()) {
            Ok(caller) => admitted(stream, caller, &connections),
            Err(error) => {
                warn!(%from, %error, "a verified certificate could not be read");
                None
            }
        },
        Ok(Arrival::Anonymous(stream)) => admitted(stream, Caller::anonymous(from), &connections),
        Err(error) => {
            debug!(%from, error = &error as &dyn std::error::Error, "handshake failed");
            None
        }
    }
}

/// Lets a connection in if there is a place for it. All those who say nothing of themselves share the
/// places of one peer, so they never keep agents out.
fn admitted(
    io: impl Io + 'static,
    caller: Caller,
    connections: &Connections<Option<SpiffeId>>,
) -> Option<Connection> {
    let Some(place) = connections.enter(caller.id().cloned()) else {
        if let Some(closed) = connections.turned_away(Instant::now()) {
            warn!(closed, "Too many connections, so more were closed");
        }
        return None;
    };
    Some(Connection {
        io: Box::new(io),
        caller,
        _place: Some(place),
    })
}

/// Connections over the Unix socket.
fn unix_arrivals(listener: UnixListener) -> impl Stream<Item = Result<Connection, Infallible>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let caller = Caller::local(process(&stream));
                    return Some((Ok(Connection::local(stream, caller)), listener));
                }
                Err(error) => {
                    warn!(%error, "a local connection could not be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    })
}

/// The process at the other end, for the audit log. It is not what lets it in.
fn process(stream: &UnixStream) -> Process {
    match stream.peer_cred() {
        Ok(peer) => Process {
            uid: Some(peer.uid()),
            gid: Some(peer.gid()),
            pid: peer.pid(),
        },
        Err(_) => Process::default(),
    }
}

/// A connection that knows who is at its other end.
struct Connection {
    io: Box<dyn Io>,
    caller: Caller,
    _place: Option<Place<Option<SpiffeId>>>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connection {
    /// One that the file system let in, which is never kept out by others.
    fn local(io: impl Io + 'static, caller: Caller) -> Self {
        Self {
            io: Box::new(io),
            caller,
            _place: None,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system does not let us.
    #[error("cannot listen on {address}; see `bind_address` and `bind_port`")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens there.
    #[error("{address} is in use by another process; stop it, or change `bind_port`")]
    InUse {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The operator's socket cannot be had.
    #[error("cannot listen on the socket; see `socket_path`")]
    Unix(#[from] SocketError),
}

/// As SPIRE leaves them: nobody but the owner and the group.
const MODES: Modes = Modes {
    directory: 0o750,
    socket: 0o770,
};

/// After this long agents connect anew, so that servers share the load, and trust that was taken
/// away ends connections too.
const MAX_AGE: Duration = Duration::from_secs(180);

/// How many handshakes go on at a time.
const MAX_HANDSHAKES: usize = 512;

/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);
