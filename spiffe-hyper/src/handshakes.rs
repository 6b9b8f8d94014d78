//! Handshakes side by side, beside the accepting of connections: a slow one holds up nobody, a bad
//! one stops nothing, and there are never too many.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tracing::{debug, warn};

/// Connections as they come in, turned into what their handshakes make of them.
///
/// What a handshake is, is the caller's affair, as is how long it may take
/// (`spiffe_core::tls::Acceptor` limits itself). While as many are going on as may, no more
/// connections are accepted; they wait in the system's queue.
pub struct Handshakes<IO, T> {
    incoming: Incoming<IO>,
    handshake: Box<dyn Fn(IO) -> Handshake<T> + Send + Sync>,
    pending: JoinSet<Option<T>>,
    at_most: usize,
}

type Handshake<T> = Pin<Box<dyn Future<Output = Option<T>> + Send>>;

impl<IO, T: Send + 'static> Handshakes<IO, T> {
    /// Handshakes with what comes in, `at_most` so many at a time. A handshake that fails tells why
    /// by itself and gives nothing.
    pub fn new<H>(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        at_most: usize,
        handshake: impl Fn(IO) -> H + Send + Sync + 'static,
    ) -> Self
    where
        H: Future<Output = Option<T>> + Send + 'static,
    {
        Self {
            incoming: Incoming::new(incoming),
            handshake: Box::new(move |io| Box::pin(handshake(io))),
            pending: JoinSet::new(),
            at_most: at_most.max(1),
        }
    }

    /// The next handshake that succeeded, or nothing where no more connections can come.
    ///
    /// Cancel safe: handshakes go on in the meantime, and what succeeded is kept.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for whoever writes a stream.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            match self.pending.poll_join_next(cx) {
                Poll::Ready(Some(Ok(Some(done)))) => return Poll::Ready(Some(done)),
                Poll::Ready(Some(Ok(None))) => continue,
                Poll::Ready(Some(Err(error))) => {
                    warn!(%error, "a handshake panicked");
                    continue;
                }
                Poll::Ready(None) if self.incoming.ended() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => {}
            }
            // Where there is no room, the end of a handshake wakes us.
            if self.pending.len() >= self.at_most || self.incoming.ended() {
                return Poll::Pending;
            }
            if let Some(io) = ready!(self.incoming.poll_next(cx)) {
                self.pending.spawn((self.handshake)(io));
            }
        }
    }
}

impl<IO, T> fmt::Debug for Handshakes<IO, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshakes")
            .field("pending", &self.pending.len())
            .field("at_most", &self.at_most)
            .finish_non_exhaustive()
    }
}

/// Connections, and the patience with a system that has none to give.
struct Incoming<IO> {
    connections: Option<Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>>,
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
}

impl<IO> Incoming<IO> {
    fn new(connections: impl Stream<Item = io::Result<IO>> + Send + 'static) -> Self {
        Self {
            connections: Some(Box::pin(connections)),
            pause: None,
            next_pause: FIRST_PAUSE,
        }
    }

    fn ended(&self) -> bool {
        self.connections.is_none()
    }

    /// The next connection, or nothing where that came to nothing: then ask again.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<IO>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(connections) = &mut self.connections else {
            return Poll::Ready(None);
        };
        match ready!(connections.as_mut().poll_next(cx)) {
            Some(Ok(io)) => {
                self.next_pause = FIRST_PAUSE;
                return Poll::Ready(Some(io));
            }
            Some(Err(error)) if is_of_one_connection(&error) => {
                debug!(%error, "a connection ended before it was accepted");
            }
            // Out of file descriptors or memory, mostly; asking again at once would only spin.
            Some(Err(error)) => {
                warn!(%error, pause = ?self.next_pause, "connections cannot be accepted now");
                self.pause = Some(Box::pin(sleep(self.next_pause)));
                self.next_pause = LONGEST_PAUSE.min(self.next_pause * 2);
            }
            None => self.connections = None,
        }
        Poll::Ready(None)
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::time::Instant;
    use tokio_stream::iter;

    use super::*;

    #[tokio::test]
    async fn slow_ones_hold_up_nobody_and_bad_ones_stop_nothing() {
        let connections = iter(["slow", "bad", "panics", "good"].map(Ok));
        let mut handshakes = Handshakes::new(connections, 10, |io| async move {
            match io {
                "slow" => std::future::pending().await,
                "bad" => None,
                "panics" => panic!("as asked"),
                good => Some(good),
            }
        });
        assert_eq!(handshakes.next().await, Some("good"));
    }

    #[tokio::test]
    async fn no_more_go_on_than_may() {
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let counters = (begun.clone(), gate.clone());
        let mut handshakes = Handshakes::new(iter((0..5).map(Ok)), 2, move |number| {
            let (begun, gate) = counters.clone();
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.ok()?.forget();
                Some(number)
            }
        });
        for done in 0..5 {
            tokio::select! {
                biased;
                _ = handshakes.next() => panic!("nobody opened the gate"),
                () = settle() => {}
            }
            assert_eq!(begun.load(Ordering::SeqCst), 5.min(done + 2));
            gate.add_permits(1);
            assert!(handshakes.next().await.is_some());
        }
        assert_eq!(handshakes.next().await, None, "all have come");
    }

    /// Lets all that can go on, go on; there is but one thread.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_waited_out_longer_each_time() {
        let out_of_files = || Err(io::Error::from_raw_os_error(24));
        let connections = iter([out_of_files(), out_of_files(), out_of_files(), Ok("good")]);
        let begin = Instant::now();
        let mut handshakes = Handshakes::new(connections, 1, |io| async move { Some(io) });
        assert_eq!(handshakes.next().await, Some("good"));
        assert_eq!(begin.elapsed(), (1 + 2 + 4) * FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_given_up_costs_no_pause() {
        let connections = iter([Err(io::ErrorKind::ConnectionAborted.into()), Ok("good")]);
        let begin = Instant::now();
        let mut handshakes = Handshakes::new(connections, 1, |io| async move { Some(io) });
        assert_eq!(handshakes.next().await, Some("good"));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_end_while_no_more_can_be_accepted() {
        let connections = iter([Ok("good"), Err(io::Error::from_raw_os_error(24))]);
        let begin = Instant::now();
        let mut handshakes = Handshakes::new(connections, 10, |io| async move { Some(io) });
        assert_eq!(handshakes.next().await, Some("good"));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
