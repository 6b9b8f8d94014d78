//! What goes wrong around a server and an agent, with both as programs: each case says what is wrong
//! and where, and nothing that is valid is lost.

#![cfg(all(feature = "agent", feature = "server"))]
#![expect(clippy::unwrap_used, reason = "tests")]

mod federated;
mod flood;
mod full_disk;
mod key_files;
mod killed;
#[path = "../postgres/mod.rs"]
mod postgres;
mod started;
mod two_servers;
mod village;
