//! axum's handlers under both servers: who calls, and what becomes of callers nobody knows.
#![cfg(feature = "axum")]
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::TestAuthority;
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::{SourceExt, spiffe_id};
use spiffe_hyper::{Caller, ConnectInfo, ConnectInfoLayer, Connector, Listener, with_connections};
use spiffe_tower::{AuthorizeLayer, Connection, JwtBearerLayer, PeerLayer};
use tower::ServiceExt;

fn app() -> Router {
    Router::new()
        .route(
            "/hello",
            get(async |Caller(who): Caller| who.id().to_string()),
        )
        .route(
            "/maybe",
            get(async |caller: Option<Caller>| format!("{}", caller.is_some())),
        )
}

#[tokio::test]
async fn a_handler_under_axum_serve_knows_its_caller() {
    let ca = TestAuthority::new("a.test");
    let (listener, addr) = listen(&ca).await;
    let app = app().into_make_service_with_connect_info::<ConnectInfo>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (status, told) = ask(&ca, "/web", addr).await;
    assert_eq!((status, &*told), (StatusCode::OK, "spiffe://a.test/web"));
}

#[tokio::test]
async fn a_policy_under_axum_serve_is_about_the_caller() {
    let ca = TestAuthority::new("a.test");
    let policy = || AuthorizeLayer::new(exactly(spiffe_id!("spiffe://a.test/web")));

    let (listener, made) = listen(&ca).await;
    let service = with_connections(app().layer(policy()));
    tokio::spawn(async move { axum::serve(listener, service).await });

    let (listener, told) = listen(&ca).await;
    let service = app().layer(policy()).layer(ConnectInfoLayer::new());
    let service = service.into_make_service_with_connect_info::<ConnectInfo>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    for addr in [made, told] {
        let (status, hello) = ask(&ca, "/web", addr).await;
        assert_eq!((status, &*hello), (StatusCode::OK, "spiffe://a.test/web"));
        let (status, hello) = ask(&ca, "/ops", addr).await;
        assert_eq!((status, &*hello), (StatusCode::FORBIDDEN, ""));
    }
}

#[tokio::test]
async fn a_handler_knows_who_shows_a_token() {
    let ca = TestAuthority::new("a.test");
    let layer = JwtBearerLayer::new(ca.source("/server"), ["api"]);
    let app = app().layer(layer);
    let token = ca.jwt_svid("/web", &["api"]);
    let request = http::Request::get("/hello")
        .header("authorization", format!("Bearer {}", token.token()))
        .body(axum::body::Body::empty());
    let answer = app.oneshot(request.unwrap()).await.unwrap();
    let told = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(told, "spiffe://a.test/web");
}

#[tokio::test]
async fn a_handler_under_our_own_server_knows_its_caller_layers_and_all() {
    let ca = TestAuthority::new("a.test");
    let (listener, addr) = listen(&ca).await;
    let app = app().layer(PeerLayer::new());
    tokio::spawn(spiffe_hyper::serve(listener, app, std::future::pending()));
    let (status, told) = ask(&ca, "/web", addr).await;
    assert_eq!((status, &*told), (StatusCode::OK, "spiffe://a.test/web"));
}

#[tokio::test]
async fn whom_nobody_knows_is_turned_away_unless_the_handler_takes_anybody() {
    for (path, status, body) in [
        (
            "/hello",
            StatusCode::FORBIDDEN,
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

#[tokio::test]
async fn whom_a_layer_finds_behind_a_connection_does_not_outlive_it() {
    let ca = TestAuthority::new("a.test");
    let server = ca.source("/server");
    let acceptor = server.server(anyone()).acceptor();
    let proxy = ca.source("/proxy").client(anyone()).connector();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(acceptor.accept(near), proxy.connect(far));
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    let connection = Connection::new(accepted.peer().clone(), None, None);
    // As from a header of the proxy: nobody judges this one again.
    let leaf = [ca.svid("/web").leaf().der().clone()];
    let bundles = ca.bundle().into();
    let behind = x509_peer(&leaf, &bundles, Role::Client, SystemClock.now()).unwrap();
    for status in [StatusCode::OK, StatusCode::FORBIDDEN] {
        let request = http::Request::get("/hello")
            .extension(connection.clone())
            .extension(behind.clone())
            .body(axum::body::Body::empty());
        let answer = app().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
        server.publish(TestAuthority::new("a.test").snapshot("/server"));
    }
    drop(connected);
}

#[tokio::test]
async fn a_removed_authority_is_served_no_more_where_no_layer_asks() {
    let ca = TestAuthority::new("a.test");
    let server = ca.source("/server");
    let listener = Listener::bind("127.0.0.1:0", server.server(anyone())).await;
    let listener = listener.unwrap();
    let uri = format!("https://{}/", listener.local_addr().unwrap());
    let uri: http::Uri = uri.parse().unwrap();
    let app = Router::new().route("/", get(async || "served"));
    tokio::spawn(async move { axum::serve(listener, with_connections(app)).await });
    let connector = Connector::new(ca.source("/web").client(anyone()));
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let answer = client.get(uri.clone()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    server.publish(TestAuthority::new("a.test").snapshot("/server"));
    client.get(uri).await.unwrap_err();
}

async fn listen(ca: &TestAuthority) -> (Listener, SocketAddr) {
    let tls = ca.source("/server").server(anyone());
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn ask(ca: &TestAuthority, path: &str, addr: SocketAddr) -> (StatusCode, String) {
    let connector = Connector::new(ca.source(path).client(anyone()));
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let uri = format!("https://{addr}/hello").parse().unwrap();
    let answer = client.get(uri).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
