//! The bundle endpoint: a tower service, and the server of it.

mod places;
mod publication;
mod server;
mod tls;
mod web_identity;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::with_causes;
use spiffe_core::{IdentitySource, TrustBundle, TrustDomain};
use tower_service::Service;
use tracing::{error, warn};

pub use server::BundleServer;
pub use tls::EndpointTls;
pub use web_identity::WebIdentityError;

use super::{EndpointUrl, interval};
use publication::Publication;

/// Answers with a bundle, always the newest: a tower service for any server (SPIFFE Federation
/// sections 5.2.1.3 and 5.2.2.3). [`BundleServer`] is one.
///
/// Whoever asks gets it, without having to prove anything. The document has a number that grows
/// whenever its content changes, and a refresh hint; who has it already is told that nothing changed.
///
/// ```
/// use spiffe_core::IdentitySource;
/// use spiffe_hyper::federation::BundleEndpoint;
///
/// # fn example(source: impl IdentitySource) -> Result<BundleEndpoint, Box<dyn std::error::Error>> {
/// let url = "https://bundles.prod.example/".parse()?;
/// Ok(BundleEndpoint::new(&url, source, "prod.example".parse()?))
/// # }
/// ```
#[derive(Clone)]
pub struct BundleEndpoint {
    path: Arc<str>,
    hint: Duration,
    above: Option<u64>,
    clock: Arc<dyn Clock>,
    content: Arc<Content>,
}

enum Content {
    Bundle {
        newest: Box<dyn Fn() -> Option<TrustBundle> + Send + Sync>,
        published: Box<Mutex<Published>>,
    },
    Elsewhere(HeaderValue),
}

#[derive(Default)]
struct Published {
    last: Option<Publication>,
    /// Whether it is told that nothing can be published: strangers may ask as often as they like.
    trouble_told: bool,
}

impl BundleEndpoint {
    /// Serves what `source` has of `trust_domain`, at the path of `url`, which is the one that others
    /// are told.
    ///
    /// A source of the Workload API has X.509 authorities alone, or keys for JWT-SVIDs alone; whoever
    /// has both puts them together by [`by`](Self::by).
    pub fn new(url: &EndpointUrl, source: impl IdentitySource, trust_domain: TrustDomain) -> Self {
        Self::by(url, move || {
            source.snapshot().bundles().get(&trust_domain).cloned()
        })
    }

    /// Serves what `newest` gives at each request; nothing may be there for a while.
    pub fn by(
        url: &EndpointUrl,
        newest: impl Fn() -> Option<TrustBundle> + Send + Sync + 'static,
    ) -> Self {
        let published = Box::default();
        Self::of(
            url,
            Content::Bundle {
                newest: Box::new(newest),
                published,
            },
        )
    }

    /// The same at the path `/`, for a server that is not told by which URL others reach it.
    pub fn at_root(newest: impl Fn() -> Option<TrustBundle> + Send + Sync + 'static) -> Self {
        let published = Box::default();
        let newest = Box::new(newest);
        Self::at("/", Content::Bundle { newest, published })
    }

    /// Serves nothing, and leads those who ask to another endpoint, for the time being. In the profile
    /// `https_spiffe` the server there has to have the same ID as the one here.
    #[must_use]
    pub fn elsewhere(url: &EndpointUrl, to: &EndpointUrl) -> Self {
        // A URL holds nothing that a header may not.
        let to = HeaderValue::from_str(&to.to_string());
        Self::of(
            url,
            Content::Elsewhere(to.unwrap_or(HeaderValue::from_static("/"))),
        )
    }

    fn of(url: &EndpointUrl, content: Content) -> Self {
        Self::at(url.path(), content)
    }

    fn at(path: &str, content: Content) -> Self {
        Self {
            path: path.into(),
            hint: interval::UNTOLD,
            above: None,
            clock: Arc::new(SystemClock),
            content: Arc::new(content),
        }
    }

    /// How often others are to ask, where the bundle itself does not say; every five minutes without
    /// it. Whoever verifies us learns of a new authority that late.
    #[must_use]
    pub fn refresh_hint(mut self, hint: Duration) -> Self {
        self.hint = hint;
        self
    }

    /// Takes the time of day from this clock; bundles without a number of their own are numbered by it.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Begins with a number above this one, which is the last that was published before
    /// ([`sequence`](Self::sequence)).
    ///
    /// The clock alone is enough as long as it never goes back. Where it was ahead, was set right and
    /// the server began anew, others who saw the higher number would refuse the lower one as older.
    #[must_use]
    pub fn sequence_above(mut self, last: u64) -> Self {
        self.above = Some(last);
        self
    }

    /// The number of the bundle that was published last, by any clone; nothing before the first.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        match &*self.content {
            Content::Bundle { published, .. } => {
                lock(published).last.as_ref().map(|last| last.sequence)
            }
            Content::Elsewhere(_) => None,
        }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        if path != &*self.path {
            return told(StatusCode::NOT_FOUND, "there is no bundle here");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut answer = told(StatusCode::METHOD_NOT_ALLOWED, "a bundle can only be read");
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match &*self.content {
            Content::Elsewhere(to) => {
                let mut answer = told(StatusCode::TEMPORARY_REDIRECT, "it is elsewhere for now");
                answer.headers_mut().insert(LOCATION, to.clone());
                answer
            }
            Content::Bundle { newest, published } => {
                let mut published = lock(published);
                // Looked up under the lock: an older one never follows a newer one.
                let Some(bundle) = newest() else {
                    if !mem::replace(&mut published.trouble_told, true) {
                        warn!("a bundle was asked for and there is none");
                    }
                    return told(StatusCode::SERVICE_UNAVAILABLE, "there is no bundle yet");
                };
                self.publish(&mut published, bundle, headers)
            }
        }
    }

    fn publish(
        &self,
        published: &mut Published,
        bundle: TrustBundle,
        headers: &HeaderMap,
    ) -> Response<Bytes> {
        let Published { last, trouble_told } = published;
        let is_published = last.as_ref().is_some_and(|last| last.from == bundle);
        if !is_published {
            let now = self.clock.now();
            match Publication::following(last.as_ref(), self.above, bundle, self.hint, now) {
                Ok(next) => *last = Some(next),
                Err(error) => {
                    if !mem::replace(trouble_told, true) {
                        error!(error = %with_causes(&error), "the bundle cannot be published");
                    }
                    let why = "the bundle cannot be published";
                    return told(StatusCode::INTERNAL_SERVER_ERROR, why);
                }
            }
        }
        *trouble_told = false;
        let Some(publication) = last else {
            return told(StatusCode::SERVICE_UNAVAILABLE, "there is no bundle yet");
        };
        let mut answer = if is_known(headers, &publication.entity_tag) {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        } else {
            with_type(publication.document.clone(), "application/json")
        };
        let headers = answer.headers_mut();
        headers.insert(ETAG, publication.entity_tag.clone());
        // It may be kept, and whoever keeps it has to ask whether it still is the newest.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}

impl<B> Service<Request<B>> for BundleEndpoint {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, path) = (request.method(), request.uri().path());
        let mut answer = self.answer(method, path, request.headers());
        if answer.status() != StatusCode::NOT_MODIFIED {
            let length = HeaderValue::from(answer.body().len());
            answer.headers_mut().insert(CONTENT_LENGTH, length);
        }
        if method == Method::HEAD {
            *answer.body_mut() = Bytes::new();
        }
        ready(Ok(answer.map(Full::new)))
    }
}

impl fmt::Debug for BundleEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleEndpoint")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A poisoned lock still holds the last publication.
fn lock(published: &Mutex<Published>) -> MutexGuard<'_, Published> {
    published.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut answer = with_type(Bytes::from_static(why.as_bytes()), "text/plain");
    *answer.status_mut() = status;
    answer
}

fn with_type(body: Bytes, of_type: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(body);
    let of_type = HeaderValue::from_static(of_type);
    answer.headers_mut().insert(CONTENT_TYPE, of_type);
    answer
}

/// Whether who asks has it already (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).into_iter();
    known
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}
