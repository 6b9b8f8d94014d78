//! A trust domain to test with: an authority that issues at once, a clock that is moved by hand,
//! a Workload API that follows a script.
//!
//! Behind the feature `testing`. What fails in here panics, as a test should.

mod authority;
mod clock;
mod token;
mod workload_api;

pub use authority::{SvidDraft, TestAuthority};
pub use clock::TestClock;
pub use token::TokenDraft;
pub use workload_api::{FakeWorkloadApi, Rpc, message};
