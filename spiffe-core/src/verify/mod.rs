//! Proofs: what has been checked is a type that only the check can make.

mod error;
mod jwt;
mod jwt_error;
#[cfg(feature = "source")]
mod own;
mod peer;
mod uri_constraints;
#[cfg(feature = "incubating-wit")]
mod wit;
mod x509;
#[cfg(test)]
mod x509_tests;

pub use error::{PeerError, VerifyError};
pub use jwt::{JwtRules, VerifiedJwt, jwt};
pub use jwt_error::{LeewayError, VerifyJwtError};
pub use peer::{Peer, Role};
#[cfg(feature = "incubating-wit")]
pub use wit::{VerifiedWit, VerifyProofError, WitPresented, wit};
pub use x509::x509_peer;

#[cfg(feature = "tls")]
pub(crate) use peer::{Ended, Standing};
#[cfg(feature = "tls")]
pub(crate) use x509::x509_peer_with;

#[cfg(feature = "source")]
pub(crate) use own::own_svid;
