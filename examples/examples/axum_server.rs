//! An axum server over mutual TLS: handlers know their callers, and a layer says who may call what.
//! The client that calls it runs in this process too, so that there is one.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example axum_server`
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use axum::{Router, routing::get};
use spiffe_core::{
    IdentitySource, SourceExt, SpiffeId, X509Source,
    authorizer::{exactly, member_of},
};
use spiffe_examples::Failed;
use spiffe_hyper::{Caller, HTTP, Listener, serve};
use spiffe_tower::AuthorizeLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let home = match source.snapshot().svid() {
        Some(svid) => svid.id().trust_domain(),
        None => return Err("the identity was withdrawn".into()),
    };

    let operator = SpiffeId::new(&home, "/operator")?;
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/secret", get(async || "you should not see this"))
        .layer(AuthorizeLayer::new(member_of(home.clone())).rpc("/secret", exactly(operator))?);
    let listener = Listener::bind("127.0.0.1:0", source.server(member_of(home.clone()))).await?;
    let address = listener.local_addr().ok_or("no address")?;

    let tls = source.client(member_of(home)).alpn(HTTP);
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.into_rustls())
        .build()?;
    let calling = async {
        for path in ["/hello", "/secret"] {
            let answer = client
                .get(format!("https://{address}{path}"))
                .send()
                .await?;
            println!("{path}: {} {}", answer.status(), answer.text().await?);
        }
        Ok(())
    };
    // `axum::serve` takes the listener as well; this one also parts from peers in time.
    tokio::select! {
        called = calling => called,
        () = serve(listener, app, std::future::pending()) => Ok(()),
    }
}

async fn hello(Caller(peer): Caller) -> String {
    format!("hello {}", peer.id())
}
