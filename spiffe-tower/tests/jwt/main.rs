//! Callers that show a JWT-SVID: who gets through, as whom, and what a policy makes of them.
#![cfg(feature = "jwt")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod peers;
mod tokens;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use spiffe_core::authorizer::Authorizer;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{BundleSet, IdentitySnapshot, Peer, SpiffeId, spiffe_id};
use spiffe_tower::{Connection, JwtBearerLayer};
use tower::{Layer, Service, ServiceExt};

type Nothing = Empty<&'static [u8]>;
const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const PROXY: SpiffeId = spiffe_id!("spiffe://a.test/proxy");

/// A service named `api`, and the authority that it believes.
struct World {
    ca: TestAuthority,
    source: Arc<SnapshotCell>,
}

impl World {
    fn new() -> Self {
        let ca = TestAuthority::new("a.test");
        let bundles = BundleSet::from(ca.bundle());
        let snapshot = IdentitySnapshot::new(Vec::new(), bundles);
        Self {
            ca,
            source: Arc::new(SnapshotCell::new(snapshot)),
        }
    }

    fn layer(&self) -> JwtBearerLayer {
        JwtBearerLayer::new(self.source.clone(), ["other-name", "api"])
    }

    fn token(&self) -> String {
        self.ca.jwt_svid("/web", &["api"]).token().to_owned()
    }

    /// Tells who reached it, or that nobody is known.
    fn service(
        &self,
    ) -> impl Service<
        Request<Nothing>,
        Response = Response<Nothing>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + use<> {
        tower::service_fn(|request: Request<Nothing>| {
            let mut response = Response::new(Nothing::new());
            match spiffe_tower::spiffe_id(request.extensions()) {
                Some(id) => _ = response.extensions_mut().insert(id.clone()),
                None => *response.status_mut() = StatusCode::NOT_FOUND,
            }
            ready(Ok(response))
        })
    }

    async fn answer(&self, layer: &JwtBearerLayer, request: Request<Nothing>) -> Response<()> {
        let answer = layer.layer(self.service()).oneshot(request).await.unwrap();
        answer.map(drop)
    }

    async fn reaches(
        &self,
        layer: &JwtBearerLayer,
        request: Request<Nothing>,
    ) -> Result<SpiffeId, StatusCode> {
        let answer = self.answer(layer, request).await;
        let reached = answer.extensions().get::<SpiffeId>();
        reached.cloned().ok_or(answer.status())
    }
}

fn answered() -> Ready<Result<Response<Nothing>, Infallible>> {
    ready(Ok(Response::new(Nothing::new())))
}

fn asks(content_type: &str) -> Request<Nothing> {
    let mut request = Request::new(Nothing::new());
    let headers = request.headers_mut();
    headers.insert("content-type", content_type.parse().unwrap());
    request
}

fn bears(token: &str) -> Request<Nothing> {
    let mut request = asks("a/b");
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

fn over(peer: Peer, mut request: Request<Nothing>) -> Request<Nothing> {
    let connection = Connection::new(peer, None, None);
    request.extensions_mut().insert(connection);
    request
}

fn verified(ca: &TestAuthority, path: &str) -> Peer {
    use spiffe_core::clock::{Clock, SystemClock};
    use spiffe_core::verify::{Role, x509_peer};

    let leaf = [ca.svid(path).leaf().der().clone()];
    let bundles = BundleSet::from(ca.bundle());
    x509_peer(&leaf, &bundles, Role::Client, SystemClock.now()).unwrap()
}

fn boxed(allow: impl Authorizer) -> Box<dyn Authorizer> {
    Box::new(allow)
}
