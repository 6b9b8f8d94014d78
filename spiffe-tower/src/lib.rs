//! Who is calling, and may they: verified SPIFFE peers and policies by SPIFFE ID as tower layers.
//!
//! A transport (`spiffe-hyper`, `spiffe-tonic`, or one of your own) does the handshake and puts a
//! [`Connection`] into the extensions of each request. Everything above asks there:
//!
//! ```text
//!   handler            spiffe_id(request.extensions())   who is it?
//!      ^
//!   AuthorizeLayer     may this one call this path?      403, or PermissionDenied
//!      ^
//!   JwtBearerLayer     verifies a token, if that is      401, or Unauthenticated
//!      ^               how callers say who they are
//!   transport          inserts Connection                mutual TLS, verified
//! ```
//!
//! A connection may outlive what was known when it began. So at each request the layers ask whether
//! its peer is [still good](spiffe_core::Peer::revalidate), and a call that goes on ends when it is
//! not: with the status that it would have been refused with.
//!
//! Who makes a request is a [`Principal`]: the holder of the token where one was verified, the peer of
//! the connection otherwise. The two are never mixed up: [`peer`] is always the other end of the
//! connection, which may be a proxy.
//!
//! There are layers here and nothing else: no runtime, no gRPC library, no HTTP implementation.
//!
//! # A server with a rule for one of its RPCs
//!
//! ```
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{SpiffeId, TrustDomain};
//! use spiffe_tower::AuthorizeLayer;
//!
//! let everyone_here = member_of(TrustDomain::from_static("prod.example"));
//! let ops = exactly(SpiffeId::from_static("spiffe://prod.example/ops"));
//! let policy = AuthorizeLayer::new(everyone_here).rpc("/bank.v1.Ledger/Close", ops)?;
//! # let _: AuthorizeLayer = policy;
//! # Ok::<_, spiffe_tower::RpcPathError>(())
//! ```
//!
//! Give it to `tonic::transport::Server::layer`, `tower::ServiceBuilder::layer` or the like.
//!
//! # A policy that has to think
//!
//! ```
//! use http::request::Parts;
//! use spiffe_tower::{AuthorizeRequestLayer, Principal};
//!
//! # #[derive(Clone)] struct Database;
//! # impl Database { async fn owner(&self, _: &str) -> Option<spiffe_core::SpiffeId> { None } }
//! # fn example(database: Database) {
//! let owners = AuthorizeRequestLayer::new(move |caller: &Principal, request: &Parts| {
//!     let (caller, path) = (caller.clone(), request.uri.path().to_owned());
//!     let database = database.clone();
//!     async move {
//!         match database.owner(&path).await {
//!             Some(owner) if owner == *caller.id() => Ok(()),
//!             _ => Err(caller.denied("the owner")),
//!         }
//!     }
//! });
//! # drop(owners);
//! # }
//! ```
//!
//! # A server behind a proxy, whose callers show a JWT-SVID
//!
//! ```
//! # #[cfg(feature = "jwt-client")] {
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{JwtSource, SpiffeId, TrustDomain};
//! use spiffe_tower::{AuthorizeLayer, JwtBearerLayer};
//! # use tower::ServiceBuilder;
//! # fn example(source: JwtSource, ledger: impl Clone) -> Result<(), spiffe_tower::RpcPathError> {
//!
//! let everyone_here = member_of(TrustDomain::from_static("prod.example"));
//! let ops = exactly(SpiffeId::from_static("spiffe://prod.example/ops"));
//! let service = ServiceBuilder::new()
//!     .layer(JwtBearerLayer::new(source, ["ledger"]))           // who is it?
//!     .layer(AuthorizeLayer::new(everyone_here).rpc("/close", ops)?)   // may they?
//!     .service(ledger);
//! # drop(service);
//! # Ok(())
//! # } }
//! ```
//!
//! `tonic::transport::Server::layer` takes the layers in the same order; for axum's `Router::layer`
//! the last one stands outermost, so `JwtBearerLayer` comes last.
//!
//! # A client that shows one
//!
//! ```
//! # #[cfg(feature = "jwt-client")] {
//! use spiffe_core::JwtSource;
//! use spiffe_tower::JwtInjectLayer;
//! # use tower::ServiceBuilder;
//! # fn example(source: JwtSource, channel: impl Clone) -> Result<(), spiffe_tower::OriginError> {
//!
//! let ledger = "https://ledger.prod.example".parse()?;
//! let channel = ServiceBuilder::new()
//!     .layer(JwtInjectLayer::new(source, "ledger").to(ledger))
//!     .service(channel);                     // a channel of tonic, a client of hyper
//! # drop(channel);
//! # Ok(())
//! # } }
//! ```
//!
//! # A handler that asks who calls
//!
//! ```
//! use spiffe_tower::Principal;
//!
//! fn greeting<B>(request: &http::Request<B>) -> String {
//!     match Principal::of(request.extensions()) {
//!         Some(Principal::Jwt(jwt)) => format!("hello {}, until {:?}", jwt.id(), jwt.expires_at()),
//!         Some(caller) => format!("hello {}", caller.id()),
//!         None => "who are you?".to_owned(),
//!     }
//! }
//! ```
//!
//! # A client that looks at who answered
//!
//! ```
//! fn who<B>(response: &http::Response<B>) -> Option<&spiffe_core::SpiffeId> {
//!     spiffe_tower::peer(response.extensions()).map(|peer| peer.id())
//! }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `jwt` | `JwtBearerLayer`: servers that know callers by JWT-SVIDs |
//! | `jwt-client` | `JwtInjectLayer`: clients that send JWT-SVIDs from the Workload API |
//! | `incubating-wit` | `WitVerifyLayer` and `WitInjectLayer`, the same for WIT-SVIDs, which the standard calls incubating: they may change with it |
//! | `metrics` | counts of refused calls, beside all that `spiffe_core::metrics` lists |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "incubating-wit")]
mod access_token;
#[cfg(feature = "jwt")]
mod authorization;
mod authorize;
#[cfg(feature = "jwt")]
mod bearer;
mod guard;
#[cfg(any(feature = "incubating-wit", feature = "jwt-client"))]
mod inject;
#[cfg(feature = "jwt-client")]
mod jwt_client;
#[cfg(any(feature = "incubating-wit", feature = "jwt-client"))]
mod origin;
mod peer;
mod principal;
#[cfg(doctest)]
mod readme;
mod refusal;
mod request;
mod rule;
#[cfg(any(feature = "incubating-wit", feature = "jwt-client"))]
mod target;
#[cfg(feature = "incubating-wit")]
mod wit;
#[cfg(feature = "incubating-wit")]
mod wit_client;

#[cfg(feature = "incubating-wit")]
pub use access_token::AccessTokenError;
pub use authorize::{AuthorizeLayer, Authorized};
#[cfg(feature = "jwt")]
pub use bearer::{JwtBearer, JwtBearerLayer};
pub use guard::{Guarded, GuardedCall, PeerLayer, Proven};
#[cfg(any(feature = "incubating-wit", feature = "jwt-client"))]
pub use inject::InjectError;
#[cfg(feature = "jwt-client")]
pub use jwt_client::{JwtInject, JwtInjectLayer};
#[cfg(any(feature = "incubating-wit", feature = "jwt-client"))]
pub use origin::{Origin, OriginError};
pub use peer::{Connection, peer};
pub use principal::{Principal, spiffe_id};
pub use request::{AuthorizeRequest, AuthorizeRequestLayer, AuthorizedRequests};
pub use rule::RpcPathError;
#[cfg(feature = "incubating-wit")]
pub use wit::{WitVerify, WitVerifyLayer};
#[cfg(feature = "incubating-wit")]
pub use wit_client::{WitInject, WitInjectLayer};
