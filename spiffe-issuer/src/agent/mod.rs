//! The agent: what attests the workloads of one node, and hands them the identities that the server
//! issues.
//!
//! This is the one place where its parts meet.

pub mod attest;
pub mod bootstrap;
pub mod built_ins;
pub mod cache;
pub mod config;
pub mod csr;
pub mod dial;
pub mod h2_authority;
mod health;
pub mod lifecycle;
pub mod limit;
pub mod listen;
pub mod own_identity;
pub mod peer;
pub mod renewal;
pub mod rotate;
pub mod server_client;
pub mod storage;
pub mod sync;
pub mod token;
pub mod workload_api;

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::IdError;
use spiffe_core::clock::Clock;
use spiffe_core::source::SnapshotCell;
use tokio::sync::mpsc;
use tracing::info;

use self::attest::Attestation;
use self::bootstrap::Bootstrap;
use self::cache::Cache;
use self::config::{AgentConfig, BootstrapConfig};
use self::dial::{FirstServer, Verified};
use self::limit::{Allowance, Limits};
use self::listen::PublicSocket;
use self::own_identity::{OwnIdentity, OwnIdentityError};
use self::rotate::Rotation;
use self::server_client::{Dialer, ServerClient};
use self::storage::{Storage, StorageError};
use self::sync::Sync;
use self::workload_api::Workloads;
use crate::attestation::workload::WorkloadAttestors;
use crate::config::Issues;
use crate::runtime::health::Health;
use crate::runtime::unix_socket::SocketError;
use crate::runtime::{Restarts, Shutdown, Stopped, Supervisor, TaskError};

/// An agent that has its files and its socket. It becomes one of its server's when it runs.
#[derive(Debug)]
pub struct Agent {
    parts: Supervisor,
    health: Health,
}

/// How the server is reached.
pub struct Dialers {
    /// As who the identity says, and only the server that it vouches for.
    pub verified: Box<dyn FnOnce(Arc<SnapshotCell>) -> Box<dyn Dialer>>,
    /// As nobody, and whoever answers as the server.
    pub insecure: Box<dyn Fn() -> Box<dyn Dialer> + Send + std::marker::Sync>,
}

impl Agent {
    /// Makes the parts and puts them together.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub async fn start(config: AgentConfig, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let (address, verified_clock) = (config.server.clone(), clock.clone());
        let server = dial::server_id(&config.trust_domain)?;
        let first = FirstServer::new(address.clone(), server.clone())?;
        let dialers = Dialers {
            verified: Box::new(move |identity| {
                Box::new(Verified::new(address, server, identity, verified_clock))
            }),
            insecure: Box::new(move || Box::new(first.clone())),
        };
        Self::start_with(config, clock, dialers).await
    }

    /// The same with a server that is reached in these ways.
    ///
    /// What can fail without leaving a trace comes first: an agent that cannot start spends no join
    /// token and makes no key.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub async fn start_with(
        config: AgentConfig,
        clock: Arc<dyn Clock>,
        dialers: Dialers,
    ) -> Result<Self, StartError> {
        let trust_domain = config.trust_domain.clone();
        info!(%trust_domain, data_dir = %config.data_dir.display(), "Configured");
        let plugins = config.make_plugins(clock.clone())?;
        let (storage, found) = Storage::open(&config.data_dir).await?;
        let socket = PublicSocket::bind(&config.socket_path).await?;
        let (own, term) = OwnIdentity::restore(
            trust_domain.clone(),
            found,
            plugins.keys,
            storage,
            config.renewal,
        )
        .await?;

        let own = Arc::new(own);
        let cache = Arc::new(Cache::new(trust_domain, config.svid_cache_size));
        let dialer = (dialers.verified)(own.source());
        let (server, turned_away) = ServerClient::new(dialer, own.source());
        let (taint, tainted) = mpsc::channel(1);
        let health = Health::new();
        let attestation = Attestation {
            own: own.clone(),
            server: server.clone(),
            attestor: plugins.prover.0,
            prover: (plugins.prover.1)(config.token),
            bootstrap: match config.bootstrap {
                BootstrapConfig::File(path) => Bootstrap::File(path),
                BootstrapConfig::FirstServer => Bootstrap::FirstServer(dialers.insecure),
            },
            cache: cache.clone(),
            clock: clock.clone(),
            health: health.part("node identity"),
            turned_away,
            tainted,
        };
        let sync = Arc::new(Sync {
            server: server.clone(),
            own: own.clone(),
            cache: cache.clone(),
            clock: clock.clone(),
            tainted: taint,
            memory: Default::default(),
        });
        let rotation = Arc::new(Rotation {
            server,
            own,
            cache: cache.clone(),
            clock: clock.clone(),
            renewal: config.renewal,
            key_kind: config.workload_key_kind,
        });
        let attestors = WorkloadAttestors::new(plugins.attestors);

        let mut parts = Supervisor::new(GRACE);
        parts.worker("node identity", |stop| attestation.run(term, stop));
        let (all, interval) = (health.clone(), config.sync_interval);
        parts.restarting_worker("entry sync", RESTARTS, move |stop| {
            let (sync, part) = (sync.clone(), all.part("entry sync"));
            async move { sync.run(interval, part, stop).await }
        });
        parts.restarting_worker("svid rotation", RESTARTS, move |stop| {
            let rotation = rotation.clone();
            async move { rotation.run(stop).await }
        });
        parts.listener("workload api", |stop| async move {
            info!(address = %config.socket_path.display(), network = "unix", "Starting agent APIs");
            let (reporting, service) = health::service(cache.clone());
            let workloads = Workloads {
                attestors,
                cache,
                limits: Limits::new(Allowance::default()),
                clock,
                allow_unauthenticated_verifiers: config.allow_unauthenticated_verifiers,
                stop: stop.clone(),
            };
            let serving = socket.serve(Arc::new(workloads), |api| api.add_service(service), stop);
            tokio::select! {
                served = serving => Ok(served?),
                never = reporting => match never {},
            }
        });
        Ok(Self { parts, health })
    }

    /// Adds work that goes on for as long as the agent does.
    pub fn worker<F>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        self.parts.worker(name, task);
    }

    /// How its parts are.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves until `signal` is done.
    ///
    /// # Errors
    ///
    /// The part that ended before that; that of the node's identity ends where the server says that
    /// this is an agent no longer.
    pub async fn run(self, signal: impl Future<Output = ()>) -> Result<(), Stopped> {
        let outcome = self.parts.run(signal).await;
        info!("Agent stopped");
        outcome
    }
}

/// What keeps the agent from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no server of such a trust domain.
    #[error("naming the server")]
    Id(#[from] IdError),
    /// What it was cannot be taken up.
    #[error("taking up the agent's own identity")]
    Identity(#[from] OwnIdentityError),
    /// The settings of its plugins are wrong.
    #[error(transparent)]
    Plugins(#[from] Issues),
    /// It cannot listen.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// TLS cannot be done.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
    /// What it knew cannot be read, or what it learns could not be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// How long the listener, and then workers, have to come to an end.
const GRACE: Duration = Duration::from_secs(10);

/// A worker that fails more often will not mend by itself.
const RESTARTS: Restarts = Restarts {
    at_most: 5,
    within: Duration::from_secs(60),
};

#[cfg(test)]
mod tests;
