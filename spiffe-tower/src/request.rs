//! May this caller make this very request? Asked of whoever has to think about it.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use spiffe_core::authorizer::Denied;
use tower_layer::Layer;
use tower_service::Service;
use tracing::warn;

use crate::guard::{Guarded, GuardedCall};
use crate::principal::{Principal, Whom};
use crate::refusal::Refusal;

/// Decides whether a verified caller may make a request, and may take its time: it may ask a database
/// or a policy engine.
pub trait AuthorizeRequest: Clone + Send + 'static {
    /// The decision.
    type Future: Future<Output = Result<(), Denied>> + Send;

    /// Lets the request pass, or tells why not.
    fn authorize(&self, caller: &Principal, request: &Parts) -> Self::Future;
}

impl<F, D> AuthorizeRequest for F
where
    F: Fn(&Principal, &Parts) -> D + Clone + Send + 'static,
    D: Future<Output = Result<(), Denied>> + Send,
{
    type Future = D;

    fn authorize(&self, caller: &Principal, request: &Parts) -> D {
        self(caller, request)
    }
}

/// Lets pass the requests that an [`AuthorizeRequest`] lets pass.
#[derive(Clone)]
pub struct AuthorizeRequestLayer<A> {
    allow: A,
    whom: Whom,
}

impl<A: AuthorizeRequest> AuthorizeRequestLayer<A> {
    /// Asks this one at each request.
    pub fn new(allow: A) -> Self {
        Self {
            allow,
            whom: Whom::Caller,
        }
    }

    /// The same, and what is asked about is the peer of the connection, whatever token a request
    /// carries.
    #[must_use]
    pub fn about_peers(self) -> Self {
        Self {
            whom: Whom::Peer,
            ..self
        }
    }
}

impl<A> fmt::Debug for AuthorizeRequestLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeRequestLayer")
            .finish_non_exhaustive()
    }
}

impl<A: Clone, S> Layer<S> for AuthorizeRequestLayer<A> {
    type Service = AuthorizedRequests<A, S>;

    fn layer(&self, inner: S) -> AuthorizedRequests<A, S> {
        AuthorizedRequests {
            inner,
            allow: self.allow.clone(),
            whom: self.whom,
        }
    }
}

/// A service that only those requests reach which an [`AuthorizeRequestLayer`] lets pass; the others
/// are answered as by [`Authorized`](crate::Authorized).
#[derive(Clone)]
pub struct AuthorizedRequests<A, S> {
    inner: S,
    allow: A,
    whom: Whom,
}

impl<A, S: fmt::Debug> fmt::Debug for AuthorizedRequests<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizedRequests")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<A, S, B, R> Service<Request<B>> for AuthorizedRequests<A, S>
where
    A: AuthorizeRequest,
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Body,
{
    type Response = Response<Guarded<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let whom = self.whom;
        let who = match whom.find(&request) {
            Ok((who, _)) => who,
            Err(refusal) => return Box::pin(GuardedCall::<S::Future>::refused(refusal, &request)),
        };
        // The service that said it is ready is the one to be called; a copy has not said so.
        let copy = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, copy);
        let allow = self.allow.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let verdict = allow.authorize(&who, &parts).await;
            let mut request = Request::from_parts(parts, body);
            let rpc = request.uri().path();
            let verdict = verdict.map_err(|denied| {
                warn!(peer = %denied.peer(), rpc, reason = %denied, "a call was refused");
                Refusal::Denied(denied)
            });
            // Much may have happened while it was thought about.
            match verdict.and_then(|()| whom.find(&request)) {
                Ok((_, guard)) => {
                    whom.note(&who, request.extensions_mut());
                    GuardedCall::passed(ready.call(request), guard).await
                }
                Err(refusal) => GuardedCall::<S::Future>::refused(refusal, &request).await,
            }
        })
    }
}
