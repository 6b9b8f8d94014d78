//! The bundle endpoint: our own bundle, for whoever asks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use spiffe_core::clock::Clock;
use spiffe_core::source::IdentitySource;
use spiffe_core::{TrustBundle, TrustDomain, with_causes};
use spiffe_hyper::federation::{BundleEndpoint, BundleServer, EndpointTls, WebIdentityError};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::runtime::{Shutdown, TaskError};
use crate::server::config::{EndpointConfig, EndpointProof};
use crate::server::store::{BundleStore, StoreError};

/// A bundle endpoint that has its socket, and a bundle to serve.
pub struct Endpoint {
    server: BundleServer,
    address: SocketAddr,
    refresh_hint: Duration,
    clock: Arc<dyn Clock>,
    published: Published,
}

impl Endpoint {
    /// Listens, and reads what there is to serve.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had, the files are no certificate and its key, or the store fails.
    pub async fn bind(
        config: &EndpointConfig,
        trust_domain: TrustDomain,
        identity: Arc<dyn IdentitySource>,
        store: Arc<dyn BundleStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let tls = match &config.proof {
            EndpointProof::Svid => EndpointTls::https_spiffe(identity),
            EndpointProof::Web {
                certificate,
                key,
                look_every,
            } => {
                let tls = EndpointTls::https_web_of_any_host(certificate, key)?;
                look_every.map_or_else(|| tls.clone(), |interval| tls.clone().look_every(interval))
            }
        };
        let bind = |source| EndpointError::Bind {
            address: config.listen,
            source,
        };
        let server = BundleServer::bind(config.listen, tls).await.map_err(bind)?;
        let published = Published {
            trust_domain,
            store,
            newest: Arc::default(),
        };
        published.look().await?;
        Ok(Self {
            address: server.local_addr().unwrap_or(config.listen),
            server,
            refresh_hint: config.refresh_hint,
            clock,
            published,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    ///
    /// None: what fails is tried again.
    pub async fn run(self, stop: Shutdown) -> Result<(), TaskError> {
        let refresh_hint = self.refresh_hint.as_secs();
        info!(addr = %self.address, refresh_hint, "Serving bundle endpoint");
        let newest = Arc::clone(&self.published.newest);
        let endpoint = BundleEndpoint::at_root(move || newest.load().as_deref().cloned())
            .refresh_hint(self.refresh_hint)
            .clock(self.clock);
        tokio::select! {
            () = self.server.serve(endpoint, stop.cancelled()) => Ok(()),
            never = self.published.follow() => match never {},
        }
    }
}

/// Our bundle as it is served.
struct Published {
    trust_domain: TrustDomain,
    store: Arc<dyn BundleStore>,
    newest: Arc<ArcSwapOption<TrustBundle>>,
}

impl Published {
    /// Looks for good what is in the store. While that is away, what was there before is served.
    async fn follow(&self) -> std::convert::Infallible {
        let mut is_told = false;
        loop {
            sleep(LOOK_EVERY).await;
            let looked = self.look().await;
            if let Err(error) = &looked
                && !is_told
            {
                warn!(error = %with_causes(error), "the bundle that is served could not be read anew");
            }
            is_told = looked.is_err();
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let found = self.store.find_bundle(&self.trust_domain).await?;
        let found = found.map(|bundle| bundle.trust_bundle());
        // Readers compare what they were given before, so it is put there only where it is news.
        if self.newest.load().as_deref() != found.as_ref() {
            self.newest.store(found.map(Arc::new));
        }
        Ok(())
    }
}

/// Why there is no bundle endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be had.
    #[error("cannot listen on {address}; see `federation.bundle_endpoint`")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The store failed.
    #[error("reading the bundle to serve")]
    Store(#[from] StoreError),
    /// The files are no certificate and its key.
    #[error("see `serving_cert_file` in `federation.bundle_endpoint`")]
    Web(#[from] WebIdentityError),
}

/// How often to look for a newer bundle: whoever asks learns of it that late.
const LOOK_EVERY: Duration = Duration::from_secs(1);
