//! tonic servers and channels over SPIFFE mutual TLS, on stock tonic.
//!
//! Services, clients, layers and interceptors stay as they are; what changes is one line.
//!
//! # A server
//!
//! ```no_run
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::source::IdentitySource;
//! use spiffe_core::tls::SourceExt;
//! use spiffe_core::{SpiffeId, TrustDomain};
//! use spiffe_tonic::RouterExt;
//! use spiffe_tower::AuthorizeLayer;
//! use tonic::transport::Server;
//!
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! # let (_reporter, service) = tonic_health::server::health_reporter();
//! let everyone_here = || member_of(TrustDomain::from_static("prod.example"));
//! let ops = exactly(SpiffeId::from_static("spiffe://prod.example/ops"));
//! Server::builder()
//!     .layer(AuthorizeLayer::new(everyone_here()).rpc("/bank.v1.Ledger/Close", ops))
//!     .add_service(service)
//!     .serve_mtls("0.0.0.0:8443".parse()?, source.server(everyone_here())) // was .serve(addr)
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! A handler asks [`RequestExt`] who calls:
//!
//! ```
//! use spiffe_tonic::RequestExt;
//!
//! fn greeting<T>(request: &tonic::Request<T>) -> Result<String, tonic::Status> {
//!     let caller = request.spiffe_id().ok_or(tonic::Status::unauthenticated("who are you?"))?;
//!     Ok(format!("hello {caller}"))
//! }
//! ```
//!
//! A connection lives on when trust changes. `Server::max_connection_age` bounds for how long.
//!
//! # A client
//!
//! ```no_run
//! use spiffe_core::SpiffeId;
//! use spiffe_core::authorizer::exactly;
//! use spiffe_core::source::IdentitySource;
//! use spiffe_core::tls::SourceExt;
//! # use tonic_health::pb::health_client::HealthClient as LedgerClient;
//!
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = exactly(SpiffeId::from_static("spiffe://prod.example/ledger"));
//! let channel = spiffe_tonic::channel("https://ledger:443", source.client(ledger)).await?;
//! let client = LedgerClient::new(channel); // a plain tonic Channel
//! # let _ = client;
//! # Ok(()) }
//! ```

mod channel;
mod incoming;
mod peer;

pub use channel::{ChannelError, channel, channel_lazy};
pub use incoming::{Incoming, RouterExt, ServeError, Stream, incoming};
pub use peer::{RequestExt, status};
