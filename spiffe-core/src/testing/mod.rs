//! A trust domain to test with: an authority that issues at once, a clock that is moved by hand,
//! a Workload API that follows a script.
//!
//! * [`TestAuthority`] issues X.509-SVIDs, JWT-SVIDs and WIT-SVIDs, good ones
//!   ([`svid`](TestAuthority::svid)) and bad ones ([`draft`](TestAuthority::draft)); most tests need
//!   no more than its [`source`](TestAuthority::source).
//! * [`FakeWorkloadApi`] plays the agent, in memory or on a socket: updates, errors, outages, delays.
//! * [`TestClock`] is moved with tokio's time.
//! * `Impostor` presents bad SVIDs in handshakes.
//!
//! Behind the feature `testing`. What fails in here panics, as a test should.

mod authority;
mod clock;
#[cfg(feature = "tls")]
mod impostor;
mod svid;
#[cfg(test)]
mod svid_tests;
mod token;
mod workload_api;

pub use authority::{AuthorityDraft, TestAuthority};
pub use clock::TestClock;
#[cfg(feature = "tls")]
pub use impostor::Impostor;
pub use svid::SvidDraft;
pub use token::TokenDraft;
pub use workload_api::{FakeWorkloadApi, Rpc, message};
