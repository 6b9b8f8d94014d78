//! An attestation-backed SPIFFE issuer: `spiffe-server` and `spiffe-agent`.

pub mod config;
pub mod domain;
pub mod proto;
pub mod runtime;
pub mod wire;
