//! What the fuzz targets `jwt`, `bundle_document` and `names` hold true for any bytes. A plain test runs the
//! same over the vectors, so that what holds is shown where no fuzzer is at hand.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use spiffe_core::bundle::WriteError;
use spiffe_core::jwt::{Algorithm, Jwk, JwtSvid};
use spiffe_core::verify::{JwtRules, jwt, wit};
use spiffe_core::{BundleSet, IdPattern, SpiffeId, TrustBundle, TrustDomain};

const TD: TrustDomain = TrustDomain::from_static("example.org");

/// No token makes its readers panic, and none is read that lacks what a token must have. `bundle` is
/// what it is judged with. Tells whether it was believed.
pub(crate) fn token(token: &str, bundle: &TrustBundle) -> bool {
    let bundles = BundleSet::from(bundle.clone());
    let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let rules = JwtRules::default();
    let judged = jwt(token, &bundles, &["conformance"], now, &rules);
    let _ = wit(token, &bundles, now, &rules).map_err(|why| why.to_string());
    let Ok(svid) = JwtSvid::parse(token) else {
        assert!(judged.is_err(), "what cannot be read is not believed");
        return false;
    };
    let [header, payload, _] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token of other than three parts was read: {token}");
    };
    let header = object(header);
    assert!(Algorithm::named(header["alg"].as_str().unwrap()).is_some());
    assert!(header.get("crit").is_none());
    assert_eq!(svid.claims(), &object(payload), "all readers read the same");
    assert!(svid.claims()["exp"].is_number());
    assert_eq!(svid.claims()["sub"], svid.id().as_str());
    assert!(!svid.audience().is_empty() && svid.audience().iter().all(|name| !name.is_empty()));
    if let Ok(believed) = &judged {
        assert_eq!(believed.id().trust_domain(), TD);
        assert!(believed.audience().contains(&"conformance".to_owned()));
        assert!(believed.expires_at() + rules.leeway() > now);
    }
    judged.is_ok()
}

/// The same for the input as a token, and as header, payload and signature, one on a line.
pub(crate) fn text_and_parts(input: &[u8], bundle: &TrustBundle) {
    if let Ok(text) = std::str::from_utf8(input) {
        token(text, bundle);
    }
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    parts(line(), line(), line(), bundle);
}

/// The same for a token of these parts, which nobody signed: no fuzzer finds base64 by itself.
pub(crate) fn parts(header: &[u8], payload: &[u8], signature: &[u8], bundle: &TrustBundle) -> bool {
    let encode = |part| BASE64_URL_SAFE_NO_PAD.encode(part);
    let text = format!(
        "{}.{}.{}",
        encode(header),
        encode(payload),
        encode(signature)
    );
    token(&text, bundle)
}

/// No document makes the readers of bundles panic; what is read can be written, and reads back as
/// the same with nothing left out.
pub(crate) fn document(text: &[u8]) {
    let _ = Jwk::from_json(text).map(|key| {
        assert_eq!(Jwk::from_json(key.to_json().as_bytes()), Ok(key));
    });
    if let Ok(read) = TrustBundle::from_document(TD, text)
        && let Some(written) = written(read.value.to_document())
    {
        let again = TrustBundle::from_document(TD, written.as_bytes()).unwrap();
        // A document does not tell which one algorithm a key is for.
        let count = |bundle: &TrustBundle| bundle.jwt_authorities().len();
        assert_eq!(count(&again.value), count(&read.value));
        let facts = |bundle: &TrustBundle| (bundle.sequence(), bundle.refresh_hint());
        assert_eq!(facts(&again.value), facts(&read.value));
        assert_eq!(
            again.value.x509_authorities(),
            read.value.x509_authorities()
        );
        assert!(again.skipped.is_empty(), "{:?}", again.skipped);
    }
    if let Ok(read) = TrustBundle::from_jwt_jwks(TD, text)
        && let Some(written) = written(read.value.to_jwt_jwks())
    {
        let again = TrustBundle::from_jwt_jwks(TD, written.as_bytes()).unwrap();
        assert!(again.skipped.is_empty(), "{:?}", again.skipped);
    }
    if let Ok(read) = BundleSet::from_bundle_map(text)
        && let Some(written) = written(read.value.to_bundle_map())
    {
        let again = BundleSet::from_bundle_map(written.as_bytes()).unwrap();
        assert_eq!(again.value.iter().count(), read.value.iter().count());
        assert!(again.skipped.is_empty(), "{:?}", again.skipped);
    }
}

/// No text makes the readers of names panic; a name that is read is the text itself, obeys the
/// standard's alphabet, and is the same when it is made of its parts. Tells whether it is an ID.
pub(crate) fn name(text: &str) -> bool {
    if let Ok(domain) = TrustDomain::from_id_or_name(text) {
        assert_eq!(domain.as_str().parse(), Ok(domain.clone()));
        assert!(domain.as_str().len() <= 255);
        assert!(SpiffeId::from(&domain).path().is_empty());
    }
    if let Ok(pattern) = text.parse::<IdPattern>() {
        assert_eq!(pattern.to_string(), text);
        let one: SpiffeId = text.replace('*', "x").parse().unwrap();
        assert!(pattern.matches(&one));
        let more = format!("{one}/x");
        let goes_on = more.parse().is_ok_and(|id| pattern.matches(&id));
        assert!(!goes_on || text.ends_with("/**"), "{text} matches {more}");
    }
    let Ok(id) = text.parse::<SpiffeId>() else {
        return false;
    };
    let domain = id.trust_domain();
    assert_eq!(id.as_str(), text);
    assert!(text.len() <= SpiffeId::MAX_LEN);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte);
    assert!(text["spiffe://".len()..].bytes().all(allowed));
    assert_eq!(format!("spiffe://{domain}{}", id.path()), text);
    assert_eq!(SpiffeId::new(&domain, id.path()).as_ref(), Ok(&id));
    let parts = SpiffeId::from_segments(&domain, id.segments());
    assert_eq!(parts.as_ref(), Ok(&id));
    assert!(
        id.segments()
            .all(|segment| !matches!(segment, "" | "." | ".."))
    );
    assert!(id.starts_with(&id) && id.starts_with(&SpiffeId::from(&domain)));
    assert!(text.parse::<IdPattern>().unwrap().matches(&id));
    true
}

/// What was read can be written, unless its publisher gave two keys one name.
fn written(result: Result<String, WriteError>) -> Option<String> {
    match result {
        Ok(text) => Some(text),
        Err(WriteError::KeyIdTwice { .. }) => None,
        Err(why) => panic!("what was read cannot be written: {why}"),
    }
}

/// The bundle that tokens of the vectors are judged with.
pub(crate) fn bundle() -> TrustBundle {
    let file: Value = serde_json::from_str(include_str!("../vectors/jwtsvid.json")).unwrap();
    let keys = file["bundles"]["spiffe://example.org"].to_string();
    TrustBundle::from_jwt_jwks(TD, keys.as_bytes())
        .unwrap()
        .value
}

fn object(part: &str) -> Map<String, Value> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&text).unwrap()
}
