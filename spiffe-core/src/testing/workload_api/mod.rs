//! A Workload API that says what a test tells it to say.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod script;
mod service;

use std::io;
#[cfg(unix)]
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

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
use tonic::{Code, Status};

use self::script::{Answer, Script};
use self::service::Service;
use crate::bundle::{BundleSet, TrustBundle};
use crate::jwt::JwtSvid;
use crate::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use crate::proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, X509BundlesResponse, X509svid,
    X509svidResponse,
};
#[cfg(feature = "incubating-wit")]
use crate::proto::workload::{WitBundlesResponse, Witsvid, WitsvidResponse};
use crate::snapshot::IdentitySnapshot;
use crate::testing::TestAuthority;
#[cfg(feature = "incubating-wit")]
use crate::testing::TokenDraft;
use crate::workload_api::Endpoint;

pub use self::script::Rpc;

/// A Workload API with a script. It ends when it is dropped.
///
/// To begin with it says nothing: who asks for an identity waits for one.
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
        let (answerer, arrivals) = mpsc::unbounded_channel::<DuplexStream>();
        let endpoint = Endpoint::custom("memory", move || {
            let (near, far) = tokio::io::duplex(PIPE);
            let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            std::future::ready(answerer.send(far).map(|()| near).map_err(gone))
        });
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

    fn serve<IO>(endpoint: Endpoint, arrivals: impl Stream<Item = IO> + Send + 'static) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let present = watch::Sender::new(true);
        let script = Arc::new(Script::new());
        let service = Service(Arc::clone(&script));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(arrivals, service, present.subscribe()));
        Self {
            endpoint,
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

    /// Gives this identity from now on: an X.509-SVID, JWT-SVIDs for whatever audience, and the
    /// authority's bundle. Called again, it is a rotation.
    ///
    /// # Panics
    ///
    /// Where `path` is no path of a SPIFFE ID.
    pub fn give(&self, authority: &TestAuthority, path: &str) {
        self.publish(&authority.snapshot(path));
        let draft = authority.jwt_draft(path, &[]);
        self.mint_jwt(move |audience| {
            let audience: Vec<_> = audience.iter().map(ToString::to_string).collect();
            vec![draft.clone().claim("aud", audience).jwt_svid()]
        });
    }

    /// Says from now on what the snapshot holds: its SVIDs, and its bundles as
    /// [`publish_bundles`](Self::publish_bundles) does.
    ///
    /// # Panics
    ///
    /// Where the bundle of an SVID is missing.
    pub fn publish(&self, snapshot: &IdentitySnapshot) {
        self.publish_bundles(snapshot.bundles());
        self.publish_message(message(snapshot));
    }

    /// Says this from now on to who asks for X.509-SVIDs, whatever it is.
    pub fn publish_message(&self, message: X509svidResponse) {
        self.script.x509.send_replace(Answer::Message(message));
    }

    /// Says from now on, to who asks for bundles alone, what these hold: X.509 authorities, keys for
    /// JWT-SVIDs, and with the feature `incubating-wit` those for WIT-SVIDs.
    ///
    /// # Panics
    ///
    /// Where a key has no ID.
    pub fn publish_bundles(&self, bundles: &BundleSet) {
        let name = |bundle: &TrustBundle| format!("spiffe://{}", bundle.trust_domain());
        let x509 = bundles
            .iter()
            .filter(|bundle| !bundle.x509_authorities().is_empty());
        self.publish_x509_bundles(X509BundlesResponse {
            crl: Vec::new(),
            bundles: x509
                .map(|bundle| (name(bundle), concatenated(bundle)))
                .collect(),
        });
        let jwks = |bundle: &TrustBundle| bundle.to_jwt_jwks().unwrap().into_bytes();
        self.publish_jwt_bundles(JwtBundlesResponse {
            bundles: bundles
                .iter()
                .map(|bundle| (name(bundle), jwks(bundle)))
                .collect(),
        });
        #[cfg(feature = "incubating-wit")]
        {
            let jwks = |bundle: &TrustBundle| bundle.to_wit_jwks().unwrap();
            let bundles = bundles.iter().map(|bundle| (name(bundle), jwks(bundle)));
            let message = WitBundlesResponse {
                bundles: bundles.collect(),
            };
            self.script
                .wit_bundles
                .send_replace(Answer::Message(message));
        }
    }

    /// Says this from now on to who asks for X.509 bundles, whatever it is.
    pub fn publish_x509_bundles(&self, message: X509BundlesResponse) {
        self.script
            .x509_bundles
            .send_replace(Answer::Message(message));
    }

    /// Says this from now on to who asks for JWT bundles, whatever it is.
    pub fn publish_jwt_bundles(&self, message: JwtBundlesResponse) {
        self.script
            .jwt_bundles
            .send_replace(Answer::Message(message));
    }

    /// Makes JWT-SVIDs in this way from now on: `mint` is given the audience, and makes the token of
    /// each identity that the workload has. Who asks for another identity is denied.
    pub fn mint_jwt(&self, mint: impl Fn(&[&str]) -> Vec<JwtSvid> + Send + Sync + 'static) {
        self.answer_jwt(move |asked| {
            let audience: Vec<&str> = asked.audience.iter().map(String::as_str).collect();
            let mut svids = mint(&audience);
            svids.retain(|svid| service::meant(asked, svid.id()));
            if svids.is_empty() {
                return Err(script::status(Code::PermissionDenied));
            }
            let svids = svids.iter().map(|svid| Jwtsvid {
                spiffe_id: svid.id().to_string(),
                svid: svid.token().to_owned(),
                hint: svid.hint().to_owned(),
            });
            Ok(JwtsvidResponse {
                svids: svids.collect(),
            })
        });
    }

    /// Answers who asks for JWT-SVIDs in this way from now on, whatever it is.
    pub fn answer_jwt(
        &self,
        answer: impl Fn(&JwtsvidRequest) -> Result<JwtsvidResponse, Status> + Send + Sync + 'static,
    ) {
        self.script
            .jwt
            .send_replace(Answer::Message(Arc::new(answer)));
    }

    /// Gives these WIT-SVIDs from now on, the default one first.
    ///
    /// # Panics
    ///
    /// Where one of them is no WIT-SVID.
    #[cfg(feature = "incubating-wit")]
    pub fn publish_wit(&self, drafts: &[TokenDraft]) {
        let svids = drafts.iter().map(|draft| Witsvid {
            spiffe_id: draft.wit_svid().id().to_string(),
            wit_svid: draft.token(),
            wit_svid_key: draft.private_jwk(),
            hint: String::new(),
        });
        self.publish_wit_message(WitsvidResponse {
            svids: svids.collect(),
        });
    }

    /// Says this from now on to who asks for WIT-SVIDs, whatever it is.
    #[cfg(feature = "incubating-wit")]
    pub fn publish_wit_message(&self, message: WitsvidResponse) {
        self.script.wit.send_replace(Answer::Message(message));
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
    /// is published for it.
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

/// How much a pipe in memory holds.
const PIPE: usize = 64 * 1024;

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
