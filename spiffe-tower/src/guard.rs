//! A call that goes on for no longer than its caller is in good standing.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use spiffe_core::Peer;
use spiffe_core::verify::PeerError;
use spiffe_core::with_causes;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{info, warn};

#[cfg(feature = "jwt")]
use crate::bearer::TokenWelcome;
use crate::peer::{Connection, peer};
use crate::principal::Principal;
use crate::refusal::{Asked, Refusal};

/// Lets pass what comes from a peer that has proven who it is, and whose proof still holds: identity
/// without a policy. Who it is, [`peer`] says. A token is no peer; see `JwtBearerLayer` for those.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PeerLayer;

impl PeerLayer {
    /// The layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for PeerLayer {
    type Service = Proven<S>;

    fn layer(&self, inner: S) -> Proven<S> {
        Proven { inner }
    }
}

/// A service that only those reach whose proof holds; the others are answered as by
/// [`Authorized`](crate::Authorized).
#[derive(Debug, Clone)]
pub struct Proven<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Proven<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match Guard::of(&request) {
            Ok(guard) => GuardedCall::passed(self.inner.call(request), Some(guard)),
            Err(refusal) => GuardedCall::refused(refusal, &request),
        }
    }
}

/// Keeps an eye on a caller while its call goes on.
pub(crate) struct Guard {
    peer: Peer,
    asked: Asked,
    /// Made when something is waited for; most calls are over before.
    ended: Option<Pin<Box<dyn Future<Output = PeerError> + Send + Sync>>>,
}

impl Guard {
    /// A guard of this call, where a peer in good standing makes it.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        match at_the_other_end(request.extensions()) {
            Some(peer) => Self::watching(peer, request),
            None => Err(nobody(request)),
        }
    }

    /// Who makes this call, and a guard of it where it came over a connection with a peer: that one
    /// has to be in good standing, whatever token it brings.
    pub(crate) fn of_caller<B>(request: &Request<B>) -> Result<(Principal, Option<Self>), Refusal> {
        let extensions = request.extensions();
        let who = Principal::of(extensions).ok_or_else(|| no_caller(request))?;
        let guard = match at_the_other_end(extensions) {
            Some(peer) => Some(Self::watching(peer, request)?),
            None => None,
        };
        Ok((who, guard))
    }

    /// Whom it watches.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    fn watching<B>(peer: &Peer, request: &Request<B>) -> Result<Self, Refusal> {
        let asked = Asked::of(request);
        match peer.revalidate() {
            Ok(()) => Ok(Self {
                peer: peer.clone(),
                asked,
                ended: None,
            }),
            Err(why) => {
                warn!(peer = %peer.id(), rpc = asked.path(), reason = %with_causes(&why), "a call was refused");
                Err(Refusal::Ended(why))
            }
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        let peer = &self.peer;
        let ended = self.ended.get_or_insert_with(|| Box::pin(peer.ended()));
        let why = ready!(ended.as_mut().poll(cx));
        info!(peer = %self.peer.id(), rpc = self.asked.path(), reason = %with_causes(&why), "a call was ended");
        let refusal = Refusal::Ended(why);
        refusal.count();
        Poll::Ready(refusal)
    }
}

/// Whom a layer found behind the connection does not outlive it.
fn at_the_other_end(extensions: &Extensions) -> Option<&Peer> {
    let connected = extensions.get().map(Connection::peer);
    connected.or_else(|| peer(extensions))
}

fn nobody<B>(request: &Request<B>) -> Refusal {
    let rpc = request.uri().path();
    if token_welcome(request.extensions()) {
        warn!(rpc, "a call was refused: nobody proved who is calling");
    } else {
        // Each connection has a peer. A server that tells of none refuses everybody: likely a mistake.
        warn!(
            rpc,
            "a call was refused: nobody proved who is calling, for the request carries no connection \
             (serve with spiffe_hyper::serve, spiffe_hyper::with_connections under axum::serve, or \
             serve_mtls of spiffe_tonic)"
        );
    }
    Refusal::Unauthenticated
}

/// As [`nobody`], where a token may make up for the missing peer.
fn no_caller<B>(request: &Request<B>) -> Refusal {
    let refusal = nobody(request);
    #[cfg(feature = "jwt")]
    if token_welcome(request.extensions()) {
        return Refusal::no_token();
    }
    refusal
}

/// Whether a token could have made up for a missing connection.
#[cfg(feature = "jwt")]
fn token_welcome(extensions: &Extensions) -> bool {
    extensions.get::<TokenWelcome>().is_some()
}

#[cfg(not(feature = "jwt"))]
fn token_welcome(_: &Extensions) -> bool {
    false
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("peer", &self.peer)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A call that has passed, or a refusal.
    #[derive(Debug)]
    pub struct GuardedCall<F> {
        #[pin]
        call: State<F>,
        // None once it has gone into the answer.
        guard: Option<Guard>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Passed { #[pin] call: F },
        Refused { refusal: Option<(Refusal, Asked)> },
    }
}

impl<F> GuardedCall<F> {
    pub(crate) fn passed(call: F, guard: Option<Guard>) -> Self {
        Self {
            call: State::Passed { call },
            guard,
        }
    }

    pub(crate) fn refused<B>(refusal: Refusal, request: &Request<B>) -> Self {
        refusal.count();
        let refusal = Some((refusal, Asked::of(request)));
        Self {
            call: State::Refused { refusal },
            guard: None,
        }
    }
}

impl<F, R, E> Future for GuardedCall<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Guarded<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.call.project() {
            StateProjection::Passed { call } => {
                if let Poll::Ready(answer) = call.poll(cx) {
                    let guard = this.guard.take();
                    return Poll::Ready(answer.map(|answer| {
                        answer.map(|body| Guarded {
                            body: Some(body),
                            guard,
                        })
                    }));
                }
                // The call may wait for what the caller has yet to send: that ends as well.
                let Some(guard) = this.guard else {
                    return Poll::Pending;
                };
                let refusal = ready!(guard.poll_ended(cx));
                Poll::Ready(Ok(refusal.answer(&guard.asked, Guarded::empty())))
            }
            // Once answered there is nothing more to come.
            StateProjection::Refused { refusal } => match refusal.take() {
                Some((refusal, asked)) => Poll::Ready(Ok(refusal.answer(&asked, Guarded::empty()))),
                None => Poll::Pending,
            },
        }
    }
}

pin_project! {
    /// The body of an answer. It ends early where the caller loses its good standing: gRPC with the
    /// status, plain HTTP with an error.
    #[derive(Debug)]
    pub struct Guarded<R> {
        // None where the call was refused, or was ended.
        #[pin]
        body: Option<R>,
        guard: Option<Guard>,
    }
}

impl<R> Guarded<R> {
    fn empty() -> Self {
        Self {
            body: None,
            guard: None,
        }
    }
}

/// As a service answers that has nothing to say.
impl<R> Default for Guarded<R> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<R: Body<Error: Into<BoxError>>> Body for Guarded<R> {
    type Data = R::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        // Asked at each frame as well: a body that never pauses would never be woken.
        let holds = |guard: &Guard| guard.peer.revalidate().is_ok();
        if this.guard.as_ref().is_none_or(holds)
            && let Poll::Ready(frame) = body.poll_frame(cx)
        {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(guard) = this.guard else {
            return Poll::Pending;
        };
        let refusal = ready!(guard.poll_ended(cx));
        this.body.set(None);
        Poll::Ready(Some(match (guard.asked.grpc, refusal) {
            (true, refusal) => Ok(Frame::trailers(refusal.trailers(&guard.asked))),
            (false, Refusal::Ended(why)) => Err(why.into()),
            (false, _) => return Poll::Ready(None),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

type BoxError = Box<dyn Error + Send + Sync>;
