//! An attestation-backed SPIFFE issuer: `spiffe-server` and `spiffe-agent`.

pub mod domain;
pub mod proto;
pub mod wire;
