//! An attestation-backed SPIFFE issuer: `spiffe-server` and `spiffe-agent`.

#[cfg(feature = "agent")]
pub mod agent;
pub mod cli;
pub mod config;
pub mod domain;
pub mod plugin;
pub mod proto;
pub mod runtime;
pub mod wire;
