//! A service behind a proxy that ends the TLS: there is no peer to know its callers by, so each request
//! shows a JWT-SVID. Three programs in one, each with the identity that the Workload API gives it:
//!
//! ```console
//! $ jwt_behind_a_proxy service 127.0.0.1:8080 spiffe://example.org/client
//! $ jwt_behind_a_proxy proxy 127.0.0.1:8443 127.0.0.1:8080
//! $ jwt_behind_a_proxy client https://127.0.0.1:8443/hello spiffe://example.org/proxy
//! hello spiffe://example.org/client
//! ```
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use std::env;

use axum::{Router, body::Body, http::Request, routing::get};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use spiffe_core::{
    JwtSource, SourceExt, SpiffeId, X509Source,
    authorizer::{anyone, exactly},
};
use spiffe_examples::Failed;
use spiffe_hyper::{Caller, Connector, Listener};
use spiffe_tower::{AuthorizeLayer, JwtBearerLayer, JwtInjectLayer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{Layer, ServiceExt};

/// The name that the service goes by: tokens have to be for it.
const AUDIENCE: &str = "hello";

type Outcome = Result<(), Failed>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["service", address, caller] => service(address, caller.parse()?).await,
        ["proxy", address, behind] => proxy(address, behind).await,
        ["client", uri, proxy] => client(uri, proxy.parse()?).await,
        _ => Err(
            "usage: service ADDRESS CALLER-ID | proxy ADDRESS BEHIND | client URI PROXY-ID".into(),
        ),
    }
}

/// Speaks plain HTTP, here on this machine, and lets one caller in.
async fn service(address: &str, caller: SpiffeId) -> Outcome {
    let tokens = JwtSource::connect().await?;
    let app = Router::new()
        .route("/hello", get(hello))
        // Of axum's layers the last one stands outermost.
        .layer(AuthorizeLayer::new(exactly(caller)))
        .layer(JwtBearerLayer::new(tokens, [AUDIENCE]));
    let listener = TcpListener::bind(address).await?;
    println!("service: listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn hello(Caller(who): Caller) -> String {
    format!("hello {}\n", who.id())
}

/// Ends the TLS, whoever comes, and hands on what they say but not who they are.
async fn proxy(address: &str, behind: &str) -> Outcome {
    let source = X509Source::connect().await?;
    let mut listener = Listener::bind(address, source.server(anyone())).await?;
    let bound = listener.local_addr().ok_or("no address")?;
    println!("proxy: listening on {bound}");
    let mut streams = JoinSet::new();
    loop {
        let mut outside = listener.accept().await?;
        let behind = behind.to_owned();
        streams.spawn(async move {
            let mut inside = TcpStream::connect(behind).await?;
            copy_bidirectional(&mut outside, &mut inside).await
        });
        // How a stream ended is the business of its two ends.
        while streams.try_join_next().is_some() {}
    }
}

/// Talks to this proxy and no other, and shows its token to whoever is behind.
async fn client(uri: &str, proxy: SpiffeId) -> Outcome {
    let (source, tokens) = (X509Source::connect().await?, JwtSource::connect().await?);
    let connector = Connector::new(source.client(exactly(proxy)));
    let http = Client::builder(TokioExecutor::new()).build(connector);
    let http = JwtInjectLayer::new(tokens, AUDIENCE).layer(http);
    let answer = http.oneshot(Request::get(uri).body(Body::empty())?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("the service answered {status}").into()),
    }
}
