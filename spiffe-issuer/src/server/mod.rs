//! The server: what attests nodes, keeps entries, and issues.

pub mod api;
pub mod built_ins;
pub mod bundles;
pub mod ca;
pub mod config;
mod dns_name;
pub mod entries;
pub mod entry_cache;
mod ids;
pub mod nodes;
pub mod own_identity;
pub mod prune;
pub mod store;
pub mod svids;
