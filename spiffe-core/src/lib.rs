//! SPIFFE identities: names, documents, proofs, and sources that keep them fresh.

pub mod clock;
mod id;
#[cfg(feature = "workload-api")]
pub mod proto;

pub use id::{IdError, SpiffeId, TrustDomain};
