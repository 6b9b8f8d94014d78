//! What is told of tokens. Alone in its program: others that log at the same places would decide what
//! a subscriber of one thread gets to hear.
#![cfg(feature = "jwt")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Empty;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{BundleSet, IdentitySnapshot};
use spiffe_tower::{JwtBearerLayer, Principal};
use tower::{Layer, ServiceExt};

// security.md S10: tokens that failed validation were logged whole.
#[tokio::test]
async fn no_token_in_logs() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let ca = TestAuthority::new("a.test");
    let bundles = BundleSet::from(ca.bundle());
    let source = SnapshotCell::new(IdentitySnapshot::new(Vec::new(), bundles));
    let layer = JwtBearerLayer::new(Arc::new(source), ["api"]);
    let good = ca.jwt_svid("/web", &["api"]).token().to_owned();
    let late = ca.jwt_draft("/web", &["api"]).expired().token();
    let service = tower::service_fn(async |request: Request<Empty<&'static [u8]>>| {
        tracing::info!(headers = ?request.headers(), caller = ?Principal::of(request.extensions()));
        Ok::<_, Infallible>(Response::new(Empty::<&'static [u8]>::new()))
    });
    for token in [&good, &late] {
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.body(Empty::new()).unwrap();
        layer.layer(service).oneshot(request).await.unwrap();
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the token has expired"), "{text}");
    assert!(text.contains("spiffe://a.test/web"), "{text}");
    for part in good.split('.').chain(late.split('.')) {
        assert!(!text.contains(part), "{text}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
