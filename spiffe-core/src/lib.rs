//! SPIFFE identities: names, documents, proofs, and sources that keep them fresh.

pub mod clock;
mod id;

pub use id::{IdError, SpiffeId, TrustDomain};
