//! An attestation-backed SPIFFE issuer: `spiffe-server` and `spiffe-agent`.

#[cfg(feature = "agent")]
pub mod agent;
pub mod attestation;
#[cfg(any(feature = "agent", feature = "server"))]
pub mod cli;
pub mod config;
pub mod domain;
pub mod keys;
pub mod plugin;
pub mod proto;
pub mod runtime;
#[cfg(feature = "server")]
pub mod server;
pub mod wire;
