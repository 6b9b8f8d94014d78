//! axum's handlers under both servers: who calls, and what becomes of callers nobody knows.
#![cfg(feature = "axum")]
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spiffe_core::SourceExt;
use spiffe_core::authorizer::anyone;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::{Caller, ConnectInfo, Connector, Listener};
use spiffe_tower::PeerLayer;
use tower::ServiceExt;

fn app() -> Router {
    Router::new()
        .route(
            "/hello",
            get(async |Caller(peer): Caller| peer.id().to_string()),
        )
        .route(
            "/maybe",
            get(async |caller: Option<Caller>| format!("{}", caller.is_some())),
        )
}

#[tokio::test]
async fn a_handler_under_axum_serve_knows_its_caller() {
    let ca = TestAuthority::new("a.test");
    let tls = ca.source("/server").server(anyone());
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app().into_make_service_with_connect_info::<ConnectInfo>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(ask(&ca.source("/web"), addr).await, "spiffe://a.test/web");
}

#[tokio::test]
async fn a_handler_under_our_own_server_knows_its_caller_layers_and_all() {
    let ca = TestAuthority::new("a.test");
    let tls = ca.source("/server").server(anyone());
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app().layer(PeerLayer::new());
    tokio::spawn(spiffe_hyper::serve(listener, app, std::future::pending()));
    assert_eq!(ask(&ca.source("/web"), addr).await, "spiffe://a.test/web");
}

#[tokio::test]
async fn whom_nobody_knows_is_turned_away_unless_the_handler_takes_anybody() {
    for (path, status, body) in [
        (
            "/hello",
            StatusCode::UNAUTHORIZED,
            "the caller has not proven who it is",
        ),
        ("/maybe", StatusCode::OK, "false"),
    ] {
        let request = http::Request::get(path).body(axum::body::Body::empty());
        let answer = app().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(told, body, "{path}");
    }
}

async fn ask(source: &Arc<SnapshotCell>, addr: std::net::SocketAddr) -> String {
    let connector = Connector::new(source.client(anyone()));
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let uri = format!("https://{addr}/hello").parse().unwrap();
    let answer = client.get(uri).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
