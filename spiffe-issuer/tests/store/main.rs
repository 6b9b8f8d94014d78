//! What every store promises, run against each engine there is.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails in a helper fails the test that called it"
)]

mod bundles;
mod changes;
mod entries;
mod failures;
mod federation;
mod nodes;
#[path = "../postgres/mod.rs"]
mod postgres;
mod shared;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use spiffe_core::x509::Certificate;
use spiffe_core::{SpiffeId, TrustDomain};
use spiffe_issuer::domain::{
    AttestedNode, AuthorityId, Entry, NewEntry, NodeSvid, SelectorSet, Serial,
};
use spiffe_issuer::server::store::sql::{PostgresConfig, SqlStore};
use spiffe_issuer::server::store::{Created, DataStore, StoreError};
use tempfile::TempDir;

use self::postgres::Postgres;

/// A place where one store lives, and lives on when it is closed and opened again.
enum Site {
    Postgres {
        server: &'static Postgres,
        database: String,
    },
    Sqlite {
        dir: TempDir,
    },
}

impl Site {
    fn sqlite() -> Self {
        Self::Sqlite {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// `None` where PostgreSQL is not there.
    fn postgres() -> Option<Self> {
        let server = Postgres::shared()?;
        let database = server.database();
        Some(Self::Postgres { server, database })
    }

    async fn open(&self) -> Arc<dyn DataStore> {
        Arc::new(self.try_open(true).await.unwrap())
    }

    async fn try_open(&self, migrate: bool) -> Result<SqlStore, StoreError> {
        match self {
            Self::Postgres { server, database } => {
                let at = server.connection_string(database).parse().unwrap();
                let mut config = PostgresConfig::new(at);
                config.migrate = migrate;
                SqlStore::open_postgres(&config).await
            }
            Self::Sqlite { dir } => {
                let path = dir.path().join("store.sqlite3");
                let at = path.to_str().unwrap().parse().unwrap();
                SqlStore::open_sqlite(&at, migrate).await
            }
        }
    }
}

/// Holds a promise against a fresh store of each engine.
async fn on_each(promise: impl AsyncFn(&Site)) {
    promise(&Site::sqlite()).await;
    if let Some(site) = Site::postgres() {
        promise(&site).await;
    }
}

/// Such and such a second of the tests' time.
fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000 + second)
}

fn td(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

fn id(path: &str) -> SpiffeId {
    format!("spiffe://td{path}").parse().unwrap()
}

fn selectors(texts: &[&str]) -> SelectorSet {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn entry(path: &str, parent: &str, texts: &[&str]) -> NewEntry {
    NewEntry::new(id(path), id(parent), selectors(texts))
}

async fn create(store: &dyn DataStore, entry: NewEntry) -> Entry {
    let mut created = store.create_entries(vec![entry], at(0)).await.unwrap();
    match created.pop() {
        Some(Created::New(entry)) => entry,
        other => panic!("not new: {other:?}"),
    }
}

fn serial(number: u8) -> Serial {
    Serial::from_be_bytes(&[number])
}

/// An SVID that another authority signed than the one of [`node`].
fn svid(number: u8, expires_at: SystemTime) -> NodeSvid {
    NodeSvid {
        serial: serial(number),
        expires_at,
        authority: Some(AuthorityId::from_text("bb")),
    }
}

fn node(name: &str, number: u8) -> AttestedNode {
    AttestedNode {
        id: id(&format!("/spire/agent/x509pop/{name}")),
        attestation_type: "x509pop".to_owned(),
        serial: Some(serial(number)),
        expires_at: at(3600),
        authority: Some(AuthorityId::from_text("aa")),
        renewed: None,
        can_reattest: true,
        selectors: selectors(&["x509pop:cn:a", "x509pop:serial:1"]),
        agent_version: String::new(),
    }
}

fn root(name: &str, not_after: SystemTime) -> Certificate {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.not_before = (not_after - Duration::from_secs(86_400)).into();
    params.not_after = not_after.into();
    let key = KeyPair::generate().unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
}
