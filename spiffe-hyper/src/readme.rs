//! The example of `README.md`, compiled.
//!
//! ```no_run
//! # async fn example(stopped: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//! use spiffe_core::{SourceExt, X509Source, authorizer::member_of};
//! use spiffe_hyper::{Caller, Listener, serve};
//!
//! async fn hello(Caller(peer): Caller) -> String {     // axum; feature `axum`
//!     format!("hello {}", peer.id())
//! }
//!
//! let source = X509Source::connect().await?;           // SPIFFE_ENDPOINT_SOCKET
//! let tls = source.server(member_of("prod.example".parse()?));
//! let listener = Listener::bind("0.0.0.0:8443", tls).await?;
//! let app = axum::Router::new().route("/", axum::routing::get(hello));
//! serve(listener, app, stopped).await;                 // parts from peers before their proof ends
//! # Ok(()) }
//! ```
