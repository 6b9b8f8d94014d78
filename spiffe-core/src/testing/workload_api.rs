//! A Workload API that says what a test tells it to say.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};

use crate::bundle::TrustBundle;
use crate::proto::workload::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use crate::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest,
    WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use crate::snapshot::IdentitySnapshot;
use crate::workload_api::Endpoint;

/// A Workload API with a script. It ends when it is dropped.
///
/// To begin with it says nothing: who asks for an identity waits for one.
pub struct FakeWorkloadApi {
    endpoint: Endpoint,
    calls: Arc<AtomicUsize>,
    present: watch::Sender<bool>,
    script: watch::Sender<Answer>,
    _tasks: JoinSet<()>,
}

/// What a stream hears, at once and whenever it changes.
#[derive(Clone)]
enum Answer {
    Message(X509svidResponse),
    Nothing,
    Refusal(Code),
}

impl FakeWorkloadApi {
    /// One that is reached over pipes in memory, so that it works with paused time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn in_memory() -> Self {
        let (answerer, arrivals) = mpsc::unbounded_channel::<DuplexStream>();
        let endpoint = Endpoint::memory(answerer);
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
    pub fn on_socket(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let endpoint = Endpoint::unix(path).unwrap();
        let arrivals = UnixListenerStream::new(listener).filter_map(Result::ok);
        Ok(Self::serve(endpoint, arrivals))
    }

    fn serve<IO>(endpoint: Endpoint, arrivals: impl Stream<Item = IO> + Send + 'static) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let calls = Arc::new(AtomicUsize::new(0));
        let present = watch::Sender::new(true);
        let script = watch::Sender::new(Answer::Nothing);
        let service = Service {
            calls: Arc::clone(&calls),
            script: script.subscribe(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(run(arrivals, service, present.subscribe()));
        Self {
            endpoint,
            calls,
            present,
            script,
            _tasks: tasks,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// How often it was asked for X.509-SVIDs.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Says from now on what the snapshot holds.
    ///
    /// # Panics
    ///
    /// Where the bundle of an SVID is missing.
    pub fn publish(&self, snapshot: &IdentitySnapshot) {
        self.publish_message(message(snapshot));
    }

    /// Says this from now on, whatever it is.
    pub fn publish_message(&self, message: X509svidResponse) {
        self.script.send_replace(Answer::Message(message));
    }

    /// Ends all streams with this code, and those that are opened from now on.
    pub fn refuse(&self, code: Code) {
        self.script.send_replace(Answer::Refusal(code));
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

/// What an agent that has this snapshot would say, to be made worse by a test.
///
/// # Panics
///
/// Where the bundle of an SVID is missing.
#[must_use]
pub fn message(snapshot: &IdentitySnapshot) -> X509svidResponse {
    let svids = snapshot.svids().iter().map(|svid| X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: svid.chain().iter().flat_map(|c| c.der().to_vec()).collect(),
        x509_svid_key: svid.key().pkcs8_der().to_vec(),
        bundle: concatenated(snapshot.bundles().get(&svid.id().trust_domain()).unwrap()),
        hint: svid.hint().to_owned(),
    });
    let own = |bundle: &&TrustBundle| {
        let mut svids = snapshot.svids().iter();
        svids.any(|svid| svid.id().trust_domain() == *bundle.trust_domain())
    };
    let federated = snapshot.bundles().iter().filter(|bundle| !own(bundle));
    X509svidResponse {
        svids: svids.collect(),
        crl: Vec::new(),
        federated_bundles: federated
            .map(|bundle| {
                let id = format!("spiffe://{}", bundle.trust_domain());
                (id, concatenated(bundle))
            })
            .collect(),
    }
}

fn concatenated(bundle: &TrustBundle) -> Vec<u8> {
    let authorities = bundle.x509_authorities().iter();
    authorities.flat_map(|c| c.der().to_vec()).collect()
}

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
    let service = TowerToHyperService::new(SpiffeWorkloadApiServer::new(service));
    // How a connection ends is the client's business.
    let _ = Builder::new(TokioExecutor::new())
        .http2_only()
        .serve_connection(TokioIo::new(io), service)
        .await;
}

#[derive(Clone)]
struct Service {
    calls: Arc<AtomicUsize>,
    script: watch::Receiver<Answer>,
}

impl Answer {
    fn into_item(self) -> Option<Result<X509svidResponse, Status>> {
        match self {
            Self::Message(message) => Some(Ok(message)),
            Self::Nothing => None,
            Self::Refusal(code) => Some(Err(status(code))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test chose the code")]
fn status(code: Code) -> Status {
    Status::new(code, "as the test wants it")
}

fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of the script"))
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for Service {
    type FetchX509SVIDStream = Messages<X509svidResponse>;
    type FetchX509BundlesStream = Messages<X509BundlesResponse>;
    type FetchJWTBundlesStream = Messages<JwtBundlesResponse>;
    type FetchWITSVIDStream = Messages<WitsvidResponse>;
    type FetchWITBundlesStream = Messages<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut header = request.metadata().get_all("workload.spiffe.io").iter();
        if header.next().is_none_or(|value| value != "true") || header.next().is_some() {
            return Err(Status::invalid_argument(
                "security header missing from request",
            ));
        }
        if let Answer::Refusal(code) = *self.script.borrow() {
            return Err(status(code));
        }
        let answers = WatchStream::new(self.script.clone());
        Ok(Response::new(Box::pin(
            answers.filter_map(Answer::into_item),
        )))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        unimplemented()
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        unimplemented()
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        unimplemented()
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        unimplemented()
    }

    async fn fetch_witsvid(
        &self,
        _: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        unimplemented()
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        unimplemented()
    }
}
