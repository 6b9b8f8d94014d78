//! A stream and who is at its other end.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::standing::Standing;
use crate::verify::{Peer, VerifyError};

/// An encrypted stream to a peer that has proven who it is.
pub struct PeerStream<IO> {
    tls: TlsStream<IO>,
    peer: Peer,
    standing: Standing,
}

impl<IO> PeerStream<IO> {
    pub(super) fn new(tls: impl Into<TlsStream<IO>>, peer: Peer, standing: Standing) -> Self {
        Self {
            tls: tls.into(),
            peer,
            standing,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits until the peer's proof does not hold any more, and tells why: a certificate of its
    /// chain has ended, or the source does not trust its authority any more.
    ///
    /// The stream itself goes on. Whoever serves it chooses how to end it, and a peer that has got a
    /// new certificate meanwhile may come back at once. Cancel-safe.
    pub fn proof_ended(&self) -> impl Future<Output = VerifyError> + Send + use<IO> {
        self.standing.clone().ended(self.peer.clone())
    }

    /// The application protocol that both sides agreed on (ALPN).
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.tls.get_ref().1.alpn_protocol()
    }

    /// The IO below, e.g. to ask a socket for its address.
    #[must_use]
    pub fn get_ref(&self) -> &IO {
        self.tls.get_ref().0
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for PeerStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PeerStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl<IO> fmt::Debug for PeerStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
