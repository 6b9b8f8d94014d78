//! Handshakes side by side, beside the accepting of connections: a slow one holds up nobody, a bad
//! one stops nothing, and there are never too many.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_stream::Stream;
use tracing::{debug, warn};

/// Connections as they come in, turned into what their handshakes make of them.
///
/// What a handshake is, is the caller's affair, as is how long it may take
/// (`spiffe_core::tls::Acceptor` limits itself).
///
/// While as many are going on as may, a connection that comes in takes the place of the oldest
/// handshake, once that has had half a second. A proper client needs milliseconds, so strangers who
/// say nothing only push each other out. Until then no more connections are accepted; they wait in
/// the system's queue, and many proper clients at once wait for their turn.
pub struct Handshakes<IO, T> {
    incoming: Incoming<IO>,
    handshake: Box<dyn Fn(IO) -> Handshake<T> + Send + Sync>,
    pending: JoinSet<Option<T>>,
    places: Places,
    /// Has come in, and has no place yet: the oldest is leaving it.
    next_in: Option<IO>,
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
            places: Places::new(at_most.max(1)),
            next_in: None,
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
                Poll::Ready(Some(Err(error))) if error.is_cancelled() => {
                    debug!("a handshake gave way to a newer connection");
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    warn!(%error, "a handshake panicked");
                    continue;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            let full = self.pending.len() >= self.places.at_most;
            if !full && let Some(io) = self.next_in.take() {
                let handshake = self.pending.spawn((self.handshake)(io));
                self.places.taken_by(handshake);
                continue;
            }
            if self.incoming.ended() && self.pending.is_empty() {
                return Poll::Ready(None);
            }
            // Where there is no room, the end of a handshake wakes us.
            if self.next_in.is_some() || self.incoming.ended() {
                return Poll::Pending;
            }
            if full {
                ready!(self.places.poll_oldest_may_go(cx));
            }
            self.next_in = ready!(self.incoming.poll_next(cx));
            if full && self.next_in.is_some() {
                self.places.oldest_goes();
            }
        }
    }
}

impl<IO, T> fmt::Debug for Handshakes<IO, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshakes")
            .field("pending", &self.pending.len())
            .field("at_most", &self.places.at_most)
            .finish_non_exhaustive()
    }
}

/// Who has a place, and since when.
struct Places {
    at_most: usize,
    /// The oldest first; some of them may be done.
    taken: VecDeque<(Instant, AbortHandle)>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Places {
    fn new(at_most: usize) -> Self {
        Self {
            at_most,
            taken: VecDeque::new(),
            wait: None,
        }
    }

    fn taken_by(&mut self, handshake: AbortHandle) {
        // Now and then, so that it costs each of them next to nothing.
        if self.taken.len() >= self.at_most.saturating_mul(2) {
            self.taken.retain(|(_, handshake)| !handshake.is_finished());
        }
        self.taken.push_back((Instant::now(), handshake));
    }

    /// Waits until the oldest has had its time. Where all are done they are about to be collected.
    fn poll_oldest_may_go(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.taken.front().is_some_and(|(_, it)| it.is_finished()) {
            self.taken.pop_front();
        }
        let Some((since, _)) = self.taken.front() else {
            return Poll::Pending;
        };
        let until = *since + UNDISTURBED;
        let wait = self
            .wait
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if wait.deadline() != until {
            wait.as_mut().reset(until);
        }
        wait.as_mut().poll(cx)
    }

    fn oldest_goes(&mut self) {
        if let Some((_, oldest)) = self.taken.pop_front() {
            oldest.abort();
        }
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

/// What a handshake has to itself, however many want its place: enough for a client far away, and for
/// many who come back at once after a restart.
const UNDISTURBED: Duration = Duration::from_millis(500);

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::sync::mpsc;
    use tokio_stream::iter;
    use tokio_stream::wrappers::ReceiverStream;

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

    #[tokio::test(start_paused = true)]
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
    async fn silent_ones_give_way_oldest_first_and_are_never_too_many() {
        let (come, incoming) = mpsc::channel(100);
        let going_on = Arc::new(AtomicUsize::new(0));
        let counter = going_on.clone();
        let mut handshakes = Handshakes::new(ReceiverStream::new(incoming), 4, move |name| {
            let place = Counted::new(&counter);
            async move {
                assert!(place.0.load(Ordering::SeqCst) <= 4);
                match name {
                    "silent" => std::future::pending().await,
                    name => Some(name),
                }
            }
        });
        for _ in 0..40 {
            come.send(Ok("silent")).await.unwrap();
        }
        come.send(Ok("good")).await.unwrap();
        let begin = Instant::now();
        assert_eq!(handshakes.next().await, Some("good"));
        // Each four have their time; the good one is the forty-first.
        let rounds = (begin.elapsed().as_secs_f64() / UNDISTURBED.as_secs_f64()).round();
        assert!((9.9..10.1).contains(&rounds), "{rounds}");

        // Those who are left have had theirs, so whoever comes now need not wait at all.
        tokio::time::sleep(UNDISTURBED).await;
        let begin = Instant::now();
        for name in ["one", "two", "three"] {
            come.send(Ok(name)).await.unwrap();
            assert_eq!(handshakes.next().await, Some(name));
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(going_on.load(Ordering::SeqCst), 3, "one was enough");
    }

    /// Counts itself while it is there.
    struct Counted(Arc<AtomicUsize>);

    impl Counted {
        fn new(counter: &Arc<AtomicUsize>) -> Self {
            counter.fetch_add(1, Ordering::SeqCst);
            Self(counter.clone())
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn who_is_done_is_forgotten_beside_one_who_never_is() {
        let connections = iter((0..1000).map(Ok));
        let mut handshakes = Handshakes::new(connections, 4, |number| async move {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            Some(number)
        });
        for _ in 1..1000 {
            assert!(handshakes.next().await.is_some());
            assert!(handshakes.places.taken.len() <= 8);
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
