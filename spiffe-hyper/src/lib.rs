//! hyper servers and clients over SPIFFE mutual TLS, and the listener for servers of any kind.
//!
//! Identities come from a source that keeps them fresh; who may connect is a required argument.
//! Nothing is to be reloaded: each handshake uses what the source holds at that moment.
//!
//! # A server
//!
//! ```no_run
//! use http::{Request, Response};
//! use spiffe_core::authorizer::member_of;
//! use spiffe_core::{IdentitySource, SourceExt, TrustDomain};
//! use spiffe_hyper::Listener;
//!
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! let tls = source.server(member_of(TrustDomain::from_static("prod.example")));
//! let listener = Listener::bind("0.0.0.0:8443", tls).await?;
//! let greet = tower::service_fn(async |request: Request<hyper::body::Incoming>| {
//!     let caller = spiffe_tower::peer(request.extensions()).map(|peer| peer.id().to_string());
//!     Ok::<_, std::convert::Infallible>(Response::new(format!("hello {caller:?}")))
//! });
//! let stop = async { _ = tokio::signal::ctrl_c().await };
//! spiffe_hyper::serve(listener, greet, stop).await;
//! # Ok(()) }
//! ```
//!
//! Whoever wants a handshake of their own gives it to [`Handshakes`].
//!
//! # A client
//!
//! ```no_run
//! use hyper_util::client::legacy::Client;
//! use hyper_util::rt::TokioExecutor;
//! use spiffe_core::authorizer::exactly;
//! use spiffe_core::{IdentitySource, SourceExt, SpiffeId};
//! use spiffe_hyper::Connector;
//!
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = exactly(SpiffeId::from_static("spiffe://prod.example/ledger"));
//! let connector = Connector::new(source.client(ledger));
//! let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
//! let response = client.get("https://ledger.prod.example/balance".parse()?).await?;
//! println!("{:?} said {}", spiffe_tower::peer(response.extensions()), response.status());
//! # Ok(()) }
//! ```
//!
//! hyper's pool tells connections apart by scheme and authority, not by who is expected there: a
//! client is for servers that the same authorizer may judge, or that [`Connector::choosing`] tells
//! apart by their authority.
//!
//! # Without HTTP
//!
//! [`Listener::accept`] hands out streams that know their peer, and [`Connector::connect`] makes them:
//!
//! ```no_run
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{SourceExt, TrustDomain, spiffe_id};
//! use spiffe_hyper::{Connector, Listener};
//!
//! # use spiffe_core::IdentitySource;
//! # async fn handle(_: impl Sized) {}
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! let ours = member_of(TrustDomain::from_static("prod.example"));
//! let mut listener = Listener::bind("0.0.0.0:5432", source.server(ours)).await?;
//! while let Ok(stream) = listener.accept().await {
//!     tokio::spawn(handle(stream));                     // stream.peer().id()
//! }
//!
//! let database = exactly(spiffe_id!("spiffe://prod.example/database"));
//! let stream = Connector::new(source.client(database)).connect("db:5432").await?;
//! # let _ = stream;
//! # Ok(()) }
//! ```
//!
//! # With reqwest
//!
//! reqwest takes a configuration of rustls and drives TLS by itself (feature `rustls-0_23` of
//! `spiffe-core`; reqwest's feature `rustls-no-provider` is enough):
//!
//! ```no_run
//! use spiffe_core::authorizer::exactly;
//! use spiffe_core::{SourceExt, spiffe_id};
//! use spiffe_hyper::HTTP;
//!
//! # use spiffe_core::IdentitySource;
//! # fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = exactly(spiffe_id!("spiffe://prod.example/ledger"));
//! let tls = source.client(ledger).alpn(HTTP).into_rustls();
//! let http = reqwest::Client::builder().tls_backend_preconfigured(tls).build()?;
//! # let _ = http;
//! # Ok(()) }
//! ```
//!
//! Each handshake is judged with the trust and the policy of its moment, and presents the SVID of that
//! moment. A connection that lasts is not judged again, as it is with a [`Connector`], and no one
//! leaves it when our own SVID is renewed: nothing of ours runs once reqwest has it. Let it keep
//! connections for a short time (`pool_idle_timeout`), or none (`pool_max_idle_per_host(0)`).
//!
//! reqwest also follows redirections by itself. Beneath a layer of `spiffe-tower` that puts tokens into
//! requests give it `redirect::Policy::none()`: the layer sees no redirection that is followed below it,
//! and reqwest takes the headers of a WIT-SVID to whatever host a server names.
//!
//! ```no_run
//! # fn example() -> reqwest::Result<()> {
//! let http = reqwest::Client::builder()
//!     .redirect(reqwest::redirect::Policy::none())     // follow above the layer, or not at all
//!     .build()?;
//! # let _ = http;
//! # Ok(()) }
//! ```
//!
//! # With axum
//!
//! An axum `Router` is a service that [`serve`] takes, and that is the way that parts from peers in
//! time. The feature `axum` adds `Caller`, which handlers extract, and makes a [`Listener`] one for
//! `axum::serve`:
//!
//! ```no_run
//! # #[cfg(feature = "axum")] mod example {
//! use axum::{Router, routing::get};
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{SourceExt, X509Source};
//! use spiffe_hyper::{Caller, Listener};
//! use spiffe_tower::AuthorizeLayer;
//!
//! async fn hello(Caller(who): Caller) -> String {
//!     format!("hello {}", who.id())
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = X509Source::connect().await?;                       // SPIFFE_ENDPOINT_SOCKET
//! let app = Router::new()
//!     .route("/hello", get(hello))
//!     .layer(AuthorizeLayer::new(member_of("prod.example".parse()?))
//!         .rpc("/admin/*", exactly("spiffe://prod.example/ops".parse()?))?);
//! let tls = source.server(member_of("prod.example".parse()?));
//! let listener = Listener::bind("0.0.0.0:8443", tls).await?;       // was TcpListener
//! axum::serve(listener, spiffe_hyper::with_connections(app)).await?;
//! # Ok(()) } }
//! ```
//!
//! # Federation
//!
//! With the feature `federation`, `federation::FederatedSource` adds the bundles of other trust domains
//! to a source, fetched from their bundle endpoints again and again, and `federation::BundleEndpoint`
//! publishes our own.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `axum` | `Caller` for axum's handlers, and a listener for `axum::serve` |
//! | `federation` | `federation`: bundles of other trust domains from their endpoints, and an endpoint of our own |
//! | `metrics` | counts of fetched bundles and refused calls, beside all that `spiffe_core::metrics` lists |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod connector;
mod dial;
#[cfg(feature = "federation")]
pub mod federation;
mod handshakes;
mod listener;
#[cfg(all(doctest, feature = "axum"))]
mod readme;
mod server;
mod transport;

#[cfg(feature = "axum")]
pub use self::axum::{
    Caller, ConnectInfo, ConnectInfoLayer, NoCaller, WithConnectInfo, WithConnections,
    with_connections,
};
pub use connector::{ConnectError, Connector, PeerIo};
pub use handshakes::Handshakes;
pub use listener::Listener;
pub use server::serve;
pub use transport::{HTTP, LAST_WORDS, Transport, connection};
