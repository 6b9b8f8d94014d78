//! May this caller call this path? Whoever may not is answered here and never reaches the service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use spiffe_core::authorizer::Authorizer;
use tower_layer::Layer;
use tower_service::Service;
use tracing::warn;

use crate::guard::{Guard, Guarded, GuardedCall};
use crate::principal::Whom;
use crate::refusal::Refusal;
use crate::rule::{RpcPathError, Rule};

/// A policy: who may call, and who may call what in particular.
///
/// The most particular rule for a path decides alone: an exact path before a pattern, a longer
/// pattern before a shorter one, the default last. Let the default be the strictest, for it also
/// rules what nobody thought of. Paths are compared as they stand in the request, byte by byte;
/// gRPC services find their methods in the same way.
///
/// It is about the caller: the holder of the token where a layer further out has verified one, and
/// the peer of the connection otherwise; see [`Principal`](crate::Principal).
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
                whom: Whom::Caller,
            }),
        }
    }

    /// Lets call `path` whom `allow` lets pass, and nobody else.
    ///
    /// The path is that of one method, `/pkg.Service/Method`, or ends in `/*`, which `/**` means too, and
    /// stands for all beneath it at any depth: `/pkg.Service/*`. The path itself is not beneath itself:
    /// `/admin/*` is not about `/admin`.
    ///
    /// # Errors
    ///
    /// [`RpcPathError`], where this would be about no request, or about more than it seems: a `*` in the
    /// middle or after anything but a slash, a slash at the end, an empty path, a query.
    pub fn rpc(mut self, path: &str, allow: impl Authorizer) -> Result<Self, RpcPathError> {
        let policy = Arc::make_mut(&mut self.policy);
        match path.parse()? {
            Rule::Beneath(path) => policy.beneath.insert(path, Arc::new(allow)),
            Rule::Exact(path) => policy.exact.insert(path, Arc::new(allow)),
        };
        Ok(self)
    }

    /// The same policy, about the peer of the connection whatever token a request carries. Who wants
    /// a policy about each stacks two.
    #[must_use]
    pub fn about_peers(mut self) -> Self {
        Arc::make_mut(&mut self.policy).whom = Whom::Peer;
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
/// `UNAUTHENTICATED`, where nobody proved who they are. Plain HTTP: 403, also where nobody did, for 401
/// has to name a scheme that would help and there is none for certificates (RFC 9110 section 15.5.2);
/// 401 where a `JwtBearerLayer` would have taken a token.
///
/// A connection may outlive the good standing of its peer. Then the next call on it is denied, and
/// one that goes on already ends in the same way.
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
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
        match self.policy.judge(&mut request) {
            // Judged at once, so this is the very service that was asked whether it is ready.
            Ok(guard) => GuardedCall::passed(self.inner.call(request), guard),
            Err(refusal) => GuardedCall::refused(refusal, &request),
        }
    }
}

#[derive(Clone)]
struct Policy {
    default: Arc<dyn Authorizer>,
    exact: BTreeMap<String, Arc<dyn Authorizer>>,
    /// By how the path begins, the last slash included.
    beneath: BTreeMap<String, Arc<dyn Authorizer>>,
    whom: Whom,
}

impl Policy {
    fn judge<B>(&self, request: &mut Request<B>) -> Result<Option<Guard>, Refusal> {
        let (who, guard) = self.whom.find(request)?;
        let path = request.uri().path();
        who.authorize(self.rule_for(path)).map_err(|denied| {
            warn!(peer = %denied.peer(), rpc = path, reason = %denied, "a call was refused");
            Refusal::Denied(denied)
        })?;
        self.whom.note(&who, request.extensions_mut());
        Ok(guard)
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
            .field("whom", &self.whom)
            .field("exact", &self.exact.keys())
            .field("beneath", &self.beneath.keys())
            .finish_non_exhaustive()
    }
}
