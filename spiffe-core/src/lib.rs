//! SPIFFE identities: names, documents, proofs, and sources that keep them fresh.

pub mod authorizer;
pub mod backoff;
pub mod bundle;
pub mod clock;
mod id;
#[cfg(feature = "workload-api")]
pub mod proto;
mod snapshot;
#[cfg(feature = "source")]
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;
pub mod verify;
#[cfg(feature = "workload-api")]
pub mod workload_api;
pub mod x509;

pub use bundle::{BundleSet, TrustBundle};
pub use id::{IdError, SpiffeId, TrustDomain};
pub use snapshot::IdentitySnapshot;
#[cfg(feature = "source")]
pub use source::IdentitySource;
pub use verify::Peer;
pub use x509::X509Svid;
