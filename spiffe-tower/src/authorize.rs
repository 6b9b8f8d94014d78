//! May this peer call this path? Whoever may not is answered here and never reaches the service.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use spiffe_core::authorizer::{Authorizer, Denied};
use tower_layer::Layer;
use tower_service::Service;
use tracing::warn;

use crate::peer::peer;

/// A policy: who may call, and who may call what in particular.
///
/// The most particular rule for a path decides alone: an exact path before a pattern, a longer
/// pattern before a shorter one, the default last. Let the default be the strictest, for it also
/// rules what nobody thought of. Paths are compared as they stand in the request, byte by byte;
/// gRPC services find their methods in the same way.
#[derive(Clone)]
pub struct AuthorizeLayer {
    policy: Arc<Policy>,
}

impl AuthorizeLayer {
    /// Lets those pass whom `default` lets pass.
    #[must_use]
    pub fn new(default: impl Authorizer) -> Self {
        Self {
            policy: Arc::new(Policy {
                default: Arc::new(default),
                exact: BTreeMap::new(),
                beneath: BTreeMap::new(),
            }),
        }
    }

    /// Lets call `path` whom `allow` lets pass, and nobody else.
    ///
    /// The path is that of one method, `/pkg.Service/Method`, or ends in `*` and stands for all
    /// that begin like it: `/pkg.Service/*`.
    #[must_use]
    pub fn rpc(mut self, path: &str, allow: impl Authorizer) -> Self {
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        let policy = Arc::make_mut(&mut self.policy);
        match path.strip_suffix('*') {
            Some(beginning) => policy.beneath.insert(beginning.into(), Arc::new(allow)),
            None => policy.exact.insert(path, Arc::new(allow)),
        };
        self
    }
}

impl fmt::Debug for AuthorizeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(f)
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized {
            inner,
            policy: self.policy.clone(),
        }
    }
}

/// A service that only those reach whom an [`AuthorizeLayer`] lets pass.
///
/// Denial is answered in the language of the request. gRPC: status 7, `PERMISSION_DENIED`, or 16,
/// `UNAUTHENTICATED`, where nobody proved who they are. Plain HTTP: 403 or 401.
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = AuthorizeFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = match self.policy.judge(&request) {
            // Judged at once, so this is the very service that was asked whether it is ready.
            Ok(()) => State::Passed {
                call: self.inner.call(request),
            },
            Err(refusal) => State::Refused {
                response: Some(refusal.answer(&request)),
            },
        };
        AuthorizeFuture { state }
    }
}

pin_project! {
    /// The answer of an [`Authorized`] service.
    #[derive(Debug)]
    pub struct AuthorizeFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F, R> {
        Passed { #[pin] call: F },
        Refused { response: Option<Response<R>> },
    }
}

impl<F, R, E> Future for AuthorizeFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            StateProjection::Passed { call } => call.poll(cx),
            // Once answered there is nothing more to come.
            StateProjection::Refused { response } => response
                .take()
                .map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
        }
    }
}

#[derive(Clone)]
struct Policy {
    default: Arc<dyn Authorizer>,
    exact: BTreeMap<String, Arc<dyn Authorizer>>,
    /// By how the path begins.
    beneath: BTreeMap<String, Arc<dyn Authorizer>>,
}

impl Policy {
    fn judge<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let path = request.uri().path();
        let Some(peer) = peer(request.extensions()) else {
            warn!(
                rpc = path,
                "a call was refused: nobody proved who is calling"
            );
            return Err(Refusal::Unauthenticated);
        };
        self.rule_for(path).authorize(peer).map_err(|denied| {
            warn!(peer = %denied.peer(), rpc = path, reason = %denied, "a call was refused");
            Refusal::Denied(denied)
        })
    }

    fn rule_for(&self, path: &str) -> &dyn Authorizer {
        let longest_beginning = || {
            let fitting = self
                .beneath
                .iter()
                .filter(|(beginning, _)| path.starts_with(*beginning));
            fitting
                .max_by_key(|(beginning, _)| beginning.len())
                .map(|(_, rule)| rule)
        };
        let rule = self.exact.get(path).or_else(longest_beginning);
        &**rule.unwrap_or(&self.default)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("exact", &self.exact.keys())
            .field("beneath", &self.beneath.keys())
            .finish_non_exhaustive()
    }
}

enum Refusal {
    Denied(Denied),
    Unauthenticated,
}

impl Refusal {
    /// What the peer is told: its own name and what it asked for, not what we expected.
    fn answer<B, R: Default>(&self, request: &Request<B>) -> Response<R> {
        let (http, grpc) = match self {
            Self::Denied(_) => (StatusCode::FORBIDDEN, PERMISSION_DENIED),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, UNAUTHENTICATED),
        };
        let mut response = Response::new(R::default());
        if !is_grpc(request.headers()) {
            *response.status_mut() = http;
            return response;
        }
        // No body follows, so these headers are the trailers too.
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, grpc);
        if let Ok(message) = HeaderValue::try_from(self.message(request.uri().path())) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }

    fn message(&self, path: &str) -> String {
        match self {
            Self::Denied(denied) => percent_encoded(&format!(
                "{} is not authorized to call {path}",
                denied.peer()
            )),
            Self::Unauthenticated => "the caller has not proven who it is".to_owned(),
        }
    }
}

/// `application/grpc`, with or without a codec named after it; the web flavour likewise.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// As gRPC wants its messages: printable ASCII, `%` as `%25`.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |encoded, byte| match byte {
            b' '..=b'~' if byte != b'%' => encoded + char::from(byte).encode_utf8(&mut [0; 4]),
            _ => encoded + &format!("%{byte:02X}"),
        })
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PERMISSION_DENIED: HeaderValue = HeaderValue::from_static("7");
const UNAUTHENTICATED: HeaderValue = HeaderValue::from_static("16");
