//! tonic servers and channels over SPIFFE mutual TLS, on stock tonic.
//!
//! Services, clients, layers and interceptors stay as they are; what changes is one line.
//!
//! # A server
//!
//! ```no_run
//! # use tonic::transport::Server;
//! # use tonic_health::pb::health_server::{Health, HealthServer as LedgerServer};
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::{SourceExt, X509Source};
//! use spiffe_tonic::RouterExt;
//! use spiffe_tower::AuthorizeLayer;
//!
//! # async fn example(ledger: impl Health, addr: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let source = X509Source::connect().await?;                       // SPIFFE_ENDPOINT_SOCKET
//! Server::builder()
//!     .layer(AuthorizeLayer::new(member_of("prod.example".parse()?))
//!         .rpc("/bank.v1.Ledger/Close", exactly("spiffe://prod.example/ops".parse()?)))
//!     .add_service(LedgerServer::new(ledger))
//!     .serve_mtls(addr, source.server(member_of("prod.example".parse()?)))   // was .serve(addr)
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
//! A connection lasts no longer than its peer is in good standing: see [`RouterExt`].
//!
//! # A client
//!
//! ```no_run
//! # use spiffe_core::authorizer::exactly;
//! # use spiffe_core::{SourceExt, X509Source};
//! # use tonic_health::pb::health_client::HealthClient as LedgerClient;
//! # async fn example(source: X509Source) -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = exactly("spiffe://prod.example/ledger".parse()?);
//! let channel = spiffe_tonic::channel("https://ledger:443", source.client(ledger)).await?;
//! let mut client = LedgerClient::new(channel);                     // a plain tonic Channel
//! # let _ = &mut client;
//! # Ok(()) }
//! ```

mod channel;
mod incoming;
mod peer;
mod serve;

pub use channel::{ChannelError, channel, channel_lazy};
pub use incoming::{Incoming, Stream, incoming};
pub use peer::{RequestExt, status};
pub use serve::{RouterExt, ServeError};
