//! Whom an agent believes before it knows anybody: its first bundle.

use std::io;
use std::path::PathBuf;

use spiffe_core::x509::X509Error;
use spiffe_core::{TrustBundle, TrustDomain};

use super::server_client::{CallError, Dialer, ServerClient};

/// Where the first bundle comes from.
pub enum Bootstrap {
    /// From a file of PEM certificates.
    File(PathBuf),
    /// From whoever answers as the server, the first time: over connections of this dialer, which
    /// believe anybody. Only the bundle is asked for in this way; the proof of what this node is goes
    /// to a server that the bundle vouches for.
    FirstServer(Box<dyn Fn() -> Box<dyn Dialer> + Send + Sync>),
}

impl Bootstrap {
    /// The first bundle, read anew at each try.
    ///
    /// # Errors
    ///
    /// Where it cannot be had, or is none.
    pub async fn bundle(&self, trust_domain: &TrustDomain) -> Result<TrustBundle, BootstrapError> {
        match self {
            Self::File(path) => {
                let text = tokio::fs::read(path)
                    .await
                    .map_err(|source| BootstrapError::Read {
                        path: path.clone(),
                        source,
                    })?;
                TrustBundle::from_pem(trust_domain.clone(), &text).map_err(|source| {
                    BootstrapError::NotABundle {
                        path: path.clone(),
                        source,
                    }
                })
            }
            Self::FirstServer(dialer) => {
                tracing::warn!(
                    "Bootstrapping insecurely: whoever answers as the server now will be believed"
                );
                let server = ServerClient::anonymous(dialer());
                Ok(server.bundle(trust_domain).await?.bundle)
            }
        }
    }
}

/// Why there is no first bundle.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The first server could not be asked.
    #[error("asking the server for the first bundle")]
    Ask(#[from] CallError),
    /// The file holds something else.
    #[error("{}: not a file of PEM certificates", path.display())]
    NotABundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: X509Error,
    },
    /// The file cannot be read.
    #[error("{}: the bootstrap bundle cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
