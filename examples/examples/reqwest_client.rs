//! reqwest over mutual TLS: a client that proves who it is, and talks to members of its trust domain
//! alone. The server it calls runs in this process too, so that there is one to call.
//!
//! `SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/agent.sock cargo run --example reqwest_client`
//!
//! reqwest drives TLS by itself. Each connection that it makes is judged with the trust and the
//! policy of that moment; one that it keeps is not judged again. So none is kept here for long.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use spiffe_core::authorizer::member_of;
use spiffe_core::{IdentitySource, SourceExt, X509Source};
use spiffe_examples::Failed;
use spiffe_hyper::{HTTP, Listener, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let source = X509Source::connect().await?;
    let home = match source.snapshot().svid() {
        Some(svid) => svid.id().trust_domain(),
        None => return Err("the identity was withdrawn".into()),
    };

    let listener = Listener::bind("127.0.0.1:0", source.server(member_of(home.clone()))).await?;
    let address = listener.local_addr().ok_or("no address")?;
    let greet = tower::service_fn(async |request: Request<Incoming>| {
        let caller = spiffe_tower::peer(request.extensions()).map(|peer| peer.id().to_string());
        Ok::<_, Infallible>(Response::new(format!(
            "hello {}",
            caller.unwrap_or_default()
        )))
    });

    let tls = source.client(member_of(home)).alpn(HTTP);
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.into_rustls())
        .pool_idle_timeout(Duration::from_secs(30))
        .build()?;
    let calling = async {
        let answer = client.get(format!("https://{address}/")).send().await?;
        println!("{:?}: {}", answer.version(), answer.text().await?);
        Ok(())
    };
    tokio::select! {
        called = calling => called,
        () = serve(listener, greet, std::future::pending()) => Ok(()),
    }
}
