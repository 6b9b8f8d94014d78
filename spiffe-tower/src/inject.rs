//! Why a client does not send a token, and where tokens go in a request.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

#[cfg(feature = "incubating-wit")]
use crate::access_token::AccessTokenError;

/// Why a call was not made, for it would have been made without a token or with one in the wrong
/// place; or why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// The request has an `Authorization` that may be an access token, and that no proof can bind.
    #[cfg(feature = "incubating-wit")]
    #[error("no proof can bind the `authorization` of the request")]
    AccessToken(#[from] AccessTokenError),
    /// The call was made, and failed.
    #[error("the call failed")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request goes elsewhere than the tokens may go.
    #[error("a token for {origin} would go to {target}")]
    Elsewhere {
        /// Where the request goes.
        target: String,
        /// Where tokens may go.
        origin: String,
    },
    /// There is no token to send.
    // No source: that may have a gRPC status of the agent in it, and tonic would take it for one of
    // the server.
    #[cfg(feature = "jwt-client")]
    #[error("there is no token to send: {}", spiffe_core::with_causes(.0))]
    NoJwt(spiffe_core::source::JwtSourceError),
    /// There is no WIT-SVID to present, or it has ended.
    #[cfg(feature = "incubating-wit")]
    #[error("there is no WIT-SVID to present")]
    NoWit,
    /// The request has a header already where the token belongs.
    #[error("the request has a header `{header}` already")]
    Occupied {
        /// Its name.
        header: HeaderName,
    },
    /// Anybody on the way could read the token.
    #[error("a token would go to {target} in plain text")]
    PlainText {
        /// Where the request goes.
        target: String,
    },
    /// No proof could be made that the WIT-SVID is ours.
    #[cfg(feature = "incubating-wit")]
    #[error("no proof could be made")]
    Proof(#[source] spiffe_core::jwt::SigningError),
    /// The token is no header.
    #[error("the token cannot be put into a header")]
    Unfit(#[source] http::header::InvalidHeaderValue),
    /// The request does not say where it goes, as those of tonic do not.
    #[error(
        "it is not known where the token would go: neither the request nor the layer names scheme and \
         host"
    )]
    Unnamed,
}

/// Makes sure that a header is there once, and from us.
pub(crate) fn vacant(headers: &HeaderMap, header: &HeaderName) -> Result<(), InjectError> {
    match headers.contains_key(header) {
        false => Ok(()),
        true => Err(InjectError::Occupied {
            header: header.clone(),
        }),
    }
}

/// A header that is neither printed nor remembered by who compresses headers.
pub(crate) fn secret(text: &str) -> Result<HeaderValue, InjectError> {
    let mut value = HeaderValue::try_from(text).map_err(InjectError::Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}
