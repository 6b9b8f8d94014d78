//! The header `Authorization`, read for whoever looks for a token in it: it is there once, or it is not
//! believed.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Scheme and credentials of a request, if there are any.
pub(crate) fn authorization(
    headers: &HeaderMap,
) -> Result<Option<(&str, &str)>, AuthorizationError> {
    let mut all = headers.get_all(AUTHORIZATION).into_iter();
    let value = match (all.next(), all.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        // Of two, one reader may take the first and another one the last.
        _ => return Err(AuthorizationError::Several),
    };
    if value.len() > MAX_LEN {
        return Err(AuthorizationError::TooLong);
    }
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let (scheme, credentials) = text.ok_or(AuthorizationError::Unreadable)?;
    Ok(Some((scheme, credentials.trim_start_matches(' '))))
}

/// Why there are no credentials to be had from the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthorizationError {
    #[error("there is more than one header `authorization`")]
    Several,
    #[error("the header `authorization` is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("the header `authorization` is not of the form `<scheme> <credentials>`")]
    Unreadable,
}

/// As long as the longest token that is read anywhere here, and what stands before it.
pub(crate) const MAX_LEN: usize = 16 * 1024 + 16;
