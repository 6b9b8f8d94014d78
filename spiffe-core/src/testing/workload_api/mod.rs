//! A Workload API that says what a test tells it to say.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[cfg(feature = "incubating-broker")]
mod broker;
#[cfg(feature = "delegated-identity")]
mod delegated;
mod say;
mod script;
mod service;

use std::fmt;
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
#[cfg(unix)]
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Code;
use tonic::codegen::Service as _;
use tower::service_fn;

use self::script::Script;
use self::service::Service;
use crate::clock::Clock;
use crate::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use crate::workload_api::Endpoint;

pub use self::say::message;
pub use self::script::Rpc;

/// A Workload API with a script. It ends when it is dropped.
///
/// To begin with it says nothing: who asks for an identity waits for one.
///
/// With the features of their clients it serves the Delegated Identity API and the Broker API as well,
/// and says there of whatever workload what it says to whoever asks for itself. A message without SVIDs
/// is how the Delegated Identity API says that there are none.
pub struct FakeWorkloadApi {
    endpoint: Endpoint,
    present: watch::Sender<bool>,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

impl FakeWorkloadApi {
    /// One that is reached over pipes in memory, so that it works with paused time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn in_memory() -> Self {
        let (endpoint, arrivals) = pipes();
        Self::serve(endpoint, UnboundedReceiverStream::new(arrivals))
    }

    /// One that listens on a Unix socket at this absolute path.
    ///
    /// # Errors
    ///
    /// Where it cannot listen there.
    ///
    /// # Panics
    ///
    /// Where the path is not absolute, or outside a tokio runtime.
    #[cfg(unix)]
    pub fn on_socket(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let endpoint = Endpoint::unix(path).unwrap();
        let arrivals = UnixListenerStream::new(listener).filter_map(Result::ok);
        Ok(Self::serve(endpoint, arrivals))
    }

    /// One that is reached over pipes in memory and does handshakes there with this, as the Broker API
    /// wants them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[cfg(feature = "incubating-broker")]
    #[must_use]
    pub fn in_memory_over(tls: &crate::tls::ServerTls) -> Self {
        let acceptor = tls.clone().alpn([b"h2".as_slice()]).acceptor();
        let (endpoint, mut arrivals) = pipes();
        let (shaken, ready) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut handshakes = JoinSet::new();
            while let Some(io) = arrivals.recv().await {
                let (acceptor, shaken) = (acceptor.clone(), shaken.clone());
                handshakes.spawn(async move {
                    // Why a handshake failed is the client's to tell.
                    if let Ok(stream) = acceptor.accept(io).await {
                        let _ = shaken.send(stream);
                    }
                });
            }
        });
        Self::serve_beside(tasks, endpoint, UnboundedReceiverStream::new(ready))
    }

    /// Whom calls on behalf of others were about, in their order: selectors as `unix:uid:1000`, a
    /// process as `pid 7`, references of the Broker API by the name of their type.
    #[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
    #[must_use]
    pub fn asked_about(&self) -> Vec<String> {
        self.script.asked_about().clone()
    }

    fn serve<IO>(endpoint: Endpoint, arrivals: impl Stream<Item = IO> + Send + 'static) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::serve_beside(JoinSet::new(), endpoint, arrivals)
    }

    /// Serves, and ends these tasks as well in the end.
    fn serve_beside<IO>(
        mut tasks: JoinSet<()>,
        endpoint: Endpoint,
        arrivals: impl Stream<Item = IO> + Send + 'static,
    ) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let present = watch::Sender::new(true);
        let script = Arc::new(Script::new());
        let service = Service(Arc::clone(&script));
        tasks.spawn(run(arrivals, service, present.subscribe()));
        Self {
            endpoint,
            present,
            script,
            _tasks: tasks,
        }
    }

    /// Judges tokens by this clock, in place of the machine's: that of the test, where it has one.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.script.clock.send_replace(clock);
        self
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// How often it was asked for X.509-SVIDs.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls_of(Rpc::X509Svid)
    }

    /// How often this call was made.
    #[must_use]
    pub fn calls_of(&self, rpc: Rpc) -> usize {
        self.script.calls(rpc)
    }

    /// How many messages the streams of this call have said.
    #[must_use]
    pub fn messages_of(&self, rpc: Rpc) -> usize {
        self.script.messages(rpc)
    }

    /// Waits until the streams of this call have said so many messages, from the beginning on.
    ///
    /// What is published twice in a row may be said once: the latest is what counts. To prove that
    /// nothing came of a message, wait until it was said, publish another one, and see that one come.
    pub async fn told(&self, rpc: Rpc, times: usize) {
        self.script.told(rpc, times).await;
    }

    /// Waits until this call was made so often, from the beginning on.
    pub async fn called(&self, rpc: Rpc, times: usize) {
        self.script.called(rpc, times).await;
    }

    /// Takes so long from now on until it answers a call; what streams say later comes at once.
    pub fn answer_after(&self, delay: Duration) {
        self.script.delay.send_replace(delay);
    }

    /// Ends all streams with this code, and refuses all calls from now on, until something else is
    /// published.
    pub fn refuse(&self, code: Code) {
        self.script.refuse(code);
    }

    /// Ends the streams of one call with this code, and refuses it from now on, until something else
    /// is published for it. Judging tokens goes with the bundles that they are judged by.
    pub fn refuse_rpc(&self, rpc: Rpc, code: Code) {
        self.script.refuse_rpc(rpc, code);
    }

    /// Refuses this call with this code so many times, and answers then as before. Open streams go on.
    pub fn refuse_next(&self, rpc: Rpc, code: Code, times: usize) {
        self.script.refuse_next(rpc, code, times);
    }

    /// Ends all streams in good order. Whoever asks again is answered as before.
    pub fn end_streams(&self) {
        self.script.ends.send_replace(());
    }

    /// Cuts all connections, and drops new ones until [`come_back`](Self::come_back).
    pub fn go_away(&self) {
        self.present.send_replace(false);
    }

    /// Answers again.
    pub fn come_back(&self) {
        self.present.send_replace(true);
    }
}

impl fmt::Debug for FakeWorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeWorkloadApi")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// An endpoint in memory, and what arrives there.
fn pipes() -> (Endpoint, mpsc::UnboundedReceiver<DuplexStream>) {
    let (answerer, arrivals) = mpsc::unbounded_channel();
    let endpoint = Endpoint::custom("memory", move || {
        let (near, far) = tokio::io::duplex(PIPE);
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        std::future::ready(answerer.send(far).map(|()| near).map_err(gone))
    });
    (endpoint, arrivals)
}

/// How much a pipe in memory holds.
const PIPE: usize = 64 * 1024;

async fn run<IO>(
    arrivals: impl Stream<Item = IO>,
    service: Service,
    mut present: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut arrivals = pin!(arrivals);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(io) = arrivals.next() => {
                if *present.borrow() {
                    connections.spawn(serve_one(io, service.clone()));
                }
            }
            Ok(()) = present.changed() => connections.shutdown().await,
            else => return,
        }
    }
}

async fn serve_one<IO>(io: IO, service: Service)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(service_fn(move |request: Request<_>| {
        let service = service.clone();
        async move {
            #[cfg(feature = "incubating-broker")]
            if is_of(&request, broker::NAME) {
                return broker::serving(service).call(request).await;
            }
            #[cfg(feature = "delegated-identity")]
            if is_of(&request, delegated::NAME) {
                return delegated::serving(service).call(request).await;
            }
            // It refuses what is nobody's.
            SpiffeWorkloadApiServer::new(service).call(request).await
        }
    }));
    // How a connection ends is the client's business.
    let _ = Builder::new(TokioExecutor::new())
        .http2_only()
        .serve_connection(TokioIo::new(io), service)
        .await;
}

/// Whether a call is one of this service.
#[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
fn is_of<T>(request: &Request<T>, service: &str) -> bool {
    request.uri().path().split('/').nth(1) == Some(service)
}
