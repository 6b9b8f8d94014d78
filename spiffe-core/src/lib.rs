//! SPIFFE identities: names, documents, proofs, and sources that keep them fresh.
//!
//! A program that runs beside a SPIFFE agent gets its identity from the Workload API, keeps it fresh
//! and talks mutual TLS with it:
//!
//! ```no_run
//! use spiffe_core::authorizer::exactly;
//! use spiffe_core::{SourceExt, SpiffeId, X509Source, spiffe_id};
//! use tokio::net::TcpStream;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! const DATABASE: SpiffeId = spiffe_id!("spiffe://example.org/database");
//!
//! // Reads SPIFFE_ENDPOINT_SOCKET and waits for the first identity.
//! let source = X509Source::connect().await?;
//! let client = source.client(exactly(DATABASE));
//!
//! let stream = TcpStream::connect("10.0.0.7:5432").await?;
//! let stream = client.connector().connect(stream).await?;
//! println!("this is {}", stream.peer().id());
//! # Ok(())
//! # }
//! ```
//!
//! Nothing has to be reloaded: each handshake uses what the source holds at that moment.
//!
//! # What is where
//!
//! * Names: [`SpiffeId`], [`TrustDomain`], [`IdPattern`].
//! * Documents: [`X509Svid`] and what it is made of in [`x509`], [`JwtSvid`] and what it is made of in
//!   [`jwt`]; [`TrustBundle`] and [`BundleSet`], read from and written to JSON.
//! * Proofs: [`verify`] makes a [`Peer`] of a certificate chain and a [`VerifiedJwt`] of a token, and
//!   nothing else does; [`authorizer`] says whether a peer may talk to us, and a `policy::Policy`
//!   can change its mind while connections last.
//! * Sources: an `IdentitySource` always has an [`IdentitySnapshot`]; an `X509Source` takes it from
//!   the Workload API, a `BundleSource` takes bundles alone, a `JwtSource` has tokens as well; a
//!   `source::FileSource` reads files, and a `source::SnapshotCell` shows what its owner publishes.
//! * TLS: `SourceExt` makes servers and clients of any source; what they are made of is in `tls`.
//!
//! # Features
//!
//! | feature | on by default | what it adds |
//! |---|---|---|
//! | `std` | yes | documents and proofs; all other features but `serde` bring it along |
//! | `source` | | sources and the snapshots they replace; tokio |
//! | `tls` | yes | `tls`: rustls configurations, acceptor and connector over any IO |
//! | `rustls-0_23` | | what shows rustls 0.23: bare configurations, a crypto provider of one's own |
//! | `tls12` | | TLS 1.2, where it is allowed; TLS 1.3 stays the only one otherwise |
//! | `workload-api` | yes | `workload_api`: the client, and `X509Source`; tonic |
//! | `delegated-identity` | | `delegated`: identities of other workloads, from the agent's admin socket |
//! | `incubating-broker` | | `broker`: the same by the Broker API, which the standard calls incubating |
//! | `serde` | | IDs in configuration files |
//! | `incubating-wit` | | WIT-SVIDs, which the standard calls incubating: they may change with it |
//! | `metrics` | | `metrics`: counts and gauges, for the facade of the crate of that name |
//! | `testing` | | `testing`: an authority, a clock and a Workload API for tests |
//!
//! With `std` alone, names, documents and proofs build without an async runtime.
//!
//! Without any of them the crate is `no_std` and needs `alloc`: [`SpiffeId`], [`TrustDomain`], [`IdPattern`]
//! and their macros, for firmware and WebAssembly (with `serde` too). `core` has to have atomic pointers.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod authorizer;
#[cfg(feature = "source")]
pub mod backoff;
#[cfg(feature = "incubating-broker")]
pub mod broker;
#[cfg(feature = "std")]
pub mod bundle;
#[cfg(feature = "std")]
mod causes;
#[cfg(feature = "std")]
pub mod clock;
#[cfg(feature = "delegated-identity")]
pub mod delegated;
#[cfg(feature = "std")]
mod der;
mod id;
#[cfg(feature = "std")]
pub mod json;
#[cfg(feature = "std")]
pub mod jwt;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "source")]
pub mod policy;
#[cfg(feature = "workload-api")]
pub mod proto;
#[cfg(all(doctest, feature = "tls", feature = "workload-api"))]
mod readme;
#[cfg(feature = "std")]
mod snapshot;
#[cfg(feature = "source")]
pub mod source;
#[cfg(feature = "source")]
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "std")]
pub mod verify;
#[cfg(feature = "std")]
mod woken;
#[cfg(feature = "workload-api")]
pub mod workload_api;
#[cfg(feature = "std")]
pub mod x509;

#[cfg(feature = "std")]
pub use bundle::{BundleSet, TrustBundle};
#[cfg(feature = "std")]
pub use causes::with_causes;
pub use id::{IdError, IdPattern, PatternError, SpiffeId, TrustDomain};
#[cfg(feature = "std")]
pub use jwt::JwtSvid;
/// The rustls whose types this crate shows, for programs that must name the same version.
#[cfg(feature = "rustls-0_23")]
pub use rustls;
#[cfg(feature = "std")]
pub use snapshot::IdentitySnapshot;
#[cfg(feature = "source")]
pub use source::IdentitySource;
#[cfg(feature = "workload-api")]
pub use source::{BundleSource, JwtSource, X509Source};
#[cfg(feature = "tls")]
pub use tls::SourceExt;
#[cfg(feature = "std")]
pub use verify::{Peer, VerifiedJwt};
#[cfg(feature = "std")]
pub use x509::X509Svid;
