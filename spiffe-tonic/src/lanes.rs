//! Connections to one server, of which one takes new calls: the next is made before the last is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use spiffe_core::with_causes;
use spiffe_hyper::{ConnectError, Connector};
use spiffe_tower::Connection;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tower_service::Service;
use tracing::{debug, warn};

use crate::call::CallError;

/// The connections of one channel.
pub(crate) struct Lanes {
    connector: Connector,
    server: Uri,
    open: Mutex<Option<Arc<Lane>>>,
    /// Held while connecting: whoever comes meanwhile waits for the outcome.
    connecting: AsyncMutex<()>,
    /// How often connecting failed, and why it did last.
    failed: Mutex<(u64, Option<Arc<ConnectError>>)>,
    renewing: AtomicBool,
}

/// One connection.
struct Lane {
    calls: SendRequest<Body>,
    connection: Connection,
    /// Whether another connection is to take its place.
    outdated: Arc<AtomicBool>,
}

impl Lane {
    /// Whether calls may still begin on it.
    fn is_open(&self) -> bool {
        !self.calls.is_closed() && self.connection.peer().revalidate().is_ok()
    }
}

impl Lanes {
    pub(crate) fn new(connector: Connector, server: Uri) -> Self {
        Self {
            connector,
            server,
            open: Mutex::default(),
            connecting: AsyncMutex::default(),
            failed: Mutex::default(),
            renewing: AtomicBool::new(false),
        }
    }

    /// Makes a call over the connection of the moment. One that a connection ended too early for
    /// comes back as it was, and goes over the next.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let lane = self.lane().await.map_err(CallError::connect)?;
            match lane.calls.clone().try_send_request(request).await {
                Ok(answer) => {
                    let mut answer = answer.map(Body::new);
                    answer.extensions_mut().insert(lane.connection.clone());
                    return Ok(answer);
                }
                Err(mut failed) => match failed.take_message() {
                    // A server that accepts and ends every connection is not to keep us here.
                    Some(unsent) if left > 0 => {
                        request = unsent;
                        self.close(&lane);
                    }
                    _ => return Err(CallError::broken(failed.into_error())),
                },
            }
        }
    }

    /// Connects, where there is no connection.
    pub(crate) async fn connect(&self) -> Result<(), Arc<ConnectError>> {
        self.new_lane().await.map(|_| ())
    }

    /// Where new calls go.
    async fn lane(self: &Arc<Self>) -> Result<Arc<Lane>, Arc<ConnectError>> {
        let Some(lane) = self.open_lane() else {
            return self.new_lane().await;
        };
        if lane.outdated.load(Ordering::Acquire) {
            self.renew();
        }
        Ok(lane)
    }

    fn open_lane(&self) -> Option<Arc<Lane>> {
        lock(&self.open).clone().filter(|lane| lane.is_open())
    }

    /// Waits for a connection. Whoever waits while it fails is told so, and does not try once more.
    async fn new_lane(&self) -> Result<Arc<Lane>, Arc<ConnectError>> {
        let (failures, _) = lock(&self.failed).clone();
        let _turn = self.connecting.lock().await;
        if let Some(lane) = self.open_lane() {
            return Ok(lane);
        }
        if let (now, Some(why)) = &*lock(&self.failed)
            && *now != failures
        {
            return Err(Arc::clone(why));
        }
        self.dial().await.map_err(|why| {
            let why = Arc::new(why);
            let mut failed = lock(&self.failed);
            *failed = (failed.0 + 1, Some(Arc::clone(&why)));
            why
        })
    }

    /// Makes a connection and lets new calls take it.
    async fn dial(&self) -> Result<Arc<Lane>, ConnectError> {
        let io = self.connector.clone().call(self.server.clone()).await?;
        let connection = spiffe_hyper::connection(io.stream());
        let outdated = io.outdated();
        let (calls, driver) = settings().handshake(io).await.map_err(ConnectError::from)?;
        let lane = Arc::new(Lane {
            calls,
            connection,
            outdated: Arc::default(),
        });
        let flag = Arc::clone(&lane.outdated);
        // It ends with the connection, and that with the last call and the last handle for calls.
        TokioExecutor::new().execute(async move {
            let mut driver = std::pin::pin!(driver);
            let ended = tokio::select! {
                ended = &mut driver => ended,
                () = outdated => {
                    flag.store(true, Ordering::Release);
                    driver.await
                }
            };
            if let Err(error) = ended {
                debug!(error = %with_causes(&error), "a connection broke");
            }
        });
        *lock(&self.open) = Some(Arc::clone(&lane));
        Ok(lane)
    }

    /// Makes the next connection beside the calls.
    fn renew(self: &Arc<Self>) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let lanes = Arc::clone(self);
        TokioExecutor::new().execute(async move {
            let begun = Instant::now();
            if let Err(error) = lanes.dial().await {
                warn!(error = %with_causes(&error), "a connection is outdated and cannot be replaced yet");
                sleep(PAUSE.saturating_sub(begun.elapsed())).await;
            }
            lanes.renewing.store(false, Ordering::Release);
        });
    }

    /// Lets no more calls begin on this one.
    fn close(&self, lane: &Arc<Lane>) {
        let mut open = lock(&self.open);
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, lane)) {
            *open = None;
        }
    }
}

fn settings() -> Builder<TokioExecutor> {
    let mut settings = Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1);
    settings
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After how much silence during a call the server is asked whether it is still there, and how long
/// it may take to answer. Servers in Go, where nothing else is said, end connections on which that
/// is asked more often than every five minutes.
pub(crate) const KEEP_ALIVE: (Duration, Duration) =
    (Duration::from_secs(6 * 60), Duration::from_secs(20));
/// Over how many connections a call is tried that none of them has taken.
const ATTEMPTS: u32 = 3;
/// How long to wait before trying again to replace a connection.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{self, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_call_is_asked_after_but_no_more_often_than_servers_bear() {
        let (near, far) = duplex(64 * 1024);
        let (mut send, connection) = settings().handshake(TokioIo::new(near)).await.unwrap();
        let request = Request::post("https://ledger/")
            .body(Body::empty())
            .unwrap();
        let mut pings = Vec::new();
        let hour = Duration::from_secs(3600);
        tokio::select! {
            answer = send.send_request(request) => panic!("{answer:?}"),
            ended = connection => panic!("{ended:?}"),
            heard = timeout(hour, note_pings(far, &mut pings)) => assert!(heard.is_err(), "{heard:?}"),
        }
        assert!(pings.len() > 5, "{pings:?}");
        // What gRPC servers in Go take for abuse where nothing else is said.
        let bearable = Duration::from_secs(5 * 60);
        assert!(
            pings.is_sorted_by(|one, next| *next - *one >= bearable),
            "{pings:?}"
        );
    }

    /// A server that never answers a call, and notes when it is asked whether it is still there.
    async fn note_pings(mut io: DuplexStream, pings: &mut Vec<Instant>) -> io::Result<()> {
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const ACK: u8 = 1;
        io.read_exact(&mut [0; 24]).await?;
        io.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
        loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await?;
            let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            io.read_exact(&mut body).await?;
            match head {
                [_, _, _, SETTINGS, 0, ..] => {
                    io.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await?;
                }
                [_, _, _, PING, 0, ..] => {
                    pings.push(Instant::now());
                    io.write_all(&[0, 0, 8, PING, ACK, 0, 0, 0, 0]).await?;
                    io.write_all(&body).await?;
                }
                _ => {}
            }
        }
    }
}
