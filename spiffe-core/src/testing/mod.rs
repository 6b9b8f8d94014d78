//! A trust domain to test with: an authority that issues at once, a clock that is moved by hand.
//!
//! Behind the feature `testing`. What fails in here panics, as a test should.

mod authority;
mod clock;

pub use authority::{SvidDraft, TestAuthority};
pub use clock::TestClock;
