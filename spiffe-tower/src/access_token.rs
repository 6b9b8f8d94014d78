//! The OAuth access token that stands beside a WIT-SVID, which its proof has to bind.
//!
//! What cannot be read for certain is refused and never taken for nothing: whoever reads it further in
//! may see the token in it that the proof did not bind.

use http::HeaderMap;

use crate::authorization::{AuthorizationError, authorization};

/// The access token of a request, if there is any.
///
/// It comes as `Bearer` (RFC 6750 section 2.1) or `DPoP` (RFC 9449 section 7.1). Other schemes are
/// refused, for their credentials may be tokens as well, but for those of [`WITHOUT_TOKENS`].
pub(crate) fn access_token(headers: &HeaderMap) -> Result<Option<&str>, AccessTokenError> {
    let Some((scheme, credentials)) = authorization(headers)? else {
        return Ok(None);
    };
    let is = |name: &&str| scheme.eq_ignore_ascii_case(name);
    let with_token = WITH_TOKENS.iter().any(is);
    if !with_token && !WITHOUT_TOKENS.iter().any(is) {
        return Err(AccessTokenError::Scheme);
    }
    // Of every scheme: behind a comma there may be a second one, and a reader who takes that for ours.
    match is_token(credentials) {
        true => Ok(with_token.then_some(credentials)),
        false => Err(AccessTokenError::Unreadable),
    }
}

/// Whether it is a `token68` (RFC 9110 section 11.2).
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(fits)
}

/// Why what stands in `Authorization` is no access token that a proof could bind, and may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessTokenError {
    /// It is not known whether credentials of this scheme are access tokens.
    #[error(
        "the scheme of the header `authorization` is none of those that are known to hold an access \
         token ({}) or none ({})",
        WITH_TOKENS.join(", "),
        WITHOUT_TOKENS.join(", ")
    )]
    Scheme,
    /// The header is there more than once.
    #[error("{}", AuthorizationError::Several)]
    Several,
    /// The header is longer than anyone needs.
    #[error("{}", AuthorizationError::TooLong)]
    TooLong,
    /// The header is not one scheme and one run of letters that go in a token.
    #[error(
        "the header `authorization` is not of the form `Bearer <token>` or `DPoP <token>`, nor one of \
         the same form without a token ({})",
        WITHOUT_TOKENS.join(", ")
    )]
    Unreadable,
}

impl From<AuthorizationError> for AccessTokenError {
    fn from(why: AuthorizationError) -> Self {
        match why {
            AuthorizationError::Several => Self::Several,
            AuthorizationError::TooLong => Self::TooLong,
            AuthorizationError::Unreadable => Self::Unreadable,
        }
    }
}

const WITH_TOKENS: [&str; 2] = ["Bearer", "DPoP"];
/// Passwords and handshakes, which are bound to a request in their own way or in none. Only schemes
/// whose credentials are a single `token68`, so that nothing else fits in.
const WITHOUT_TOKENS: [&str; 2] = ["Basic", "Negotiate"];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::authorization::MAX_LEN;

    #[test]
    fn an_access_token_is_read_or_refused_and_never_overlooked() {
        use AccessTokenError::{Scheme, TooLong, Unreadable};
        let longest = format!("Bearer {}", "a".repeat(MAX_LEN - 7));
        let too_long = format!("{longest}a");
        for (value, read) in [
            ("Bearer a", Ok(Some("a"))),
            ("bEARER a.b-c_d~e+f/g==", Ok(Some("a.b-c_d~e+f/g=="))),
            ("Bearer  a", Ok(Some("a"))),
            ("DPoP a", Ok(Some("a"))),
            ("dpop a", Ok(Some("a"))),
            (&longest, Ok(Some(&longest[7..]))),
            ("Basic dTpw", Ok(None)),
            ("Negotiate YII=", Ok(None)),
            ("Basic dTpw, Bearer a", Err(Unreadable)),
            ("Basic dTpw,Bearer a", Err(Unreadable)),
            ("Basic dTpw Bearer a", Err(Unreadable)),
            ("Negotiate YII=, DPoP a", Err(Unreadable)),
            ("Basic ", Err(Unreadable)),
            ("Digest a=b, Bearer c", Err(Scheme)),
            ("digest username=\"u\", uri=\"/\"", Err(Scheme)),
            ("", Err(Unreadable)),
            ("Bearer", Err(Unreadable)),
            ("Bearer ", Err(Unreadable)),
            ("Bearer =", Err(Unreadable)),
            ("Bearer\ta", Err(Unreadable)),
            ("Bearer \ta", Err(Unreadable)),
            ("Bearer a ", Err(Unreadable)),
            ("Bearer a b", Err(Unreadable)),
            ("Bearer a, Bearer b", Err(Unreadable)),
            ("Bearer a\u{e9}", Err(Unreadable)),
            ("DPoP", Err(Unreadable)),
            ("a", Err(Unreadable)),
            ("Basic", Err(Unreadable)),
            ("Basic\ta b", Err(Scheme)),
            (" Bearer a", Err(Scheme)),
            ("Bearer\t a", Err(Scheme)),
            ("Bearer, a", Err(Scheme)),
            ("Bearer\tx a", Err(Scheme)),
            ("GNAP a", Err(Scheme)),
            ("PoP a", Err(Scheme)),
            ("OAuth a", Err(Scheme)),
            ("BasicBearer a", Err(Scheme)),
            (&too_long, Err(TooLong)),
        ] {
            let mut headers = HeaderMap::new();
            let header = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.insert(AUTHORIZATION, header.clone());
            assert_eq!(access_token(&headers), read, "{value:?}");
            headers.append(AUTHORIZATION, header);
            assert_eq!(access_token(&headers), Err(AccessTokenError::Several));
        }
        assert_eq!(access_token(&HeaderMap::new()), Ok(None));
    }
}
