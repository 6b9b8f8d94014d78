//! Federation: bundles of other trust domains from their endpoints (SPIFFE Federation), and an
//! endpoint for our own. Behind the feature `federation`.
//!
//! * [`Relationship`]: whom to federate with, where their bundle is, and how the server there proves
//!   who it is;
//! * [`BundleClient`]: one fetch, what is held in and what is held from then on out;
//! * [`FederatedSource`]: a source with the bundles of others on top, fetched again and again;
//! * [`BundleEndpoint`]: our own bundle, for others; [`BundleServer`] serves it.

mod client;
mod endpoint;
mod error;
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
