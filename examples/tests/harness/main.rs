//! The conformance harness as a suite of others would drive it: a process, a Workload API on a
//! socket, two ports. The names of the cases are those of the suites: `EP` endpoint, `WA` Workload API,
//! `HX` own identity, `XV` and `XF` X.509 and its federation, `JV`, `JB` and `JF` tokens, their bundles
//! and their fetching.
//!
//! Each refusal is shown beside a twin that is let through, and that nothing came of a message is
//! shown by the one after it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

mod endpoint;
mod jwt;
mod own_identity;
mod peers;
mod world;
