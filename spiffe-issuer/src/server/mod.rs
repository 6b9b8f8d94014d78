//! The server: what attests nodes, keeps entries, and issues.

pub mod ca;
pub mod entry_cache;
pub mod own_identity;
pub mod prune;
pub mod store;
