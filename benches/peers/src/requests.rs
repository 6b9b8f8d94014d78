//! What is done for each request: the authorizer, and the tower layer.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use spiffe_benches::{Authority, TRUST_DOMAIN};
use spiffe_core::{
    Peer, SpiffeId,
    authorizer::{Authorizer, exactly, member_of, one_of},
    tls::SourceExt,
};
use spiffe_tower::{AuthorizeLayer, Connection};
use tokio::io::duplex;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    harness::{Subject, compare},
    sources::runtime,
};

/// The judgement of a request, with the peer of a connection that is there.
pub(crate) fn measure() {
    let runtime = runtime();
    let authority = Authority::default();
    let server = authority.source("/server").server(member_of(TRUST_DOMAIN));
    let client = authority
        .source("/ns/prod/sa/worker")
        .client(member_of(TRUST_DOMAIN));
    let stream = runtime.block_on(async {
        let (near, far) = duplex(64 * 1024);
        let (acceptor, connector) = (server.acceptor(), client.connector());
        let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(far));
        connected.unwrap();
        accepted.unwrap()
    });
    let peer = stream.peer();

    let id = |at: usize| SpiffeId::new(&TRUST_DOMAIN, &format!("/ns/prod/sa/worker-{at}")).unwrap();
    let thousand = one_of((0..1000).map(id).chain([peer.id().clone()]));
    let one = exactly(peer.id().clone());
    compare(
        "May this peer proceed (must: 60 ns)",
        vec![
            Subject::new("one of 1000 IDs", || {
                black_box(&thousand).authorize(black_box(peer)).unwrap();
            }),
            Subject::new("exactly one ID", || {
                black_box(&one).authorize(black_box(peer)).unwrap();
            }),
            Subject::new("standing: anything changed?", || {
                black_box(peer).revalidate().unwrap();
            }),
        ],
    );
    layers(peer);
}

fn layers(peer: &Peer) {
    let request = || {
        let mut request = Request::new(());
        *request.uri_mut() = "/grpc.health.v1.Health/Check".parse().unwrap();
        let connection = Connection::new(peer.clone(), None, None);
        request.extensions_mut().insert(connection);
        request
    };
    let mut bare = Answer;
    let mut layered = AuthorizeLayer::new(member_of(TRUST_DOMAIN))
        .rpc("/bank.v1.Ledger/Close", exactly(peer.id().clone()))
        .unwrap()
        .layer(Answer);
    compare(
        "A request through AuthorizeLayer, made and answered (must: 150 ns more)",
        vec![
            Subject::new("the service alone", || {
                black_box(bare.call(request()).now_or_never().unwrap().unwrap());
            }),
            Subject::new("with AuthorizeLayer", || {
                black_box(layered.call(request()).now_or_never().unwrap().unwrap());
            }),
        ],
    );
}

#[derive(Clone)]
struct Answer;

impl Service<Request<()>> for Answer {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Empty::new())))
    }
}
