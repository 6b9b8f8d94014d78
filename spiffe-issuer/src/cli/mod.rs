//! The command lines of server and agent.

pub mod flags;
pub mod output;
pub mod values;
