//! A client that says who it is by a JWT-SVID in each request (JWT-SVID sections 5.2 and 5.3).

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use http::header::AUTHORIZATION;
use spiffe_core::{JwtSource, SpiffeId};
use tower_layer::Layer;
use tower_service::Service;

use crate::inject::{InjectError, secret, vacant};
use crate::origin::Origin;
use crate::target::Target;

/// Puts a JWT-SVID into each request: `Authorization: Bearer`.
///
/// The token is for one audience, the service that is called, and comes from the source: kept while
/// it is good, renewed before it ends, asked for once however many wait for it. Where there is none,
/// the call fails and is not made without; likewise where the request has an `Authorization` of its
/// own.
///
/// Whoever sees the token can use it until it ends. So it goes over `https`, or to this machine; over
/// plain text only where [`over_plain_text`](Self::over_plain_text) says so.
///
/// Redirections are not followed here. What follows them has to stand above this layer, which then judges
/// each step: name the one place with [`to`](Self::to), and a step to any other fails. What follows them
/// below cannot be seen from here, and takes the header along unless it drops it by itself. reqwest, which
/// does so where it is not told otherwise, drops this one where scheme, host or port change; give it
/// `redirect::Policy::none()` all the same.
#[derive(Clone)]
pub struct JwtInjectLayer {
    what: Arc<What>,
    target: Target,
}

struct What {
    source: JwtSource,
    audience: String,
    id: Option<SpiffeId>,
}

impl JwtInjectLayer {
    /// Sends tokens of the default identity that are for this audience. Let it be the name of one
    /// service: who is named can present the token to all who are (JWT-SVID section 3.2).
    pub fn new(source: JwtSource, audience: impl Into<String>) -> Self {
        Self {
            what: Arc::new(What {
                source,
                audience: audience.into(),
                id: None,
            }),
            target: Target::default(),
        }
    }

    /// Sends tokens of this identity, for workloads that have more than one.
    #[must_use]
    pub fn identity(mut self, id: SpiffeId) -> Self {
        self.what = Arc::new(What {
            source: self.what.source.clone(),
            audience: self.what.audience.clone(),
            id: Some(id),
        });
        self
    }

    /// Sends tokens to this place only, `https://ledger.prod.example`: calls to others fail. Requests
    /// that do not say where they go, as those of tonic, are taken to go there.
    #[must_use]
    pub fn to(mut self, origin: Origin) -> Self {
        self.target.origin = Some(origin);
        self
    }

    /// Sends tokens over `http` as well, for networks that see to secrecy in another way.
    #[must_use]
    pub fn over_plain_text(mut self) -> Self {
        self.target.plain_text = true;
        self
    }
}

impl fmt::Debug for JwtInjectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtInjectLayer")
            .field("audience", &self.what.audience)
            .field("identity", &self.what.id)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for JwtInjectLayer {
    type Service = JwtInject<S>;

    fn layer(&self, inner: S) -> JwtInject<S> {
        JwtInject {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose requests carry the token of a [`JwtInjectLayer`].
#[derive(Debug, Clone)]
pub struct JwtInject<S> {
    inner: S,
    layer: JwtInjectLayer,
}

impl<S, B> Service<Request<B>> for JwtInject<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = InjectError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, InjectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InjectError>> {
        let ready = self.inner.poll_ready(cx);
        ready.map_err(|error| InjectError::Call(error.into()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let admitted = self.layer.target.admit(request.uri());
        if let Err(why) = admitted.and_then(|_| vacant(request.headers(), &AUTHORIZATION)) {
            return Box::pin(async { Err(why) });
        }
        // The service that said it is ready is the one to be called; a copy has not said so.
        let copy = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, copy);
        let what = self.layer.what.clone();
        Box::pin(async move {
            let token = what.token().await?;
            request.headers_mut().insert(AUTHORIZATION, token);
            let answer = ready.call(request).await;
            answer.map_err(|error| InjectError::Call(error.into()))
        })
    }
}

impl What {
    async fn token(&self) -> Result<http::HeaderValue, InjectError> {
        let audience = [&self.audience];
        let svid = match &self.id {
            Some(id) => self.source.svid_of(id, audience).await,
            None => self.source.svid(audience).await,
        };
        let svid = svid.map_err(InjectError::NoJwt)?;
        secret(&format!("Bearer {}", svid.token()))
    }
}
