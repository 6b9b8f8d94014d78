//! Lets HTTP/2 clients that call a Unix socket by its path reach a server that wants a name.
//!
//! gRPC's C core (Python, C++, Ruby, PHP) sends the percent-encoded path of the socket as
//! `:authority`, and Java sends the plain path. `h2` refuses both with `RST_STREAM`, because neither
//! is the authority of a URI (<https://github.com/hyperium/h2/pull/487>). Nothing in the agent
//! reads the authority, so [`LenientAuthority`] stands below the HTTP/2 server and puts `localhost`
//! in its place. An authority that is one stays.

mod block;
mod frames;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use frames::{Frames, FramesError, MAX_BLOCK, MAX_PARTS};

/// A connection whose reader sees an `:authority` that can be parsed. Writing goes straight through.
#[derive(Debug)]
pub struct LenientAuthority<IO> {
    io: IO,
    frames: Frames,
    /// Rewritten bytes that were not asked for yet, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
}

impl<IO> LenientAuthority<IO> {
    /// Follows this connection from its first byte.
    pub fn new(io: IO) -> Self {
        Self {
            io,
            frames: Frames::default(),
            ready: Vec::new(),
            taken: 0,
        }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let waiting = &self.ready[self.taken..];
        let part = &waiting[..waiting.len().min(buf.remaining())];
        buf.put_slice(part);
        self.taken += part.len();
        if self.taken == self.ready.len() {
            // Freed, because an idle connection is what there are most of.
            self.ready = Vec::new();
            self.taken = 0;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for LenientAuthority<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() {
            let mut space = [0; READ_AT_ONCE];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames
                .push(read.filled(), &mut this.ready)
                .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        }
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<IO> {
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

const READ_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_reader_with_little_room_gets_all_in_order() {
        let (mut client, server) = duplex(64);
        let sent: Vec<u8> = (0..10_000).map(|i| i as u8).collect();
        let expected = sent.clone();
        let writing = async move {
            client.write_all(&sent).await.unwrap();
            drop(client);
        };
        let reading = async move {
            let mut server = LenientAuthority::new(server);
            let mut all = Vec::new();
            let mut small = [0; 7];
            loop {
                match server.read(&mut small).await.unwrap() {
                    0 => break all,
                    read => all.extend_from_slice(&small[..read]),
                }
            }
        };
        let ((), all) = tokio::join!(writing, reading);
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn a_broken_frame_fails_the_read() {
        let (mut client, server) = duplex(1024);
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x01\x08\x00\x00\x00\x01")
            .await
            .unwrap();
        let mut server = LenientAuthority::new(server);
        let mut all = Vec::new();
        let error = server.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
