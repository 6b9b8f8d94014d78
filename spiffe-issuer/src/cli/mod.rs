//! The command lines of server and agent.

#[cfg(feature = "server")]
mod admin;
#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
mod agents;
#[cfg(feature = "server")]
mod authority;
#[cfg(feature = "server")]
mod bundle;
mod connect;
mod daemon;
#[cfg(feature = "server")]
mod entry;
#[cfg(feature = "server")]
mod federation;
#[cfg(feature = "agent")]
mod fetch;
pub mod flags;
mod health;
#[cfg(feature = "server")]
mod json_file;
#[cfg(feature = "server")]
mod jwks;
pub mod output;
mod rpc;
#[cfg(feature = "server")]
mod selectors;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "agent")]
mod svids;
mod text;
#[cfg(feature = "server")]
mod token;
pub mod tree;
#[cfg(feature = "server")]
mod usage;
pub mod values;
#[cfg(feature = "agent")]
mod workload;
