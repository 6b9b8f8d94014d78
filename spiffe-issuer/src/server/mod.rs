//! The server: what attests nodes, keeps entries, and issues.
//!
//! This is the one place where its parts meet.

pub mod api;
pub mod built_ins;
pub mod bundles;
pub mod ca;
pub mod config;
mod dns_name;
pub mod entries;
pub mod entry_cache;
pub mod federation;
mod ids;
mod listen;
pub mod local_authority;
pub mod nodes;
pub mod own_identity;
pub mod prune;
pub mod store;
pub mod svids;
pub mod upstream;

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::Clock;
use spiffe_core::{SpiffeId, TrustDomain};
use spiffe_hyper::federation::BundleClient;
use tokio::time::timeout;
use tracing::info;

use self::api::{Api, Parts};
use self::bundles::Bundles;
use self::ca::{Authorities, CaError, CaManager};
use self::config::ServerConfig;
use self::entries::Entries;
use self::entry_cache::{CacheError, Follower};
use self::federation::endpoint::{Endpoint, EndpointError};
use self::federation::{Federation, refresh};
use self::local_authority::LocalAuthority;
use self::nodes::{Nodes, StoredTokens};
use self::own_identity::{OwnIdentity, OwnIdentityConfig, OwnIdentityError};
use self::store::{SharedStore, StoreError};
use self::svids::Svids;
use crate::config::Issues;
use crate::domain::{EntryFilter, Page};
use crate::runtime::health::Health;
use crate::runtime::{Shutdown, Stopped, Supervisor, TaskError};

pub use listen::ListenError;

/// A server that can serve: it has its sockets, and its authority can sign.
pub struct Server {
    parts: Supervisor,
    address: SocketAddr,
    bundle_address: Option<SocketAddr>,
    store: SharedStore,
}

impl Server {
    /// Makes the parts and puts them together.
    ///
    /// What can fail without leaving a trace comes first: a server that cannot start makes no key.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub async fn start(config: ServerConfig, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let trust_domain = config.trust_domain.clone();
        info!(%trust_domain, data_dir = %config.data_dir.display(), "Configured");
        let plugins = config.make_plugins(clock.clone())?;
        make_data_dir(&config.data_dir)?;
        let tcp = listen::bind_tcp(config.listen).await?;
        let address = tcp.local_addr().map_err(|source| ListenError::Bind {
            address: config.listen,
            source,
        })?;
        let unix = listen::bind_unix(&config.socket_path).await?;

        let store = plugins.store.open().await?;
        refuse_foreign(&store, &trust_domain).await?;
        let authorities = Authorities::none();
        let kinds = config.ca.kinds();
        let ca = CaManager::start(
            config.ca,
            plugins.keys,
            plugins.upstream,
            store.clone(),
            authorities.clone(),
            clock.clone(),
        )
        .await?;
        let follower = Follower::load(store.clone(), &trust_domain).await?;
        let identity = OwnIdentity::start(
            OwnIdentityConfig {
                trust_domain: trust_domain.clone(),
                lifetime: config.svids.x509_ttl,
                foreign: config.api.foreign_domains(&trust_domain),
            },
            authorities.clone(),
            store.clone(),
            clock.clone(),
        )
        .await?;

        let book = Arc::new(StoredTokens(store.clone()));
        let attestors = plugins.attestors.into_iter();
        let attestors = attestors.map(|(name, make)| (name, make(book.clone())));
        let nodes = Arc::new(Nodes::new(
            trust_domain.clone(),
            attestors.collect(),
            authorities.clone(),
            store.clone(),
            clock.clone(),
            config.nodes,
        ));
        let authority = LocalAuthority::new(
            trust_domain.clone(),
            kinds,
            authorities.clone(),
            ca.orders(),
            store.clone(),
            clock.clone(),
        );
        let svids = Svids::new(
            trust_domain.clone(),
            follower.cache(),
            authorities,
            clock.clone(),
            plugins.composers,
            config.svids,
        );
        let endpoint = match &config.federation.endpoint {
            None => None,
            Some(endpoint) => {
                let (identity, of) = (identity.source(), trust_domain.clone());
                let store = store.clone();
                Some(Endpoint::bind(endpoint, of, identity, store, clock.clone()).await?)
            }
        };
        let federation = Arc::new(Federation::new(
            trust_domain.clone(),
            config.federation.relationships,
            store.clone(),
            BundleClient::new(),
            clock.clone(),
        ));
        let api = Api::new(
            Parts {
                bundles: Arc::new(Bundles::new(trust_domain.clone(), store.clone())),
                entries: Arc::new(Entries::new(trust_domain, store.clone(), clock.clone())),
                cache: follower.cache(),
                federation: federation.clone(),
                authority: Arc::new(authority),
                nodes,
                svids: Arc::new(svids),
                trust: identity.source(),
                clock: clock.clone(),
            },
            config.api,
        );
        let acceptor = listen::acceptor(identity.source(), clock.clone());

        let health = Health::new();
        let mut parts = Supervisor::new(GRACE);
        let part = health.part("ca rotation");
        parts.worker("ca rotation", |stop| ca.run(part, stop));
        let part = health.part("entry cache");
        parts.worker("entry cache", |stop| {
            follower.run(clock.clone(), part, stop)
        });
        let part = health.part("server identity");
        parts.worker("server identity", |stop| identity.run(part, stop));
        let part = health.part("federation");
        let time = clock.clone();
        parts.worker("federation", |stop| {
            refresh::run(federation, time, part, stop)
        });
        let part = health.part("pruning");
        let pruned = store.clone();
        parts.worker("pruning", |stop| prune::run(pruned, clock, part, stop));
        let bundle_address = endpoint.as_ref().map(Endpoint::address);
        if let Some(endpoint) = endpoint {
            parts.listener("bundle endpoint", |stop| endpoint.run(stop));
        }
        let local = api.clone();
        parts.listener("api", |stop| listen::serve_tcp(tcp, acceptor, api, stop));
        parts.listener("local api", |stop| {
            listen::serve_unix(unix, local, health, stop)
        });
        Ok(Self {
            parts,
            address,
            bundle_address,
            store,
        })
    }

    /// Where it serves everyone; this tells the port where the system was to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves its bundle, if it does.
    #[must_use]
    pub fn bundle_address(&self) -> Option<SocketAddr> {
        self.bundle_address
    }

    /// Adds work that goes on for as long as the server does.
    pub fn worker<F>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.parts.worker(name, task);
    }

    /// Serves until `signal` is done, and closes its store.
    ///
    /// # Errors
    ///
    /// The part that ended before that.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Result<(), Stopped> {
        let outcome = self.parts.run(signal).await;
        // All that the server knows is in one file then. Where that takes too long it is in the
        // file's log, and no less safe.
        let _ = timeout(GRACE, self.store.close()).await;
        info!("Server stopped");
        outcome
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("parts", &self.parts)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Makes the directory of the server's files, for the server alone.
fn make_data_dir(path: &Path) -> Result<(), StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::DataDir {
            path: path.to_owned(),
            source,
        })
}

/// A store that was filled for another trust domain is the wrong one.
async fn refuse_foreign(store: &SharedStore, trust_domain: &TrustDomain) -> Result<(), StartError> {
    let first = store
        .list_entries(&EntryFilter::default(), &Page::first(1))
        .await?;
    match first.items.into_iter().next() {
        Some(entry) if !entry.body.spiffe_id.is_member_of(trust_domain) => {
            Err(StartError::Foreign {
                found: entry.body.spiffe_id,
                trust_domain: trust_domain.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// What keeps the server from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its authority cannot be taken up or made.
    #[error("setting up the authority")]
    Ca(#[from] CaError),
    /// The entries cannot be read.
    #[error("reading the entries")]
    Cache(#[from] CacheError),
    /// The directory for its files cannot be made.
    #[error("{}: cannot make the directory; see `data_dir`", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot serve its bundle.
    #[error("setting up the bundle endpoint")]
    Endpoint(#[from] EndpointError),
    /// The store belongs to another trust domain.
    #[error(
        "the store has entries of another trust domain, such as {found}; \
         `trust_domain` is `{trust_domain}`"
    )]
    Foreign {
        /// One of them.
        found: SpiffeId,
        /// What is configured.
        trust_domain: TrustDomain,
    },
    /// It cannot certify itself.
    #[error("getting an identity for the server itself")]
    Identity(#[from] OwnIdentityError),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The settings of its plugins are wrong.
    #[error(transparent)]
    Plugins(#[from] Issues),
    /// The store cannot be opened or read.
    #[error("opening the store")]
    Store(#[from] StoreError),
}

/// How long listeners, and then workers, have to come to an end.
const GRACE: Duration = Duration::from_secs(10);
