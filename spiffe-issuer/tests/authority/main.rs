//! The server's authorities across weeks, restarts and accidents, in milliseconds.

#![expect(
    clippy::unwrap_used,
    reason = "what fails in a helper fails the test that called it"
)]

mod crash;
mod orders;
mod own_identity;
mod rotation;
mod tokens;
mod upstream;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use spiffe_core::TrustDomain;
use spiffe_core::clock::Clock;
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey};
use spiffe_issuer::domain::AuthorityId;
use spiffe_issuer::keys::KeyManager;
use spiffe_issuer::server::ca::{
    Authorities, AuthorityState, CaConfig, CaError, CaManager, Leaf, UpstreamAuthority,
};
use spiffe_issuer::server::store::SharedStore;
use spiffe_issuer::server::store::sql::SqlStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

const TD: TrustDomain = TrustDomain::from_static("td");
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const START: Duration = Duration::from_secs(1_900_000_000);

/// A clock that stands still until it is set.
#[derive(Debug)]
struct Hand(Mutex<SystemTime>);

impl Hand {
    fn turn(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// A machine with a disk that survives the server.
struct Machine {
    dir: Arc<TempDir>,
    keys: Arc<dyn KeyManager>,
    upstream: Option<Arc<dyn UpstreamAuthority>>,
    wit: bool,
    clock: Arc<Hand>,
}

/// A server that runs on it.
struct Server {
    manager: CaManager,
    authorities: Arc<Authorities>,
    store: SharedStore,
}

impl Machine {
    fn new(keys: impl KeyManager) -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            keys: Arc::new(keys),
            upstream: None,
            wit: false,
            clock: Arc::new(Hand(Mutex::new(SystemTime::UNIX_EPOCH + START))),
        }
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("store.sqlite3")
    }

    async fn start(&self) -> Result<Server, CaError> {
        let at = self.database().to_str().unwrap().parse().unwrap();
        let store: SharedStore = Arc::new(SqlStore::open(&at).await?);
        let authorities = Authorities::none();
        let config = CaConfig {
            wit: self.wit.then_some(KeyKind::EcP256),
            ..CaConfig::of(TD)
        };
        let manager = CaManager::start(
            config,
            Arc::clone(&self.keys),
            self.upstream.clone(),
            Arc::clone(&store),
            Arc::clone(&authorities),
            Arc::<Hand>::clone(&self.clock),
        );
        Ok(Server {
            manager: manager.await?,
            authorities,
            store,
        })
    }

    async fn sql(&self, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.database());
        let mut connection = options.connect().await.unwrap();
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

impl Server {
    fn states(&self) -> Vec<AuthorityState> {
        self.authorities.x509_states()
    }

    fn active(&self) -> AuthorityId {
        self.states()[0].id.clone()
    }

    async fn bundle(&self) -> Vec<Certificate> {
        let bundle = self.store.find_bundle(&TD).await.unwrap();
        let authorities = bundle.unwrap().x509_authorities.into_iter();
        authorities.map(|authority| authority.certificate).collect()
    }

    /// A leaf that lives an hour, signed now.
    async fn leaf(&self, now: SystemTime) -> Certificate {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
        let chain = self.authorities.issue(leaf, now).await.unwrap();
        assert_eq!(chain.len(), 1, "the root is never sent");
        chain[0].clone()
    }
}
