//! The server: what attests nodes, keeps entries, and issues.

pub mod ca;
pub mod store;
