//! A server that lets in whoever knows a token, signs whatever its entries say, and fails on demand.
//! It stands on a Unix socket without TLS: who calls is not what is tested here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use spiffe_core::x509::PublicKey;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Response, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::*;
use crate::agent::csr;
use crate::domain::{Fault, Kind};
use crate::proto::server::agent::attest_agent_request::Step;
use crate::proto::server::agent::attest_agent_response::{Result as Attested, Step as Answer};
use crate::proto::server::agent::{
    AttestAgentRequest, AttestAgentResponse, PostStatusRequest, PostStatusResponse,
    RenewAgentRequest, RenewAgentResponse,
};
use crate::proto::server::bundle::GetBundleRequest;
use crate::proto::server::entry::{SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse};
use crate::proto::server::svid::batch_new_x509svid_response::Result as Signed;
use crate::proto::server::svid::{BatchNewX509svidRequest, BatchNewX509svidResponse};
use crate::proto::types;
use crate::wire;

pub(super) struct FakeServer {
    state: Arc<State>,
    path: PathBuf,
    _served: JoinSet<()>,
}

struct State {
    clock: Arc<StepClock>,
    will: Mutex<Will>,
    asked_to_renew: Notify,
}

/// What the server does when it is asked.
struct Will {
    /// The last one signs; the first ones are tainted, once there is another.
    authorities: Vec<Authority>,
    entries: Vec<Arc<Entry>>,
    is_away: bool,
    denial: Option<Denial>,
    refuses_renewals: bool,
    lets_reattest: bool,
    spent_tokens: usize,
    attested: usize,
    signed: usize,
    /// By how many seconds its clock is behind that of the agent.
    behind: u64,
}

impl FakeServer {
    pub(super) async fn start(path: PathBuf, clock: Arc<StepClock>) -> Self {
        let will = Will {
            authorities: vec![Authority::new()],
            entries: Vec::new(),
            is_away: false,
            denial: None,
            refuses_renewals: false,
            lets_reattest: false,
            spent_tokens: 0,
            attested: 0,
            signed: 0,
            behind: 0,
        };
        let state = Arc::new(State {
            clock,
            will: Mutex::new(will),
            asked_to_renew: Notify::new(),
        });
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        let serving = Server::builder()
            .add_service(Calls::<0>(state.clone()))
            .add_service(Calls::<1>(state.clone()))
            .add_service(Calls::<2>(state.clone()))
            .add_service(Calls::<3>(state.clone()))
            .serve_with_incoming(incoming);
        let mut served = JoinSet::new();
        served.spawn(async { serving.await.unwrap() });
        Self {
            state,
            path,
            _served: served,
        }
    }

    pub(super) fn dialer(&self) -> Plain {
        Plain(self.path.clone())
    }

    pub(super) fn bundle_pem(&self) -> String {
        let will = self.will();
        let bundle = will.authorities[0].bundle("td");
        bundle.x509_authorities()[0].to_pem()
    }

    pub(super) fn entries(&self, entries: &[Arc<Entry>]) {
        self.will().entries = entries.to_vec();
    }

    pub(super) fn be_away(&self, is_away: bool) {
        self.will().is_away = is_away;
    }

    pub(super) fn deny(&self, denial: Option<Denial>) {
        self.will().denial = denial;
    }

    pub(super) fn refuse_renewals(&self, refuses: bool) {
        self.will().refuses_renewals = refuses;
    }

    pub(super) fn let_reattest(&self) {
        self.will().lets_reattest = true;
    }

    /// From now on this authority signs, and those before it are tainted.
    pub(super) fn taint_and_prepare(&self, authority: Authority) {
        self.will().authorities.push(authority);
    }

    pub(super) fn spent_tokens(&self) -> usize {
        self.will().spent_tokens
    }

    pub(super) fn attested(&self) -> usize {
        self.will().attested
    }

    /// How many certificates were signed, for agents and workloads.
    pub(super) fn signed(&self) -> usize {
        self.will().signed
    }

    pub(super) fn lag_behind(&self, seconds: u64) {
        self.will().behind = seconds;
    }

    pub(super) async fn asked_to_renew(&self) {
        self.state.asked_to_renew.notified().await;
    }

    fn will(&self) -> MutexGuard<'_, Will> {
        self.state.will.lock().unwrap()
    }
}

/// Connects to the socket, whatever the identity.
#[derive(Clone)]
pub(super) struct Plain(PathBuf);

#[async_trait]
impl Dialer for Plain {
    async fn dial(&self) -> Result<Channel, Box<dyn std::error::Error + Send + std::marker::Sync>> {
        Ok(connect(self.0.clone()).await)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Refusal(Kind, &'static str, Option<Denial>);

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        self.0
    }
    fn denial(&self) -> Option<Denial> {
        self.2
    }
}

fn refused(kind: Kind, text: &'static str) -> Status {
    wire::status(&Refusal(kind, text, None))
}

impl State {
    /// What to do, for everybody.
    fn will(&self) -> Result<MutexGuard<'_, Will>, Status> {
        let will = self.will.lock().unwrap();
        match will.is_away {
            true => Err(refused(Kind::Unavailable, "away")),
            false => Ok(will),
        }
    }

    /// What to do for agents.
    fn for_agents(&self) -> Result<MutexGuard<'_, Will>, Status> {
        let will = self.will()?;
        match will.denial {
            Some(denial) => Err(wire::status(&Refusal(Kind::Denied, "denied", Some(denial)))),
            None => Ok(will),
        }
    }

    fn sign(&self, will: &mut Will, path: &str, key: &PublicKey) -> types::X509svid {
        will.signed += 1;
        let now = self.clock.0.load(Ordering::SeqCst) - will.behind;
        let authority = will.authorities.last().unwrap();
        let certificate = authority.sign(path, key, now, now + 3600);
        types::X509svid {
            cert_chain: vec![certificate.der().to_vec()],
            ..Default::default()
        }
    }

    fn attest(&self, token: &str, csr: &[u8]) -> Result<Attested, Status> {
        let mut will = self.for_agents()?;
        let reattestable = will.lets_reattest && token == "reusable";
        match token {
            "good" => will.spent_tokens += 1,
            _ if reattestable => {}
            _ => {
                return Err(refused(
                    Kind::Invalid,
                    "join token does not exist or has already been used",
                ));
            }
        }
        will.attested += 1;
        let key = csr::tests::public_key(csr);
        let svid = Some(self.sign(&mut will, "/spire/agent/join_token/t", &key));
        Ok(Attested { svid, reattestable })
    }

    fn renew(&self, request: RenewAgentRequest) -> Result<RenewAgentResponse, Status> {
        self.asked_to_renew.notify_one();
        let mut will = self.for_agents()?;
        if will.refuses_renewals {
            return Err(refused(Kind::Internal, "no"));
        }
        let key = csr::tests::public_key(&request.params.unwrap().csr);
        let svid = Some(self.sign(&mut will, "/spire/agent/join_token/t", &key));
        Ok(RenewAgentResponse { svid })
    }

    fn bundle(&self) -> Result<types::Bundle, Status> {
        let will = self.will()?;
        let last = will.authorities.len() - 1;
        let authorities = will.authorities.iter().enumerate().map(|(at, authority)| {
            let bundle = authority.bundle("td");
            types::X509Certificate {
                asn1: bundle.x509_authorities()[0].der().to_vec(),
                tainted: at < last,
            }
        });
        Ok(types::Bundle {
            trust_domain: "td".to_owned(),
            x509_authorities: authorities.collect(),
            ..Default::default()
        })
    }

    fn entries(&self) -> Result<SyncAuthorizedEntriesResponse, Status> {
        let will = self.for_agents()?;
        let entries = will
            .entries
            .iter()
            .map(|entry| wire::entry::to_message(entry));
        Ok(SyncAuthorizedEntriesResponse {
            entries: entries.collect(),
            ..Default::default()
        })
    }

    fn sign_batch(
        &self,
        request: BatchNewX509svidRequest,
    ) -> Result<BatchNewX509svidResponse, Status> {
        let mut will = self.for_agents()?;
        let results = request.params.into_iter().map(|one| {
            let entry = will
                .entries
                .iter()
                .find(|entry| entry.id.as_str() == one.entry_id);
            let Some(entry) = entry.cloned() else {
                let status = Some(wire::item(&Refusal(Kind::NotFound, "no such entry", None)));
                return Signed { status, svid: None };
            };
            let key = csr::tests::public_key(&one.csr);
            let svid = self.sign(&mut will, entry.body.spiffe_id.path(), &key);
            Signed {
                status: Some(wire::ok()),
                svid: Some(svid),
            }
        });
        Ok(BatchNewX509svidResponse {
            results: results.collect(),
        })
    }
}

/// The calls of one service. Its name is all that tells them apart: the path of a call says the rest.
#[derive(Clone)]
struct Calls<const SERVICE: usize>(Arc<State>);

impl NamedService for Calls<0> {
    const NAME: &'static str = "spire.api.server.agent.v1.Agent";
}
impl NamedService for Calls<1> {
    const NAME: &'static str = "spire.api.server.bundle.v1.Bundle";
}
impl NamedService for Calls<2> {
    const NAME: &'static str = "spire.api.server.entry.v1.Entry";
}
impl NamedService for Calls<3> {
    const NAME: &'static str = "spire.api.server.svid.v1.SVID";
}

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<const SERVICE: usize> Service<http::Request<Body>> for Calls<SERVICE> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: http::Request<Body>) -> Reply {
        let state = self.0.clone();
        let method = call.uri().path().rsplit('/').next().unwrap_or_default();
        match method.to_owned().as_str() {
            "AttestAgent" => talk(call, move |first: AttestAgentRequest| {
                let Some(Step::Params(params)) = first.step else {
                    panic!("{first:?}")
                };
                let token = String::from_utf8(params.data.unwrap().payload).unwrap();
                let result = state.attest(&token, &params.params.unwrap().csr)?;
                let step = Some(Answer::Result(result));
                Ok(AttestAgentResponse { step })
            }),
            "RenewAgent" => answer(call, move |request| state.renew(request)),
            "PostStatus" => answer(call, move |_: PostStatusRequest| {
                state.for_agents().map(|_| PostStatusResponse {})
            }),
            "GetBundle" => answer(call, move |_: GetBundleRequest| state.bundle()),
            "SyncAuthorizedEntries" => {
                talk(call, move |_: SyncAuthorizedEntriesRequest| state.entries())
            }
            "BatchNewX509SVID" => answer(call, move |request| state.sign_batch(request)),
            method => panic!("no agent calls {method}"),
        }
    }
}

/// A call with one message and one answer.
fn answer<In, Out>(
    call: http::Request<Body>,
    handle: impl Fn(In) -> Result<Out, Status> + Send + std::marker::Sync + 'static,
) -> Reply
where
    In: prost::Message + Default + 'static,
    Out: prost::Message + Default + 'static,
{
    let handle = Arc::new(handle);
    let handler = service_fn(move |request: Request<In>| {
        let answer = handle(request.into_inner()).map(Response::new);
        std::future::ready(answer)
    });
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<Out, In>::default());
        Ok(grpc.unary(handler, call).await)
    })
}

/// A conversation that is over with the answer to the first message.
fn talk<In, Out>(
    call: http::Request<Body>,
    handle: impl Fn(In) -> Result<Out, Status> + Send + std::marker::Sync + 'static,
) -> Reply
where
    In: prost::Message + Default + 'static,
    Out: prost::Message + Default + 'static,
{
    let handle = Arc::new(handle);
    let handler = service_fn(move |request: Request<Streaming<In>>| {
        let handle = handle.clone();
        async move {
            let first = request.into_inner().next().await.unwrap()?;
            let answer = handle(first)?;
            Ok(Response::new(stream::iter([Ok(answer)])))
        }
    });
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<Out, In>::default());
        Ok(grpc.streaming(handler, call).await)
    })
}
