//! Callers that prove who they are by a JWT-SVID: `Authorization: Bearer` (JWT-SVID sections 5.2 and
//! 5.3; RFC 6750 section 2.1).

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::verify::{self, JwtRules, VerifyJwtError};
use spiffe_core::with_causes;
use spiffe_core::{IdentitySource, VerifiedJwt};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{error, warn};

use crate::authorization::{AuthorizationError, authorization};
use crate::guard::{Guarded, GuardedCall};
use crate::peer::peer;
use crate::principal::TakenForCaller;
use crate::refusal::Refusal;

/// Lets pass who brings a JWT-SVID for us, and puts what it proves, a [`VerifiedJwt`], into the
/// extensions of the request: [`Principal::of`](crate::Principal::of) finds it.
///
/// Tokens are verified here with the bundles that the source holds at that moment, and nobody else is
/// asked. Everybody else is refused: 401 with `WWW-Authenticate: Bearer`, or status 16,
/// `UNAUTHENTICATED`, in gRPC. The log tells why and shows no token. A token is judged when a request
/// begins; a stream may outlast it.
///
/// A policy about callers has to stand further in than this layer, or it would be about the peer of
/// the connection. Where one stands further out, requests are refused, for the holder of the token
/// would escape it; a policy [about peers](crate::AuthorizeLayer::about_peers) may stand there.
#[derive(Clone)]
pub struct JwtBearerLayer {
    judge: Arc<Judge>,
}

impl JwtBearerLayer {
    /// Takes tokens that are for one of these audiences: the names that this service goes by. The
    /// source's snapshots must hold JWT bundles, as those of a `JwtSource` do.
    ///
    /// Without an audience every token is refused.
    pub fn new(
        source: impl IdentitySource,
        audience: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            judge: Arc::new(Judge {
                source: Arc::new(source),
                audience: audience.into_iter().map(Into::into).collect(),
                rules: JwtRules::default(),
                clock: Arc::new(SystemClock),
                required: true,
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

    /// Lets pass who brings no token as well: whoever is at the other end of the connection then is
    /// the caller, if anybody is. A token that proves nothing is refused all the same.
    #[must_use]
    pub fn optional(mut self) -> Self {
        Arc::make_mut(&mut self.judge).required = false;
        self
    }
}

impl fmt::Debug for JwtBearerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.judge.fmt(f)
    }
}

impl<S> Layer<S> for JwtBearerLayer {
    type Service = JwtBearer<S>;

    fn layer(&self, inner: S) -> JwtBearer<S> {
        JwtBearer {
            inner,
            judge: self.judge.clone(),
        }
    }
}

/// A service that only those reach whom a [`JwtBearerLayer`] lets pass.
#[derive(Debug, Clone)]
pub struct JwtBearer<S> {
    inner: S,
    judge: Arc<Judge>,
}

impl<S, B, R> Service<Request<B>> for JwtBearer<S>
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
        hide(request.headers_mut(), AUTHORIZATION);
        match self.judge.hear(&request) {
            Ok(Some(jwt)) => {
                request.extensions_mut().insert(jwt);
            }
            Ok(None) => {
                request.extensions_mut().insert(TokenWelcome);
            }
            Err(why) => return GuardedCall::refused(why.refusal(&request), &request),
        }
        GuardedCall::passed(self.inner.call(request), None)
    }
}

/// Stands in requests that might have brought a token, for whoever refuses them further in.
#[derive(Clone, Copy)]
pub(crate) struct TokenWelcome;

#[derive(Clone)]
struct Judge {
    source: Arc<dyn IdentitySource>,
    audience: Vec<String>,
    rules: JwtRules,
    clock: Arc<dyn Clock>,
    required: bool,
}

impl Judge {
    fn hear<B>(&self, request: &Request<B>) -> Result<Option<VerifiedJwt>, BearerError> {
        let Some(token) = bearer_token(request.headers())? else {
            return match self.required {
                true => Err(BearerError::Missing),
                false => Ok(None),
            };
        };
        if TakenForCaller::Jwt.is_escaped_by(request.extensions()) {
            return Err(BearerError::Misplaced);
        }
        let snapshot = self.source.snapshot();
        let (bundles, now) = (snapshot.bundles(), self.clock.now());
        let jwt = verify::jwt(token, bundles, &self.audience, now, &self.rules)?;
        Ok(Some(jwt))
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("audience", &self.audience)
            .field("rules", &self.rules)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// The one bearer token of a request, if there is any.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, BearerError> {
    match authorization(headers)? {
        None => Ok(None),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        Some(_) => Err(BearerError::Scheme),
    }
}

/// Sees to it that nobody prints what proves who somebody is: not even who prints all headers.
pub(crate) fn hide(headers: &mut HeaderMap, header: HeaderName) {
    if let http::header::Entry::Occupied(mut values) = headers.entry(header) {
        for value in values.iter_mut() {
            value.set_sensitive(true);
        }
    }
}

/// Why a request carries no proof.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BearerError {
    #[error(transparent)]
    Header(#[from] AuthorizationError),
    #[error(
        "a policy about callers stands further out than the layer that verifies their tokens, and was \
         asked about somebody else: put it further in, or make it one about peers"
    )]
    Misplaced,
    #[error("there is no header `authorization`")]
    Missing,
    #[error("the header `authorization` is not of the form `Bearer <token>`")]
    Scheme,
    #[error(transparent)]
    Token(#[from] VerifyJwtError),
}

impl BearerError {
    /// Tells the log why, and the caller that.
    fn refusal<B>(&self, request: &Request<B>) -> Refusal {
        let rpc = request.uri().path();
        let over =
            peer(request.extensions()).map(|peer| tracing::field::display(peer.id().clone()));
        match self {
            // Whoever wrote the program is to know, not who calls.
            Self::Misplaced | Self::Token(VerifyJwtError::NoExpectedAudience) => {
                error!(rpc, over, reason = %with_causes(self), "a call was refused");
            }
            _ => warn!(rpc, over, reason = %with_causes(self), "a call was refused"),
        }
        match self {
            Self::Missing => Refusal::no_token(),
            _ => Refusal::Token {
                challenge: HeaderValue::from_static("Bearer error=\"invalid_token\""),
            },
        }
    }
}
