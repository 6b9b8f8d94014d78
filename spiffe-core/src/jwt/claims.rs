//! The claims that all our tokens share (RFC 7519 section 4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::JwtError;
use crate::SpiffeId;
use crate::json::Object;

/// Whom the token is about.
pub(crate) fn subject(claims: &Object) -> Result<SpiffeId, JwtError> {
    string(claims, "sub")?.parse().map_err(JwtError::Subject)
}

/// Until when the token may be accepted; there is no token without an end.
pub(crate) fn expiry(claims: &Object) -> Result<SystemTime, JwtError> {
    date(claims, "exp")?.ok_or(JwtError::ClaimMissing { claim: "exp" })
}

/// Whom the token is for: one string or a list of them, and none of them empty (RFC 7519 section
/// 4.1.3, JWT-SVID section 3.2).
pub(crate) fn audience(claims: &Object) -> Result<Vec<String>, JwtError> {
    let claim = "aud";
    let named = |value: &Value| match value.as_str() {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(JwtError::ClaimMalformed { claim }),
    };
    match claims.get(claim) {
        None => Err(JwtError::ClaimMissing { claim }),
        Some(Value::Array(names)) if !names.is_empty() => names.iter().map(named).collect(),
        Some(name) => Ok(vec![named(name)?]),
    }
}

/// A claim that is a text and must be there.
pub(crate) fn string<'a>(claims: &'a Object, claim: &'static str) -> Result<&'a str, JwtError> {
    let value = claims.get(claim).ok_or(JwtError::ClaimMissing { claim })?;
    value.as_str().ok_or(JwtError::ClaimMalformed { claim })
}

/// A moment: a number of seconds, whole or not, since 1970 (RFC 7519 section 2).
pub(crate) fn date(claims: &Object, claim: &'static str) -> Result<Option<SystemTime>, JwtError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let seconds = value.as_f64().ok_or(JwtError::ClaimMalformed { claim })?;
    // Who says "never" or "always" is taken at the ends of what a clock will show.
    let since_1970 = Duration::from_secs_f64(seconds.clamp(0.0, END_OF_YEAR_9999));
    Ok(Some(UNIX_EPOCH + since_1970))
}

const END_OF_YEAR_9999: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_are_numbers_and_stay_within_what_a_clock_can_show() {
        for (value, millis) in [
            (json!(0), 0),
            (json!(1.5), 1500),
            (json!(4.0709088e9), 4_070_908_800_000),
            (json!(-1), 0),
            (json!(-1e300), 0),
            (json!(1e300), 253_402_300_799_000),
            (json!(u64::MAX), 253_402_300_799_000),
        ] {
            let claims = Object::from_iter([("exp".to_owned(), value)]);
            let expected = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(expiry(&claims), Ok(expected), "{claims:?}");
        }
        for value in [json!("1"), json!(null), json!([1]), json!(true)] {
            let claims = Object::from_iter([("exp".to_owned(), value)]);
            let why = JwtError::ClaimMalformed { claim: "exp" };
            assert_eq!(expiry(&claims), Err(why), "{claims:?}");
        }
    }

    // conformance: JWT-7+ JWT-7-
    #[test]
    fn an_audience_is_a_name_or_a_list_of_names() {
        let malformed = || Err(JwtError::ClaimMalformed { claim: "aud" });
        for (value, read) in [
            (json!("a"), Ok(vec!["a".to_owned()])),
            (json!(["a", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()])),
            (json!([]), malformed()),
            (json!(""), malformed()),
            (json!(["a", ""]), malformed()),
            (json!(["a", 7]), malformed()),
            (json!([["a"]]), malformed()),
            (json!({"a": 1}), malformed()),
            (json!(null), malformed()),
        ] {
            let claims = Object::from_iter([("aud".to_owned(), value)]);
            assert_eq!(audience(&claims), read, "{claims:?}");
        }
    }
}
