//! A house for a server: a directory with what it needs, and the door to it.

#![allow(dead_code, reason = "no test needs all of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use spiffe_core::BundleSet;
use spiffe_core::clock::SystemClock;
use spiffe_core::with_causes;
use spiffe_issuer::config::parse;
use spiffe_issuer::proto::server::bundle::GetBundleRequest;
use spiffe_issuer::proto::server::bundle::bundle_client::BundleClient;
use spiffe_issuer::server::config::ServerConfig;
use spiffe_issuer::server::{Server, StartError};
use spiffe_issuer::wire::bundle::from_message;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// A directory with what a server needs.
pub(crate) struct House {
    dir: tempfile::TempDir,
    trust_domain: &'static str,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::of("example.org")
    }

    /// A house of this trust domain.
    pub(crate) fn of(trust_domain: &'static str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            trust_domain,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A configuration with these lines in its server block.
    pub(crate) fn config(&self, lines: &str) -> ServerConfig {
        let (dir, trust_domain) = (self.dir.path().display(), self.trust_domain);
        let text = format!(
            r#"server {{
                trust_domain = "{trust_domain}"
                bind_address = "127.0.0.1"
                bind_port = 0
                data_dir = "{dir}/data"
                socket_path = "{dir}/private/api.sock"
                {lines}
            }}
            plugins {{
                DataStore "sql" {{
                    plugin_data {{
                        database_type = "sqlite3"
                        connection_string = "{dir}/data/store.sqlite3"
                    }}
                }}
                KeyManager "disk" {{ plugin_data {{ keys_path = "{dir}/data/keys.json" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}"#
        );
        let root = parse("server.conf", &text).unwrap();
        ServerConfig::read(&root).unwrap().value
    }

    pub(crate) async fn start(&self) -> Result<Server, StartError> {
        Server::start(self.config(""), Arc::new(SystemClock)).await
    }

    pub(crate) async fn run(&self) -> Running {
        self.run_with("").await
    }

    /// A server with these lines in its server block.
    pub(crate) async fn run_with(&self, lines: &str) -> Running {
        let server = Server::start(self.config(lines), Arc::new(SystemClock)).await;
        let server = server.unwrap();
        let address = server.address();
        let bundle_address = server.bundle_address();
        let (stop, stopped) = oneshot::channel();
        let signal = async { drop(stopped.await) };
        #[expect(clippy::disallowed_methods, reason = "awaited by `Running::stop`")]
        let task = tokio::spawn(async { server.run(signal).await.map_err(|e| with_causes(&e)) });
        Running {
            address,
            bundle_address,
            stop,
            task,
        }
    }

    pub(crate) async fn operator(&self) -> Channel {
        let socket = self.path("private/api.sock");
        let endpoint = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Our authorities, as the operator learns them.
    pub(crate) async fn trust(&self) -> BundleSet {
        let mut bundles = BundleClient::new(self.operator().await);
        let told = bundles
            .get_bundle(GetBundleRequest::default())
            .await
            .unwrap();
        BundleSet::from(from_message(told.get_ref()).unwrap().bundle)
    }

    pub(crate) async fn raw(&self) -> UnixStream {
        UnixStream::connect(self.path("private/api.sock"))
            .await
            .unwrap()
    }
}

/// A server that runs.
pub(crate) struct Running {
    /// Where it serves everyone.
    pub(crate) address: SocketAddr,
    /// Where it serves its bundle, if it does.
    pub(crate) bundle_address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}
