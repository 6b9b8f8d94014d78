//! The example of `README.md`, compiled.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_tower::AuthorizeLayer;
//!
//! let policy = AuthorizeLayer::new(member_of("prod.example".parse()?))
//!     .rpc("/bank.v1.Ledger/Close", exactly("spiffe://prod.example/ops".parse()?))?;
//! # drop(policy);
//! # Ok(()) }
//! ```
