//! Federation: bundles of other trust domains from their endpoints (SPIFFE Federation), and an
//! endpoint for our own. Behind the feature `federation`.
//!
//! * [`Relationship`]: whom to federate with, where their bundle is, and how the server there proves
//!   who it is;
//! * [`BundleClient`]: one fetch, what is held in and what is held from then on out;
//! * [`FederatedSource`]: a source with the bundles of others on top, fetched again and again;
//! * [`BundleEndpoint`]: our own bundle, for others; [`BundleServer`] serves it.
//!
//! # Believe the others
//!
//! ```no_run
//! use spiffe_core::authorizer::member_of;
//! use spiffe_core::{SourceExt, TrustDomain, X509Source};
//! use spiffe_hyper::federation::{FederatedSource, Relationship};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! const PARTNER: TrustDomain = TrustDomain::from_static("partner.example");
//!
//! let url = "https://bundles.partner.example/".parse()?;
//! let source = FederatedSource::builder(X509Source::connect().await?)
//!     .relationship(Relationship::https_web(PARTNER, url))
//!     .directory("/var/lib/ledger/bundles")
//!     .start()?;
//! let tls = source.server(member_of(PARTNER));
//! # drop(tls);
//! # Ok(()) }
//! ```
//!
//! # Let the others believe us
//!
//! ```no_run
//! use spiffe_core::TrustDomain;
//! use spiffe_hyper::federation::{BundleEndpoint, BundleServer, EndpointTls};
//!
//! # use spiffe_core::IdentitySource;
//! # async fn example(source: impl IdentitySource + Clone) -> Result<(), Box<dyn std::error::Error>> {
//! const OURS: TrustDomain = TrustDomain::from_static("shop.example");
//!
//! let url = "https://bundles.shop.example:8443/".parse()?;
//! let endpoint = BundleEndpoint::new(&url, source.clone(), OURS);
//! let server = BundleServer::bind("0.0.0.0:8443", EndpointTls::https_spiffe(source)).await?;
//! server.serve(endpoint, async { _ = tokio::signal::ctrl_c().await }).await;
//! # Ok(()) }
//! ```

mod client;
#[cfg(feature = "metrics")]
mod counts;
mod endpoint;
mod error;
mod file;
mod held;
mod interval;
mod relationship;
mod request;
mod secure;
mod source;
mod url;

pub use client::BundleClient;
pub use endpoint::{BundleEndpoint, BundleServer, EndpointTls, WebIdentityError};
pub use error::{FetchError, TlsError};
pub use held::{Fetched, Held};
pub use relationship::{Profile, Relationship, RelationshipError};
pub use source::{FederatedSource, FederatedSourceBuilder, FederationError, PartnerHealth};
pub use url::{EndpointUrl, UrlError};
