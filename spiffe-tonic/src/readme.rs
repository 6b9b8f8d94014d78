//! The example of `README.md`, compiled.
//!
//! ```no_run
//! # use tonic::transport::Server;
//! # use tonic_health::pb::health_server::{Health, HealthServer as LedgerServer};
//! # async fn example(ledger: impl Health, addr: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! use spiffe_core::{SourceExt, X509Source, authorizer::{exactly, member_of}};
//! use spiffe_tonic::{RequestExt, RouterExt};
//!
//! let source = X509Source::connect().await?;                                 // SPIFFE_ENDPOINT_SOCKET
//! Server::builder()
//!     .add_service(LedgerServer::new(ledger))
//!     .serve_mtls(addr, source.server(member_of("prod.example".parse()?)))   // was .serve(addr)
//!     .await?;
//! // in a handler: request.spiffe_id()
//!
//! let ledger = exactly("spiffe://prod.example/ledger".parse()?);
//! let channel = spiffe_tonic::channel("https://ledger:443", source.client(ledger)).await?;
//! # drop(channel);
//! # Ok(()) }
//! ```
