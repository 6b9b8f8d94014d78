//! What the log says where no connection is known. Alone in its program: others that log at the same
//! place would decide what a subscriber of one thread gets to hear.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use spiffe_core::authorizer::anyone;
use spiffe_tower::{AuthorizeLayer, PeerLayer};
use tower::{Layer, ServiceExt};

type Body = Empty<&'static [u8]>;

#[tokio::test]
async fn a_server_that_tells_no_connection_is_told_how_to() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let service =
        tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::new())));
    let request = || Request::get("/hello").body(Body::new()).unwrap();
    let answer = AuthorizeLayer::new(anyone())
        .layer(service)
        .oneshot(request());
    assert_eq!(answer.await.unwrap().status(), StatusCode::FORBIDDEN);
    let answer = PeerLayer::new().layer(service).oneshot(request());
    assert_eq!(answer.await.unwrap().status(), StatusCode::FORBIDDEN);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in lines {
        for words in [
            "the request carries no connection",
            "spiffe_hyper::with_connections",
            "rpc=\"/hello\"",
        ] {
            assert!(line.contains(words), "{words}: {text}");
        }
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
