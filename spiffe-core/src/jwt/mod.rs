//! JWT-SVIDs and what they are made of: algorithms, keys, tokens.
//!
//! A token that was read is not trusted yet; [`verify::jwt`](crate::verify::jwt()) makes a proof of
//! it.

mod algorithm;
mod claims;
mod compact;
mod error;
mod jwk;
mod key;
mod svid;

pub use algorithm::Algorithm;
pub use error::{JwkError, JwtError};
pub use jwk::Jwk;
pub use svid::JwtSvid;

pub(crate) use compact::{Compact, Headers, TokenType};
pub(crate) use key::Key;
