//! The client of bundle endpoints.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use spiffe_core::bundle::Loaded;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::with_causes;
use spiffe_core::{BundleSet, TrustBundle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::{info, warn};

use super::held::{Fetched, Held, Order, Validators};
use super::request::{self, Answer};
use super::secure::{Dial, Secure, WebRoots};
use super::{FetchError, Relationship, TlsError};

/// Fetches bundles from their endpoints, by either profile (SPIFFE Federation section 5). Cheap to
/// clone, and it keeps nothing: what is held goes in, and what is held from then on comes out.
///
/// [`FederatedSource`](super::FederatedSource) calls it again and again.
///
/// ```no_run
/// use spiffe_core::BundleSet;
/// use spiffe_hyper::federation::{BundleClient, Relationship};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let url = "https://bundles.partner.example/".parse()?;
/// let partner = Relationship::https_web("partner.example".parse()?, url);
/// let fetched = BundleClient::new().fetch(&partner, None, &BundleSet::default()).await?;
/// println!("{} authorities", fetched.held.bundle().x509_authorities().len());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BundleClient {
    secure: Secure,
    redirects: usize,
    max_len: usize,
}

impl BundleClient {
    /// A client that believes the web authorities of the machine, waits half a minute and follows
    /// five redirects.
    #[must_use]
    pub fn new() -> Self {
        Self {
            secure: Secure {
                dial: Dial::by_tcp(),
                roots: WebRoots::default(),
                clock: Arc::new(SystemClock),
                patience: PATIENCE,
            },
            redirects: REDIRECTS,
            max_len: MAX_LEN,
        }
    }

    /// Believes these web authorities in place of the machine's, in the profile `https_web`.
    ///
    /// # Errors
    ///
    /// Where one of them is no certificate of an authority.
    pub fn web_roots(
        mut self,
        roots: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        self.secure.roots = WebRoots::of(roots)?;
        Ok(self)
    }

    /// Reaches hosts in a way of one's own: through a proxy, over a pipe. Whoever is there has to prove
    /// who it is all the same.
    #[must_use]
    pub fn dialling<F, IO>(
        mut self,
        dial: impl Fn(String, u16) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<IO>> + Send + 'static,
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.secure.dial = Dial::by(dial);
        self
    }

    /// Takes the time of day from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.secure.clock = clock;
        self
    }

    /// How long one fetch may take, redirects and all; 30 seconds where nothing else is said.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.secure.patience = limit;
        self
    }

    /// How many redirects are followed in one fetch; five where nothing else is said. The server at
    /// the end has to prove the same as the first one, and the next fetch begins at the first one.
    #[must_use]
    pub fn redirects(mut self, limit: usize) -> Self {
        self.redirects = limit;
        self
    }

    /// How many bytes of an answer are read; four MiB where nothing else is said, and no more in any
    /// case.
    #[must_use]
    pub fn max_len(mut self, limit: usize) -> Self {
        self.max_len = limit.min(MAX_LEN);
        self
    }

    /// Fetches the bundle of a relationship, where there is a newer one than is `held`.
    ///
    /// An endpoint in another trust domain than that whose bundle it serves is believed by what is
    /// in `believed` of its own. Each fetch is one line of the log (SPIFFE Federation section 7.6).
    ///
    /// # Errors
    ///
    /// Why there is none. What was held still is the newest.
    pub async fn fetch(
        &self,
        relationship: &Relationship,
        held: Option<&Held>,
        believed: &BundleSet,
    ) -> Result<Fetched, FetchError> {
        let limit = self.secure.patience;
        let fetching = self.fetch_unlogged(relationship, held, believed);
        let fetched = timeout(limit, fetching).await;
        let fetched = fetched.unwrap_or(Err(FetchError::TimedOut(limit)));
        tell(relationship, held, &fetched);
        #[cfg(feature = "metrics")]
        super::counts::fetched(relationship.trust_domain(), &fetched, self.time().now());
        fetched
    }

    pub(super) fn time(&self) -> &Arc<dyn Clock> {
        &self.secure.clock
    }

    async fn fetch_unlogged(
        &self,
        relationship: &Relationship,
        held: Option<&Held>,
        believed: &BundleSet,
    ) -> Result<Fetched, FetchError> {
        let (text, validators) = match (self.ask(relationship, held, believed).await?, held) {
            (Some(document), _) => document,
            (None, Some(held)) => return Ok(unchanged(held.clone())),
            // Nothing was held that could be unmodified.
            (None, None) => return Err(FetchError::Status(http::StatusCode::NOT_MODIFIED)),
        };
        let domain = relationship.trust_domain().clone();
        let offered = TrustBundle::from_document(domain, &text)?;
        judge(held, offered, validators)
    }

    /// The document and its validators, or nothing where it is the one that was had before.
    async fn ask(
        &self,
        relationship: &Relationship,
        held: Option<&Held>,
        believed: &BundleSet,
    ) -> Result<Option<(Vec<u8>, Validators)>, FetchError> {
        let trust = relationship.trust(held, believed)?;
        let known = held.and_then(|held| held.validators.as_ref());
        let mut url = relationship.url().clone();
        for _ in 0..=self.redirects {
            let io = self.secure.connect(&url, &trust).await?;
            let validators = known.filter(|known| known.url == url);
            match request::get(io, &url, validators, self.max_len).await? {
                Answer::Document { text, validators } => return Ok(Some((text, validators))),
                Answer::Moved(to) => url = to,
                Answer::NotModified => return Ok(None),
            }
        }
        Err(FetchError::TooManyRedirects {
            limit: self.redirects,
        })
    }
}

impl Default for BundleClient {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for BundleClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BundleClient")
            .field("timeout", &self.secure.patience)
            .field("redirects", &self.redirects)
            .field("max_len", &self.max_len)
            .finish_non_exhaustive()
    }
}

/// Whether what is offered takes the place of what is held.
fn judge(
    held: Option<&Held>,
    offered: Loaded<TrustBundle>,
    validators: Validators,
) -> Result<Fetched, FetchError> {
    let (bundle, skipped) = (offered.value, offered.skipped);
    let trust_domain = bundle.trust_domain().clone();
    let order = held.map_or(Order::Newer, |held| Order::of(held.bundle(), &bundle));
    match (order, held) {
        (Order::Rollback { held, offered }, _) => {
            return Err(FetchError::Rollback {
                trust_domain,
                held,
                offered,
            });
        }
        (Order::Same, Some(held)) => {
            let held = Held::new(held.bundle().clone(), Some(validators));
            return Ok(unchanged(held));
        }
        (Order::SameNumber, _) => {
            warn!(%trust_domain, sequence = bundle.sequence(), "two bundles have one number");
        }
        (Order::Unnumbered, _) => warn!(%trust_domain, "bundles are no longer numbered"),
        (Order::Newer | Order::Same, _) => {}
    }
    Ok(Fetched {
        held: Held::new(bundle, Some(validators)),
        replaced: true,
        skipped,
    })
}

fn unchanged(held: Held) -> Fetched {
    Fetched {
        held,
        replaced: false,
        skipped: Vec::new(),
    }
}

/// One line per fetch, for whoever has to find out what was believed when.
fn tell(relationship: &Relationship, held: Option<&Held>, fetched: &Result<Fetched, FetchError>) {
    let (trust_domain, url) = (relationship.trust_domain(), relationship.url());
    let endpoint = relationship.endpoint_id().map(tracing::field::display);
    let before = held.and_then(|held| held.bundle().sequence());
    match fetched {
        Ok(fetched) => {
            let sequence = fetched.held.bundle().sequence();
            let outcome = if fetched.replaced {
                "replaced"
            } else {
                "unchanged"
            };
            info!(%trust_domain, %url, endpoint, sequence, before, outcome, "bundle fetched");
            for skipped in &fetched.skipped {
                warn!(%trust_domain, skipped = %with_causes(skipped), "a key of a bundle is of no use");
            }
        }
        Err(error @ FetchError::Rollback { offered, .. }) => {
            let (sequence, outcome) = (Some(offered), "refused");
            warn!(%trust_domain, %url, endpoint, sequence, before, outcome, error = %with_causes(error), "bundle fetched");
        }
        Err(error) => {
            let (sequence, outcome) = (before, "failed");
            warn!(%trust_domain, %url, endpoint, sequence, outcome, error = %with_causes(error), "no bundle fetched");
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 5;
/// As much as a bundle is read of.
const MAX_LEN: usize = 4 * 1024 * 1024;
