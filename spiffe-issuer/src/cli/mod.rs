//! The command lines of server and agent.

pub mod flags;
pub mod output;
#[cfg(feature = "server")]
pub mod server;
pub mod values;
