//! A client that says who it is by a WIT-SVID, and proves it in each request (WIT-SVID section 5).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::jwt::WitSvid;
use tower_layer::Layer;
use tower_service::Service;

use crate::access_token::access_token;
use crate::inject::{InjectError, secret, vacant};
use crate::origin::Origin;
use crate::target::Target;
use crate::wit::{PROOF, TOKEN};

/// Presents a WIT-SVID in each request, with a proof made for this one: in the headers
/// `Workload-Identity-Token` and `Workload-Proof-Token`, never in `Authorization`.
///
/// The proof names the target of the request and is good for
/// [half a minute](WitSvid::PROOF_LIFETIME); where the request carries an access token as well, `Bearer` or
/// `DPoP`, it binds that too. Where something else stands in `Authorization` that may be one, or cannot be
/// read, the call fails: a proof without it would be worth less than it seems. Where there is no WIT-SVID
/// the call fails, and is not made without.
///
/// Both travel over a secure channel only (WIT-SVID section 7.3): `https`, or this machine. Over plain
/// text only where [`over_plain_text`](Self::over_plain_text) says so.
///
/// Redirections are not followed here. What follows them has to stand above this layer, which then judges
/// each step and makes a proof for it: name the one place with [`to`](Self::to), and a step to any other
/// fails. What follows them below cannot be seen from here and takes both headers to wherever a server
/// says: reqwest does so unless it is given `redirect::Policy::none()`, for it drops no header but those
/// that it knows. Whoever gets them can make that call in our name while the proof is good.
#[derive(Clone)]
pub struct WitInjectLayer {
    svid: Arc<dyn Fn() -> Option<WitSvid> + Send + Sync>,
    clock: Arc<dyn Clock>,
    target: Target,
}

impl WitInjectLayer {
    /// Presents the WIT-SVID that the function gives at that moment.
    pub fn new(svid: impl Fn() -> Option<WitSvid> + Send + Sync + 'static) -> Self {
        Self {
            svid: Arc::new(svid),
            clock: Arc::new(SystemClock),
            target: Target::default(),
        }
    }

    /// Presents it in this place only, `https://ledger.prod.example`: calls to others fail. Requests
    /// that do not say where they go, as those of tonic, are taken to go there.
    #[must_use]
    pub fn to(mut self, origin: Origin) -> Self {
        self.target.origin = Some(origin);
        self
    }

    /// Presents it over `http` as well, for networks that see to secrecy in another way.
    #[must_use]
    pub fn over_plain_text(mut self) -> Self {
        self.target.plain_text = true;
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn present<B>(&self, request: &mut Request<B>) -> Result<(), InjectError> {
        let origin = self.target.admit(request.uri())?;
        vacant(request.headers(), &TOKEN)?;
        vacant(request.headers(), &PROOF)?;
        let now = self.clock.now();
        let svid = (self.svid)().filter(|svid| now < svid.expires_at());
        let svid = svid.ok_or(InjectError::NoWit)?;
        let access = access_token(request.headers())?;
        let target = format!("{origin}{}", request.uri().path());
        let proof = svid
            .prove(&target, access, now)
            .map_err(InjectError::Proof)?;
        let (token, proof) = (secret(svid.token())?, secret(&proof)?);
        request.headers_mut().insert(TOKEN, token);
        request.headers_mut().insert(PROOF, proof);
        Ok(())
    }
}

impl fmt::Debug for WitInjectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitInjectLayer")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for WitInjectLayer {
    type Service = WitInject<S>;

    fn layer(&self, inner: S) -> WitInject<S> {
        WitInject {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose requests carry the WIT-SVID of a [`WitInjectLayer`], and a proof.
#[derive(Debug, Clone)]
pub struct WitInject<S> {
    inner: S,
    layer: WitInjectLayer,
}

impl<S, B> Service<Request<B>> for WitInject<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = InjectError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, InjectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), InjectError>> {
        let ready = self.inner.poll_ready(cx);
        ready.map_err(|error| InjectError::Call(error.into()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.present(&mut request) {
            Ok(()) => {
                // Presented at once, so this is the very service that was asked whether it is ready.
                let call = self.inner.call(request);
                Box::pin(async { call.await.map_err(|error| InjectError::Call(error.into())) })
            }
            Err(why) => Box::pin(async { Err(why) }),
        }
    }
}
