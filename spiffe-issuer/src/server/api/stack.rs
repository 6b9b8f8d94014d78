//! The stack as a tower layer: what every call passes before its handler sees it.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use super::audit::Audit;
use super::caller::{Caller, Role, Transport};
use super::deadline::patience;
use super::gate::Gate;
use super::limit::{Limit, Limiter, TooOften};
use super::rules::Rule;
use crate::domain::{Fault, Kind};
use crate::wire;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// Puts the stack around the services.
#[derive(Clone)]
pub struct Stack {
    guard: Arc<Guard>,
}

impl Stack {
    pub(super) fn new(gate: Gate, limiter: Limiter, audit: Audit) -> Self {
        Self {
            guard: Arc::new(Guard {
                gate,
                limiter: Arc::new(limiter),
                audit,
            }),
        }
    }
}

impl<S> Layer<S> for Stack {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.guard.clone(),
            inner,
        }
    }
}

/// The services behind the stack.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The service that was polled ready is the one to call; its clone need not be ready.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        let span = info_span!("rpc", request_id = %Uuid::new_v4(), method = request.uri().path());
        Box::pin(async move { guard.pass(request, inner).await }.instrument(span))
    }
}

/// What the stack needs to decide.
struct Guard {
    gate: Gate,
    limiter: Arc<Limiter>,
    audit: Audit,
}

impl Guard {
    async fn pass<S>(&self, mut request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response>,
    {
        let (rule, caller) = match find(&request) {
            Ok(found) => found,
            Err(unserved) => return Ok(wire::status(&unserved).into_http()),
        };
        let mut line = self.audit.begin(rule, &caller);
        match self.let_in(rule, &caller, &mut request).await {
            Ok(role) => {
                if let Some(line) = &mut line {
                    line.admitted(&role);
                }
            }
            Err(status) => {
                if let Some(line) = line {
                    line.refused(&status);
                }
                return Ok(status.into_http());
            }
        }
        let response = inner.call(request).await?;
        Ok(match line {
            Some(line) => line.follow(response),
            None => response,
        })
    }

    /// Decides whether the call may go on, and gives it what its handler is to know.
    async fn let_in(
        &self,
        rule: &Rule,
        caller: &Caller,
        request: &mut Request,
    ) -> Result<Role, Status> {
        let role = self.gate.admit(rule, caller).await.map_err(|refused| {
            refused.log(caller);
            wire::status(&refused)
        })?;
        if let Some(limit) = rule.limit {
            let meter = Meter {
                limiter: self.limiter.clone(),
                limit,
                from: caller.clone(),
                patience: patience(request.headers()).unwrap_or(Duration::MAX),
            };
            meter
                .pay(1)
                .await
                .map_err(|refused| wire::status(&refused))?;
            request.extensions_mut().insert(meter);
        }
        if let Role::Agent(agent) = &role {
            request.extensions_mut().insert((**agent).clone());
        }
        Ok(role)
    }
}

/// Who calls what; there may be no such method, or not here.
fn find(request: &Request) -> Result<(&'static Rule, Caller), Unserved> {
    let path = request.uri().path();
    let unserved = || Unserved(path.to_owned());
    let caller: &Caller = request.extensions().get().ok_or_else(unserved)?;
    let rule = Rule::find(path).ok_or_else(unserved)?;
    if rule.is_local_only() && !caller.is_local() {
        return Err(unserved());
    }
    Ok((rule, caller.clone()))
}

/// Lets the handler of a batch pay for what its items cost beyond the call.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    limiter: Arc<Limiter>,
    limit: Limit,
    from: Caller,
    patience: Duration,
}

impl Meter {
    /// Waits until the caller may have so many more.
    pub(super) async fn pay(&self, cost: usize) -> Result<(), TooOften> {
        // Callers on our own socket are never kept waiting.
        let Transport::Tcp(from) = self.from.transport() else {
            return Ok(());
        };
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.limiter
            .pay(self.limit, from.ip(), cost, self.patience)
            .await
    }
}

/// Nothing of this name is served here.
#[derive(Debug, thiserror::Error)]
#[error("unknown method {0:?}")]
struct Unserved(String);

impl Fault for Unserved {
    fn kind(&self) -> Kind {
        Kind::Unimplemented
    }
}
