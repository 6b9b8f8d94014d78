//! JWT-SVIDs and what they are made of: algorithms, keys, tokens.
//!
//! A token that was read is not trusted yet; [`verify::jwt`](crate::verify::jwt()) makes a proof of
//! it.

mod algorithm;
pub(crate) mod claims;
mod compact;
mod error;
mod jwk;
mod key;
#[cfg(any(feature = "incubating-wit", feature = "testing"))]
mod sign;
mod svid;
#[cfg(feature = "incubating-wit")]
mod wit;

pub use algorithm::Algorithm;
pub use error::{JwkError, JwtError};
pub use jwk::Jwk;
#[cfg(any(feature = "incubating-wit", feature = "testing"))]
pub use sign::SigningError;
pub use svid::JwtSvid;
#[cfg(feature = "incubating-wit")]
pub use wit::WitSvid;

pub(crate) use compact::{Compact, Headers, TokenType};
pub(crate) use key::Key;
#[cfg(feature = "testing")]
pub(crate) use sign::SigningKey;
#[cfg(feature = "incubating-wit")]
pub(crate) use wit::{WitClaims, hash};
