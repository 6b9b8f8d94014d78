//! How the author of an axum service tests it; docs/testing.md shows this.
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::future::pending;

use axum::{Router, routing::get};
use spiffe_core::SourceExt;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::{Caller, HTTP, Listener};
use spiffe_tower::AuthorizeLayer;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The service.
fn app() -> Router {
    let web = exactly("spiffe://prod.example/web".parse().unwrap());
    let hello = get(async |Caller(peer): Caller| format!("hello {}", peer.id()));
    Router::new()
        .route("/", hello)
        .layer(AuthorizeLayer::new(web))
}

#[tokio::test]
async fn the_web_is_greeted_and_others_are_not() {
    let prod = TestAuthority::new("prod.example");
    let tls = prod.source("/greeter").server(anyone());
    let listener = Listener::bind("127.0.0.1:0", tls).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(spiffe_hyper::serve(listener, app(), pending()));

    for (path, status) in [("/web", 200), ("/batch", 403)] {
        let tls = prod.source(path).client(anyone()).alpn(HTTP);
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls.into_rustls());
        let call = client.build().unwrap().get(format!("https://{address}/"));
        assert_eq!(call.send().await.unwrap().status(), status, "{path}");
    }

    // What no library of ours would present: an SVID that has expired, one with two names, ...
    for draft in [
        prod.draft("/web").expired(),
        prod.draft("/web").also_named("/root"),
    ] {
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream = draft.impostor().connect(tcp).await.unwrap();
        assert!(stream.read_u8().await.is_err(), "it was let in");
    }
}
