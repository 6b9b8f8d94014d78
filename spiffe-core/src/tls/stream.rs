//! A stream and who is at its other end.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::observe::Seen;
use super::standing::Standing;
use crate::clock::sleep_until;
use crate::telemetry;
use crate::verify::{Ended, Peer, PeerError, Standing as _};
use crate::woken::Woken;

/// An encrypted stream to a peer that has proven who it is.
///
/// It lasts as long as the peer is in good standing: once that ends ([`Peer::ended`]), nothing is
/// read or written any more, but for [last words](Self::with_last_words).
pub struct PeerStream<IO> {
    // On the heap: so a stream is cheap to hand on.
    tls: Box<TlsStream<IO>>,
    peer: Peer,
    standing: Arc<Standing>,
    last_words: Duration,
    end: Ended,
    ended: Option<PeerError>,
}

impl<IO> PeerStream<IO> {
    pub(super) fn new(tls: Box<TlsStream<IO>>, peer: Peer, standing: Standing) -> Self {
        let standing = Arc::new(standing);
        telemetry::connection_opened(standing.side());
        Self {
            tls,
            end: Arc::clone(&standing).ended(),
            peer: peer.standing(Arc::clone(&standing) as _),
            standing,
            last_words: Duration::ZERO,
            ended: None,
        }
    }

    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            peer: Some(self.peer.id()),
            resumed: self.is_resumed(),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Goes on for so long after the peer's standing has ended, for a server that wants to say so
    /// in the words of its protocol. It is up to that server to begin nothing new.
    #[must_use]
    pub fn with_last_words(mut self, time: Duration) -> Self {
        let ended = Arc::clone(&self.standing).ended();
        self.last_words = time;
        self.end = Woken::new(async move {
            let why = ended.await;
            tokio::time::sleep(time).await;
            why
        });
        self
    }

    /// Waits until the peer's standing does not hold any more, and tells why. Cancel-safe.
    pub fn proof_ended(&self) -> impl Future<Output = PeerError> + Send + Sync + use<IO> {
        Arc::clone(&self.standing).ended()
    }

    /// Waits until nothing new should begin on this stream, and tells why. Cancel-safe.
    ///
    /// That is at some moment in the last tenth of the time that the peer's certificates have left
    /// now, not the same one for all: so whoever has got new certificates meanwhile comes back in
    /// time, and not together with everybody else.
    pub fn parting(&self) -> impl Future<Output = Parting> + Send + Sync + use<IO> {
        let standing = Arc::clone(&self.standing);
        Woken::new(async move {
            let end = standing.end();
            let left = end.duration_since(standing.clock().now());
            let before = left.unwrap_or_default().mul_f64(EARLY * jitter());
            tokio::select! {
                biased;
                why = Arc::clone(&standing).ended() => Parting::Ended(why),
                () = sleep_until(standing.clock(), end - before) => {
                    standing.part();
                    Parting::Due
                }
            }
        })
    }

    /// The application protocol that both sides agreed on (ALPN).
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.tls.get_ref().1.alpn_protocol()
    }

    /// Whether the session was resumed, where that is [allowed](super::Resumption). Its peer was
    /// judged no less.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The IO below, e.g. to ask a socket for its address.
    #[must_use]
    pub fn get_ref(&self) -> &IO {
        self.tls.get_ref().0
    }

    /// Whether the end has come; if not, the reader is woken by it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended.is_none()
            && let Poll::Ready(why) = Pin::new(&mut self.end).poll(cx)
        {
            self.ended = Some(why);
        }
        self.ended.clone().map_or(Ok(()), |why| Err(refused(why)))
    }

    /// The same at once, judging the peer where that is due. Nobody is woken: a writer must not take
    /// the reader's place among those who are.
    fn is_over(&self) -> io::Result<()> {
        if let Some(why) = &self.ended {
            return Err(refused(why.clone()));
        }
        match self.standing.revalidate() {
            Err(why) if self.last_words.is_zero() => Err(refused(why)),
            _ => Ok(()),
        }
    }
}

/// The connection is over, whatever the reason.
impl<IO> Drop for PeerStream<IO> {
    fn drop(&mut self) {
        telemetry::connection_closed(self.standing.side(), self.standing.end_reason());
    }
}

/// Why to part from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is an end, and before it")]
pub enum Parting {
    /// Its certificates end soon.
    Due,
    /// It is in good standing no more.
    Ended(PeerError),
}

fn refused(why: PeerError) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// From where to where in the last tenth: not at its very end, when it would be too late.
fn jitter() -> f64 {
    0.25 + 0.75 * fastrand::f64()
}

const EARLY: f64 = 0.1;

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for PeerStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.standing.is_current() {
            self.is_over()?;
            self.poll_end(cx)?;
        }
        let read = Pin::new(&mut self.tls).poll_read(cx, buf);
        if read.is_pending() {
            self.poll_end(cx)?;
        }
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PeerStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_over()?;
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_over()?;
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
