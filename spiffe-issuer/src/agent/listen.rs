//! The agent's public socket: who connects is known before it can say a word.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::{Connected, Router};
use tonic::transport::{Error, Server};

use super::h2_authority::{LenientAuthority, MAX_BLOCK};
use super::peer::Caller;
use super::workload_api::{self, Workloads};
use crate::runtime::Shutdown;
use crate::runtime::connections::{Connections, Place};
use crate::runtime::unix_socket::{Modes, SocketError, SocketFile, listen};

/// The public socket, bound.
#[derive(Debug)]
pub struct PublicSocket {
    listener: UnixListener,
    file: SocketFile,
}

impl PublicSocket {
    /// Binds the socket at this path. Everybody may connect: who one is decides what one gets.
    ///
    /// # Errors
    ///
    /// Where it cannot be bound, or another process answers there.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let modes = Modes {
            directory: 0o755,
            socket: 0o777,
        };
        let (listener, file) = listen(path, modes).await?;
        Ok(Self { listener, file })
    }

    /// Serves the Workload API, and whatever stands beside it, until told to stop.
    ///
    /// # Errors
    ///
    /// Where serving itself fails, which no connection can cause.
    pub async fn serve(
        self,
        workloads: Arc<Workloads>,
        beside: impl FnOnce(Router) -> Router,
        stop: Shutdown,
    ) -> Result<(), Error> {
        let Self {
            listener,
            // Goes when serving ends.
            file: _file,
        } = self;
        let router = server().add_service(workload_api::service(workloads));
        beside(router)
            .serve_with_incoming_shutdown(
                incoming(listener, Connections::by_descriptors(DESCRIPTORS_EACH)),
                stop.cancelled(),
            )
            .await
    }
}

/// The limits of one connection: a workload has few streams, short headers and no reason to reset.
fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(100)
        .http2_max_header_list_size(MAX_BLOCK as u32)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(64))
}

/// A connection, with who is at its other end.
#[derive(Debug)]
struct Connection {
    io: LenientAuthority<UnixStream>,
    caller: Caller,
    _place: Place<u32>,
}

fn incoming(
    listener: UnixListener,
    connections: Connections<u32>,
) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, connections), async |(listener, connections)| {
        let connection = accept(&listener, &connections).await;
        Some((Ok(connection), (listener, connections)))
    })
}

/// The next connection of somebody whom we know and have a place for.
async fn accept(listener: &UnixListener, connections: &Connections<u32>) -> Connection {
    loop {
        let io = match listener.accept().await {
            Ok((io, _)) => io,
            Err(error) => {
                tracing::warn!(%error, "Connection could not be accepted");
                // Out of descriptors, most likely. They come back as others leave.
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let caller = match Caller::of(&io) {
            Ok(caller) => caller,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Caller is not known, so its connection was closed"
                );
                continue;
            }
        };
        warn_if_weak(&caller);
        let Some(place) = connections.enter(caller.uid()) else {
            if let Some(closed) = connections.turned_away(Instant::now()) {
                tracing::warn!(
                    uid = caller.uid(),
                    closed,
                    "Too many connections, so more were closed"
                );
            }
            continue;
        };
        return Connection {
            io: LenientAuthority::new(io),
            caller,
            _place: place,
        };
    }
}

/// Says once that the kernel is too old to pin callers.
fn warn_if_weak(caller: &Caller) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !caller.process().is_pinned_from_the_start() && !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "This kernel has no SO_PEERPIDFD (Linux 6.5): a caller is known by its number only until \
             it is accepted, which is weaker"
        );
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
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The socket, the pidfd and the directory below `/proc`, and one that is open for a moment.
const DESCRIPTORS_EACH: usize = 4;

const REST: Duration = Duration::from_millis(100);
