//! What the log says where a handler asks for a caller and no connection is known. Alone in its program,
//! for it is said once.
#![cfg(feature = "axum")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use spiffe_hyper::Caller;
use tower::ServiceExt;

#[tokio::test]
async fn a_handler_without_connections_is_told_once_how_to_get_them() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let app = Router::new()
        .route("/maybe", get(async |_: Option<Caller>| ()))
        .route("/hello", get(async |_: Caller| ()));
    let ask = async |path| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask("/maybe").await, StatusCode::OK);
    assert_eq!(log.text(), "", "this handler takes anybody");
    for _ in 0..2 {
        assert_eq!(ask("/hello").await, StatusCode::FORBIDDEN);
    }
    let text = log.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    for words in [
        "WARN",
        "carry no connection",
        "spiffe_hyper::with_connections",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
