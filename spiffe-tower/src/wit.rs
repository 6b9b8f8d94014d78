//! Callers that prove who they are by a WIT-SVID and a proof that its key is theirs (WIT-SVID section
//! 5; draft-ietf-wimse-wpt).

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use spiffe_core::IdentitySource;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::jwt::WitSvid;
use spiffe_core::verify::{self, JwtRules, VerifiedWit, VerifyJwtError, VerifyProofError};
use spiffe_core::with_causes;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{error, warn};

use crate::access_token::{AccessTokenError, access_token};
use crate::bearer::{BearerError, hide};
use crate::guard::{Guarded, GuardedCall};
use crate::peer::{Connection, peer};
use crate::principal::TakenForCaller;
use crate::refusal::Refusal;

/// Lets pass who brings a WIT-SVID and a proof for this very request, and puts what they prove, a
/// [`VerifiedWit`], into the extensions of the request: [`Principal::of`](crate::Principal::of) finds
/// it.
///
/// Everybody else is refused: 403, for 401 has to name a scheme of HTTP authentication and there is none
/// for these headers, or status 16, `UNAUTHENTICATED`, in gRPC.
///
/// A token without a proof is refused, and so is one in `Authorization`. Where an OAuth access token
/// stands there, `Bearer` or `DPoP`, the proof must bind it; credentials of `Basic` and `Negotiate` are
/// left to others, and whatever else stands there is refused, readable or not. Both need a secure channel
/// (WIT-SVID section 7.3), so only requests that came over mutual TLS are heard, unless
/// [`behind_a_proxy`](Self::behind_a_proxy) says that somebody else ended the TLS.
///
/// Whether a proof came before is not judged: [`VerifiedWit::proof_id`] is what to remember for that.
/// Where the layer belongs is told at `JwtBearerLayer`.
#[derive(Clone)]
pub struct WitVerifyLayer {
    judge: Arc<Judge>,
}

impl WitVerifyLayer {
    /// Takes proofs for these origins: what the URIs of our requests begin with, e.g.
    /// `https://ledger.prod.example`. The source's snapshots must hold WIT bundles.
    ///
    /// Without an origin every proof is refused.
    pub fn new(
        source: impl IdentitySource,
        origins: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let bare = |origin: String| origin.trim_end_matches('/').to_owned();
        let origins = origins.into_iter().map(Into::into).map(bare).collect();
        Self {
            judge: Arc::new(Judge {
                source: Arc::new(source),
                origins,
                rules: JwtRules::default(),
                clock: Arc::new(SystemClock),
                behind_a_proxy: false,
            }),
        }
    }

    /// What is asked of tokens where the standard leaves a choice.
    #[must_use]
    pub fn rules(mut self, rules: JwtRules) -> Self {
        Arc::make_mut(&mut self.judge).rules = rules;
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.judge).clock = clock;
        self
    }

    /// Hears requests that did not come over mutual TLS: whoever handed them on has seen to it that
    /// nobody could read them on the way.
    #[must_use]
    pub fn behind_a_proxy(mut self) -> Self {
        Arc::make_mut(&mut self.judge).behind_a_proxy = true;
        self
    }
}

impl fmt::Debug for WitVerifyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.judge.fmt(f)
    }
}

impl<S> Layer<S> for WitVerifyLayer {
    type Service = WitVerify<S>;

    fn layer(&self, inner: S) -> WitVerify<S> {
        WitVerify {
            inner,
            judge: self.judge.clone(),
        }
    }
}

/// A service that only those reach whom a [`WitVerifyLayer`] lets pass.
#[derive(Debug, Clone)]
pub struct WitVerify<S> {
    inner: S,
    judge: Arc<Judge>,
}

impl<S, B, R> Service<Request<B>> for WitVerify<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<Guarded<R>>;
    type Error = S::Error;
    type Future = GuardedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        for header in [TOKEN, PROOF, AUTHORIZATION] {
            hide(request.headers_mut(), header);
        }
        match self.judge.hear(&request) {
            Ok(wit) => {
                request.extensions_mut().insert(wit);
                GuardedCall::passed(self.inner.call(request), None)
            }
            Err(why) => {
                let rpc = request.uri().path();
                let over = peer(request.extensions()).map(|peer| peer.id().to_string());
                match why {
                    // Whoever wrote the program is to know, not who calls.
                    WitError::Bearer(BearerError::Misplaced) => {
                        error!(rpc, over, reason = %with_causes(&why), "a call was refused");
                    }
                    _ => warn!(rpc, over, reason = %with_causes(&why), "a call was refused"),
                }
                GuardedCall::refused(Refusal::Unauthenticated, &request)
            }
        }
    }
}

#[derive(Clone)]
struct Judge {
    source: Arc<dyn IdentitySource>,
    origins: Vec<String>,
    rules: JwtRules,
    clock: Arc<dyn Clock>,
    behind_a_proxy: bool,
}

impl Judge {
    fn hear<B>(&self, request: &Request<B>) -> Result<VerifiedWit, WitError> {
        let extensions = request.extensions();
        if !self.behind_a_proxy && extensions.get::<Connection>().is_none() {
            return Err(WitError::PlainText);
        }
        if TakenForCaller::Wit.is_escaped_by(extensions) {
            return Err(BearerError::Misplaced.into());
        }
        let headers = request.headers();
        let token = only(headers, TOKEN)?;
        let proof = only(headers, PROOF)?;
        let (snapshot, now) = (self.source.snapshot(), self.clock.now());
        let mut presented = verify::wit(token, snapshot.bundles(), now, &self.rules)?;
        if let Some(access) = access_token(headers)? {
            presented = presented.with_access_token(access);
        }
        let path = request.uri().path();
        let targets = self.origins.iter().map(|origin| format!("{origin}{path}"));
        let targets: Vec<_> = targets.collect();
        Ok(presented.prove(proof, &targets, now, &self.rules)?)
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("origins", &self.origins)
            .field("rules", &self.rules)
            .field("behind_a_proxy", &self.behind_a_proxy)
            .finish_non_exhaustive()
    }
}

/// The text of a header that must be there once.
fn only(headers: &HeaderMap, header: HeaderName) -> Result<&str, WitError> {
    let mut all = headers.get_all(&header).into_iter();
    let value = match (all.next(), all.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    value.ok_or(WitError::Header { header })
}

/// Why a request carries no proof.
#[derive(Debug, thiserror::Error)]
enum WitError {
    #[error(transparent)]
    AccessToken(#[from] AccessTokenError),
    #[error(transparent)]
    Bearer(#[from] BearerError),
    #[error("the header `{header}` is not there exactly once, as a text")]
    Header { header: HeaderName },
    #[error("the request did not come over a connection that is known to be secure")]
    PlainText,
    #[error(transparent)]
    Proof(#[from] VerifyProofError),
    #[error(transparent)]
    Token(#[from] VerifyJwtError),
}

pub(crate) const TOKEN: HeaderName = HeaderName::from_static(WitSvid::TOKEN_HEADER);
pub(crate) const PROOF: HeaderName = HeaderName::from_static(WitSvid::PROOF_HEADER);
