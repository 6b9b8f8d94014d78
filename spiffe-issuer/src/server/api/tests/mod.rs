//! The APIs as their callers see them, without sockets: a call enters the stack as it would come
//! from a connection.

mod agents;
mod authorities;
mod bundles;
mod callers;
mod entries;
mod federation;
mod log;
mod svids;
mod tokens;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use spiffe_core::bundle::{BundleSet, TrustBundle};
use spiffe_core::clock::Clock;
use spiffe_core::source::{IdentitySource, SnapshotCell};
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::x509::{Certificate, KeyKind};
use spiffe_core::{IdentitySnapshot, SpiffeId, TrustDomain, spiffe_id};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::{Api, ApiPolicy, Caller, Guarded, Parts, Process};
use crate::attestation::node::join_token::{self, JoinTokenAttestor};
use crate::domain::{JoinToken, NewEntry};
use crate::keys::MemoryKeys;
use crate::proto::server::agent::agent_client::AgentClient;
use crate::proto::server::agent::{
    AgentX509svidParams, AttestAgentRequest, attest_agent_request, attest_agent_response,
};
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::server::entry::entry_client::EntryClient;
use crate::proto::server::svid::MintX509svidRequest;
use crate::proto::server::svid::svid_client::SvidClient;
use crate::proto::server::trustdomain::trust_domain_client::TrustDomainClient;
use crate::proto::types;
use crate::runtime::health::Health;
use crate::runtime::{Shutdown, TaskError};
use crate::server::bundles::Bundles;
use crate::server::ca::{Authorities, CaConfig, CaManager, UpstreamAuthority};
use crate::server::entries::tests::entry;
use crate::server::entries::{Entries, MadeEntry};
use crate::server::entry_cache::Follower;
use crate::server::federation::Federation;
use crate::server::federation::tests::{Net, by_svid};
use crate::server::local_authority::LocalAuthority;
use crate::server::nodes::{NodePolicy, Nodes, StoredTokens};
use crate::server::store::SharedStore;
use crate::server::store::sql::SqlStore;
use crate::server::svids::{SvidPolicy, Svids, TokenPolicy};

/// A server without sockets.
struct World {
    api: Api,
    clock: Arc<Hand>,
    entries: Arc<Entries>,
    follower: tokio::sync::Mutex<Follower>,
    net: Net,
    nodes: Arc<Nodes>,
    trust: Arc<SnapshotCell>,
    _tasks: JoinSet<Result<(), TaskError>>,
    _dir: tempfile::TempDir,
}

/// A clock that is moved by hand.
#[derive(Debug)]
struct Hand(Mutex<SystemTime>);

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

impl Hand {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const OPS: SpiffeId = SpiffeId::from_static("spiffe://td/ops");
const OPS_AGENT: SpiffeId = SpiffeId::from_static("spiffe://td/spire/agent/join_token/ops");

impl World {
    async fn new() -> Self {
        Self::made(false, None).await
    }

    /// A server with WIT-SVIDs, or with an authority above its own.
    async fn made(wit: bool, upstream: Option<Arc<dyn UpstreamAuthority>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store: SharedStore = Arc::new(SqlStore::open(&at).await.unwrap());
        let td = TrustDomain::from_static("td");
        let start = SystemTime::UNIX_EPOCH + 500_000 * HOUR;
        let clock = Arc::new(Hand(Mutex::new(start)));
        let authorities = Authorities::none();
        let ca = CaConfig {
            wit: wit.then_some(KeyKind::EcP256),
            ..CaConfig::of(td.clone())
        };
        let kinds = ca.kinds();
        let keys = Arc::new(MemoryKeys::default());
        let manager = CaManager::start(
            ca,
            keys,
            upstream,
            store.clone(),
            authorities.clone(),
            clock.clone(),
        );
        let manager = manager.await.unwrap();
        let authority = LocalAuthority::new(
            td.clone(),
            kinds,
            authorities.clone(),
            manager.orders(),
            store.clone(),
            clock.clone(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(manager.run(Health::new().part("ca"), Shutdown::new()));
        let judge = JoinTokenAttestor::new(Arc::new(StoredTokens(store.clone())));
        let nodes = Arc::new(Nodes::new(
            td.clone(),
            [(join_token::NAME, Arc::new(judge) as _)].into(),
            authorities.clone(),
            store.clone(),
            clock.clone(),
            NodePolicy {
                agent_ttl: HOUR,
                id_as_selector: false,
            },
        ));
        let entries = Arc::new(Entries::new(td.clone(), store.clone(), clock.clone()));
        let bundles = Arc::new(Bundles::new(td.clone(), store.clone()));
        let roots = bundles.own().await.unwrap().x509_authorities;
        let roots = roots.into_iter().map(|root| root.certificate).collect();
        let trust = BundleSet::from(TrustBundle::new(td.clone(), roots));
        let trust = Arc::new(SnapshotCell::new(IdentitySnapshot::new(vec![], trust)));
        let follower = Follower::load(store.clone(), &td).await.unwrap();
        let cache = follower.cache();
        let net = Net::default();
        let federation = Arc::new(Federation::new(
            TrustDomain::from_static("td"),
            vec![by_svid("file.test", "file", "file.test")],
            store.clone(),
            net.client(),
            clock.clone(),
        ));
        let tokens = |issuer: &str| TokenPolicy {
            ttl: Duration::from_secs(300),
            issuer: Some(issuer.to_owned()),
        };
        let policy = SvidPolicy {
            x509_ttl: HOUR,
            jwt: Some(tokens("https://jwt.test")),
            wit: wit.then(|| tokens("https://wit.test")),
            ca_ttl: 24 * HOUR,
        };
        let (composers, clock_) = (Vec::new(), clock.clone());
        let svids = Svids::new(td, cache.clone(), authorities, clock_, composers, policy);
        let parts = Parts {
            bundles,
            entries: entries.clone(),
            cache,
            federation,
            authority: Arc::new(authority),
            nodes: nodes.clone(),
            svids: Arc::new(svids),
            trust: trust.clone(),
            clock: clock.clone(),
        };
        let policy = ApiPolicy {
            admin_ids: [OPS, OPS_AGENT].into(),
            ..ApiPolicy::default()
        };
        Self {
            api: Api::new(parts, policy),
            net,
            clock,
            entries,
            follower: follower.into(),
            nodes,
            trust,
            _tasks: tasks,
            _dir: dir,
        }
    }

    /// The services as this caller reaches them.
    fn reached_by(&self, caller: Caller) -> As<Guarded<Routes>> {
        let routes = match caller.is_local() {
            true => self.api.local(tonic_health::server::health_reporter().1),
            false => self.api.remote(),
        };
        As {
            inner: self.api.stack().layer(routes.prepare()),
            caller,
        }
    }

    async fn agents(&self, caller: Caller) -> AgentClient<As<Guarded<Routes>>> {
        AgentClient::new(self.reached_by(caller))
    }

    async fn entries(&self, caller: Caller) -> EntryClient<As<Guarded<Routes>>> {
        EntryClient::new(self.reached_by(caller))
    }

    async fn bundles(&self, caller: Caller) -> BundleClient<As<Guarded<Routes>>> {
        BundleClient::new(self.reached_by(caller))
    }

    async fn trust_domains(&self, caller: Caller) -> TrustDomainClient<As<Guarded<Routes>>> {
        TrustDomainClient::new(self.reached_by(caller))
    }

    async fn svids(&self, caller: Caller) -> SvidClient<As<Guarded<Routes>>> {
        SvidClient::new(self.reached_by(caller))
    }

    /// Makes a join token and attests with it.
    async fn attested(&self) -> Caller {
        self.attested_with(JoinToken::random()).await
    }

    /// Makes this join token and attests with it.
    async fn attested_with(&self, token: JoinToken) -> Caller {
        let made = self.nodes.create_token(HOUR, Some(token), None).await;
        let chain = self.attest(made.unwrap().token.reveal()).await.unwrap();
        self.caller(&chain)
    }

    /// Attests with this token, from an address of its own, and returns the chain.
    async fn attest(&self, token: &str) -> Result<Vec<Certificate>, Status> {
        let mut agents = self.agents(anonymous()).await;
        let params = attest_agent_request::Params {
            data: Some(types::AttestationData {
                r#type: join_token::NAME.into(),
                payload: token.into(),
            }),
            params: Some(AgentX509svidParams { csr: csr() }),
        };
        let request = AttestAgentRequest {
            step: Some(attest_agent_request::Step::Params(params)),
        };
        let answers = agents.attest_agent(tokio_stream::iter([request])).await?;
        let mut answers = answers.into_inner();
        let answer = answers.message().await?.unwrap();
        assert!(answers.message().await?.is_none(), "all is said");
        match answer.step.unwrap() {
            attest_agent_response::Step::Result(result) => Ok(chain(result.svid)),
            other => panic!("no challenge was to come: {other:?}"),
        }
    }

    /// A workload with this ID, which somebody with the right to it minted.
    async fn workload(&self, id: SpiffeId) -> Caller {
        let mut params = CertificateParams::default();
        let uri = id.as_str().try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let request = params.serialize_request(&KeyPair::generate().unwrap());
        let request = MintX509svidRequest {
            csr: request.unwrap().der().to_vec(),
            ttl: 0,
        };
        let minted = self.svids(local()).await.mint_x509svid(request).await;
        self.caller(&chain(minted.unwrap().into_inner().svid))
    }

    /// A workload whose entry gives it these rights.
    async fn privileged(&self, admin: bool, downstream: bool) -> Caller {
        let path = format!("/privileged/{admin}/{downstream}");
        let id = SpiffeId::new(&TrustDomain::from_static("td"), &path).unwrap();
        let entry = NewEntry {
            spiffe_id: id.clone(),
            admin,
            downstream,
            ..entry()
        };
        let made = self.entries.create(vec![entry]).await.unwrap().remove(0);
        assert!(matches!(made, Ok(MadeEntry::New(_))), "{made:?}");
        self.workload(id).await
    }

    /// The caller that presents this chain.
    fn caller(&self, chain: &[Certificate]) -> Caller {
        let chain: Vec<_> = chain.iter().map(|c| c.der().to_vec().into()).collect();
        let trust = self.trust.snapshot();
        let peer = x509_peer(&chain, trust.bundles(), Role::Client, self.clock.now()).unwrap();
        Caller::proven(address(), peer).unwrap()
    }
}

/// A caller on the server's own socket.
fn local() -> Caller {
    Caller::local(Process::default())
}

/// A caller that nobody knows.
fn anonymous() -> Caller {
    Caller::anonymous(address())
}

/// An address that nobody else has, so that nobody's calls count for anyone else.
fn address() -> SocketAddr {
    static NEXT: Mutex<u32> = Mutex::new(0x0a00_0000);
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    SocketAddr::from((next.to_be_bytes(), 4711))
}

/// A certificate request with a new key.
fn csr() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key);
    request.unwrap().der().to_vec()
}

fn chain(svid: Option<types::X509svid>) -> Vec<Certificate> {
    crate::wire::bundle::chain_from_message(&svid.unwrap()).unwrap()
}

/// Puts a caller where its connection would.
#[derive(Clone)]
struct As<S> {
    inner: S,
    caller: Caller,
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for As<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> S::Future {
        request.extensions_mut().insert(self.caller.clone());
        self.inner.call(request)
    }
}
