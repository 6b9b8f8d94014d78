//! The standard's cases for JWT-SVIDs, and each refusal with its reason.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use spiffe_core::jwt::{JwtError, JwtSvid};
use spiffe_core::testing::{TestAuthority, TokenDraft};
use spiffe_core::verify::{JwtRules, VerifyJwtError, jwt};
use spiffe_core::{BundleSet, IdError, SpiffeId, TrustBundle, TrustDomain};

/// What we do where the standard leaves a choice.
const CHOICES: &[(&str, bool)] = &[
    // `iat` does not limit when a token is good.
    ("iat-future", true),
    ("sub-trust-domain-only", true),
    // Other keys of the set say what they are for, so this one is for nothing.
    ("key-use-missing", false),
    ("hdr-extra-unknown", true),
    ("trailing-newline", false),
    ("leading-space", false),
    ("dup-alg-header", false),
    ("dup-sub-claim", false),
];

/// rust-spiffe told its users of no leeway, and gave a minute.
#[test]
fn the_leeway_is_the_one_that_is_documented() {
    let rules = JwtRules::default();
    let documented = Duration::from_secs(30);
    assert_eq!((rules.leeway(), JwtRules::LEEWAY), (documented, documented));
    let ca = TestAuthority::new("a.test");
    let bundles = BundleSet::from(ca.bundle());
    let seconds = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = UNIX_EPOCH + Duration::from_secs(seconds);
    for (claim, value, good) in [
        ("exp", seconds - 29, true),
        ("exp", seconds - 30, false),
        ("exp", seconds - 60, false),
        ("nbf", seconds + 30, true),
        ("nbf", seconds + 31, false),
        ("nbf", seconds + 60, false),
    ] {
        let token = ca.jwt_draft("/web", &["db"]).claim(claim, value).token();
        let judged = jwt(&token, &bundles, &["db"], now, &rules);
        assert_eq!(judged.is_ok(), good, "{claim} {value}: {judged:?}");
    }
}

// conformance: JWT-1+ JWT-1- JWT-3+ JWT-4+ JWT-4- JWT-5+ JWT-5- JWT-6+ JWT-6- JWT-7+ JWT-7- JWT-8+
// conformance: JWT-8- JWT-10+ JWT-10- JWT-12+ JWT-12- JWT-13+ JWT-13- JWT-14+ JWT-14- JWT-19+
// conformance: JWT-19- JWT-20+ JWT-20- JWT-21+ JWT-21- TB-23+ TB-23- WIT-33- ID-20+ ID-21+ ID-22-
// conformance: FD-9- WA-33+ WA-41+ WA-41- WA-51-
#[test]
fn tokens_are_judged_as_the_standard_says() {
    let (bundles, cases) = vectors();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let audience = case["audience"].as_str().unwrap();
        let token = case["token"].as_str().unwrap();
        let judged = jwt(token, &bundles, &[audience], now(), &JwtRules::default());
        let choice = CHOICES.iter().find(|(choice, _)| *choice == name);
        let expected = match case["expect"].as_str().unwrap() {
            "accept" => true,
            "reject" => false,
            _ => choice.unwrap().1,
        };
        assert_eq!(judged.is_ok(), expected, "{name}: {judged:?}");
        if let (Ok(token), Some(id)) = (judged, case["spiffe_id"].as_str()) {
            assert_eq!(token.id().as_str(), id, "{name}");
        }
    }
    assert_eq!(cases.len(), 83);
}

// conformance: JWT-4- JWT-5- JWT-6- JWT-7- JWT-8- JWT-10- JWT-11- JWT-20- JWT-21-
#[test]
fn each_refusal_says_why() {
    use VerifyJwtError as Why;
    let (bundles, cases) = vectors();
    let td = || TrustDomain::from_static("example.org");
    let missing = |claim| JwtError::ClaimMissing { claim }.into();
    let malformed = |claim| JwtError::ClaimMalformed { claim }.into();
    let encoding = |part| JwtError::Encoding { part }.into();
    for (name, why) in [
        ("alg-none", JwtError::Algorithm.into()),
        ("hs256-public-key-pem", JwtError::Algorithm.into()),
        ("alg-lowercase", JwtError::Algorithm.into()),
        ("eddsa-key-in-bundle", JwtError::Algorithm.into()),
        ("rs256-header-ec-key", fit("RS256")),
        ("es384-header-p256-key", fit("ES384")),
        ("aud-missing", missing("aud")),
        ("aud-number", malformed("aud")),
        ("aud-case-differs", Why::Audience),
        ("exp-missing", missing("exp")),
        ("exp-string", malformed("exp")),
        ("exp-negative", Why::Expired),
        ("sub-missing", missing("sub")),
        ("sub-number", malformed("sub")),
        ("tampered-signature", Why::Signature),
        ("tampered-payload", Why::Signature),
        ("unknown-key", Why::UnknownKey(td())),
        ("kid-unknown-key-in-bundle", Why::UnknownKey(td())),
        ("kid-case-differs", Why::UnknownKey(td())),
        ("kid-number", JwtError::KeyId.into()),
        ("kid-absent-x509-use-key", Why::Signature),
        ("key-use-wit-svid", Why::UnknownKey(td())),
        ("cross-td-key", Why::Signature),
        ("typ-wit+jwt", JwtError::Type.into()),
        ("typ-number", JwtError::Type.into()),
        ("crit-unknown", JwtError::Critical.into()),
        ("crit-empty", JwtError::Critical.into()),
        ("json-flattened", JwtError::Parts.into()),
        ("four-parts", JwtError::Parts.into()),
        ("padded-payload", encoding("payload")),
        ("std-base64-payload", encoding("payload")),
        ("trailing-newline", encoding("signature")),
        ("empty-signature", Why::Signature),
        ("es256-der-signature", Why::Signature),
        ("es256-short-signature", Why::Signature),
        ("es256-zero-signature", Why::Signature),
    ] {
        let token = cases.iter().find(|case| case["name"] == name).unwrap();
        let token = token["token"].as_str().unwrap();
        let judged = jwt(
            token,
            &bundles,
            &["conformance"],
            now(),
            &JwtRules::default(),
        );
        assert_eq!(judged.unwrap_err(), why, "{name}");
    }
    let no_bundle = token_of("no-bundle-td");
    assert!(matches!(
        jwt(
            &no_bundle,
            &bundles,
            &["conformance"],
            now(),
            &JwtRules::default()
        ),
        Err(Why::UnknownTrustDomain(_))
    ));
}

// conformance: JWT-11+ JWT-11-
#[test]
fn the_algorithm_is_judged_before_anything_else_is_read() {
    for (token, why) in [
        (
            format!("{}.!.!", encode(r#"{"alg":"none"}"#)),
            JwtError::Algorithm,
        ),
        (
            format!("{}.!.!", encode(r#"{"alg":"HS256","typ":1,"crit":1}"#)),
            JwtError::Algorithm,
        ),
        (
            format!("{}.!.!", encode(r#"{"alg":"ES256"}"#)),
            JwtError::Encoding { part: "payload" },
        ),
    ] {
        assert_eq!(JwtSvid::parse(&token).unwrap_err(), why, "{token}");
    }
}

// conformance: JWT-8-
#[test]
fn empty_audience_is_compile_or_runtime_error() {
    let (bundles, _) = vectors();
    let token = token_of("valid-es256");
    let judge = |audience: &[&str]| jwt(&token, &bundles, audience, now(), &JwtRules::default());
    for audience in [&[][..], &[""], &["conformance", ""]] {
        let why = judge(audience).unwrap_err();
        assert_eq!(why, VerifyJwtError::NoExpectedAudience, "{audience:?}");
    }
    assert_eq!(judge(&["other"]).unwrap_err(), VerifyJwtError::Audience);
    assert!(judge(&["other", "conformance"]).is_ok());
}

// conformance: JWT-6- JWT-7- JWT-10- JWT-12- JWT-13-
#[test]
fn jwt_missing_exp_aud_or_sub_is_refused_whoever_signed_it() {
    let authority = TestAuthority::at("example.org", now());
    let bundles = BundleSet::from(authority.bundle());
    let draft = || authority.jwt_draft("/web", &["conformance"]);
    let judge = |draft: &TokenDraft| {
        let rules = JwtRules::default();
        jwt(&draft.token(), &bundles, &["conformance"], now(), &rules).map(|_| ())
    };
    assert_eq!(judge(&draft()), Ok(()));
    for claim in ["exp", "aud", "sub"] {
        let why = JwtError::ClaimMissing { claim }.into();
        assert_eq!(judge(&draft().without_claim(claim)), Err(why));
        for value in [json!(null), json!(true), json!({}), json!([[]])] {
            let why = JwtError::ClaimMalformed { claim }.into();
            assert_eq!(judge(&draft().claim(claim, value)), Err(why));
        }
    }
    for claim in ["nbf", "iat"] {
        let why = JwtError::ClaimMalformed { claim }.into();
        assert_eq!(judge(&draft().claim(claim, "1")), Err(why));
    }
    assert_eq!(judge(&draft().claim("iat", 4_000_000_000_u64)), Ok(()));
    assert_eq!(
        judge(&draft().claim("exp", 1.5)),
        Err(VerifyJwtError::Expired)
    );
    let claims = r#"{"sub":"spiffe://td/a","aud":"a","exp":1e400}"#;
    let token = format!("{}.{}.AA", encode(r#"{"alg":"ES256"}"#), encode(claims));
    assert!(matches!(JwtSvid::parse(&token), Err(JwtError::Json { .. })));
}

// conformance: JWT-2-
#[test]
fn stricter_rules_refuse_what_the_standard_leaves_open() {
    let (bundles, _) = vectors();
    let judge = |name: &str, rules: &JwtRules| {
        jwt(&token_of(name), &bundles, &["conformance"], now(), rules).map(|_| ())
    };
    let usual = JwtRules::default();
    let strict = usual.clone().with_strict_headers().with_required_path();
    for (name, why) in [
        ("hdr-extra-unknown", JwtError::Header.into()),
        ("sub-trust-domain-only", VerifyJwtError::NoPath),
    ] {
        assert_eq!(judge(name, &usual), Ok(()), "{name}");
        assert_eq!(judge(name, &strict), Err(why), "{name}");
    }
    assert_eq!(judge("valid-es256", &strict), Ok(()));
}

// conformance: JWT-22+ JWT-22-
#[test]
fn the_same_token_is_good_twice() {
    let (bundles, _) = vectors();
    let token = token_of("valid-es256");
    for _ in 0..2 {
        assert!(
            jwt(
                &token,
                &bundles,
                &["conformance"],
                now(),
                &JwtRules::default()
            )
            .is_ok()
        );
    }
}

// conformance: TB-10-
#[test]
fn an_emptied_bundle_believes_nobody() {
    let (bundles, _) = vectors();
    let td = TrustDomain::from_static("example.org");
    let bundles = bundles.with(TrustBundle::new(td.clone(), Vec::new()));
    let judged = jwt(
        &token_of("valid-es256"),
        &bundles,
        &["conformance"],
        now(),
        &JwtRules::default(),
    );
    assert_eq!(judged.unwrap_err(), VerifyJwtError::UnknownKey(td));
}

// conformance: JWT-6-
#[test]
fn a_subject_is_a_spiffe_id_as_it_stands() {
    for (subject, why) in [
        ("https://example.org/a", IdError::Scheme),
        ("SPIFFE://example.org/a", IdError::Scheme),
        ("spiffe://example.org/a/", IdError::TrailingSlash),
        ("", IdError::Empty),
    ] {
        let claims = json!({"sub": subject, "aud": "a", "exp": 1}).to_string();
        let token = format!("{}.{}.AA", encode(r#"{"alg":"ES256"}"#), encode(&claims));
        let read = JwtSvid::parse(&token).unwrap_err();
        assert_eq!(read, JwtError::Subject(why), "{subject}");
    }
}

#[test]
fn no_secret_in_logs() {
    let (bundles, _) = vectors();
    let token = token_of("valid-es256");
    let own = JwtSvid::parse(&token).unwrap().with_hint("internal");
    let verified = jwt(
        &token,
        &bundles,
        &["conformance"],
        now(),
        &JwtRules::default(),
    )
    .unwrap();
    let printed = format!("{own:?} {verified:?}");
    assert!(printed.contains("sha256:") && printed.contains("spiffe://example.org/workload"));
    for part in token.split('.') {
        assert!(!printed.contains(part), "{printed}");
    }
    assert_eq!((own.hint(), own.token()), ("internal", &*token));
    assert_eq!(own.claims(), verified.claims());
}

#[test]
fn no_token_makes_the_reader_panic_and_no_changed_one_is_believed() {
    let (bundles, _) = vectors();
    let token = token_of("valid-es256");
    for at in 0..token.len() {
        for byte in [b'.', b'A', b'_', b'{', b'='] {
            let mut changed = token.clone().into_bytes();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            let judged = jwt(
                &changed,
                &bundles,
                &["conformance"],
                now(),
                &JwtRules::default(),
            );
            assert_eq!(judged.is_ok(), changed == token, "{byte} at {at}");
        }
    }
    let long = "A".repeat(16 * 1024 + 1);
    let why = JwtSvid::parse(&long).unwrap_err();
    assert_eq!(why, JwtError::TooLong { limit: 16 * 1024 });
}

fn fit(algorithm: &str) -> VerifyJwtError {
    VerifyJwtError::KeyDoesNotFit {
        algorithm: spiffe_core::jwt::Algorithm::named(algorithm).unwrap(),
    }
}

fn encode(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn token_of(name: &str) -> String {
    let (_, cases) = vectors();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    case["token"].as_str().unwrap().to_owned()
}

fn vectors() -> (BundleSet, Vec<Value>) {
    let file: Value = serde_json::from_str(include_str!("vectors/jwtsvid.json")).unwrap();
    let bundles = file["bundles"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, keys)| {
            let td = id.parse::<SpiffeId>().unwrap().trust_domain();
            TrustBundle::from_jwt_jwks(td, keys.to_string().as_bytes())
                .unwrap()
                .value
        });
    (bundles.collect(), file["cases"].as_array().unwrap().clone())
}

/// A moment at which the vectors are meant to be judged.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}
