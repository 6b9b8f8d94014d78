//! The standard's cases for WIT-SVIDs, and the proofs without which they are worth nothing.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use spiffe_core::jwt::{JwkError, JwtError, JwtSvid, WitSvid};
use spiffe_core::testing::{TestAuthority, TokenDraft};
use spiffe_core::verify::{JwtRules, VerifyJwtError, VerifyProofError, WitPresented, wit};
use spiffe_core::x509::PrivateKey;
use spiffe_core::{BundleSet, SpiffeId, TrustBundle};

// conformance: WIT-1+ WIT-1- WIT-2+ WIT-2- WIT-4+ WIT-4- WIT-6+ WIT-6- WIT-8+ WIT-8- WIT-9+ WIT-9-
// conformance: WIT-10+ WIT-11+ WIT-11- WIT-12+ WIT-12- WIT-15+ WIT-15- WIT-16+ WIT-16- WIT-17+
// conformance: WIT-17- WIT-19+ WIT-19- WIT-18+ WIT-29+ WIT-29- ID-21+ WA-51+
#[test]
fn tokens_are_judged_as_the_standard_says() {
    let (bundles, cases) = vectors();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let token = case["token"].as_str().unwrap();
        let judged = wit(token, &bundles, now(), &JwtRules::default());
        let expected = case["expect"] == "accept";
        assert_eq!(judged.is_ok(), expected, "{name}: {judged:?}");
    }
    assert_eq!(cases.len(), 26);
}

// conformance: WIT-1- WIT-2- WIT-4- WIT-6- WIT-8- WIT-10- WIT-11- WIT-12- WIT-15- WIT-16- WIT-19-
// conformance: ID-21- WA-33- WA-51-
#[test]
fn each_refusal_says_why() {
    use VerifyJwtError as Why;
    let (bundles, cases) = vectors();
    let td = SpiffeId::from_static("spiffe://example.org").trust_domain();
    let unusable = |why| Why::Token(JwtError::Confirmation(why));
    let missing = |claim| Why::Token(JwtError::ClaimMissing { claim });
    let malformed = |claim| Why::Token(JwtError::ClaimMalformed { claim });
    for (name, why) in [
        ("typ-JWT", JwtError::Type.into()),
        ("kid-absent", JwtError::KeyId.into()),
        ("kid-case", Why::UnknownKey(td.clone())),
        ("sub-missing", missing("sub")),
        ("exp-missing", missing("exp")),
        ("exp-past", Why::Expired),
        ("nbf-future", Why::NotYetValid),
        (
            "aud-present-string",
            JwtError::ClaimForbidden { claim: "aud" }.into(),
        ),
        ("cnf-no-jwk", malformed("cnf")),
        ("cnf-jwk-string", malformed("cnf")),
        ("cnf-alg-missing", unusable(JwkError::Algorithm)),
        ("cnf-alg-EdDSA", unusable(JwkError::Algorithm)),
        ("cnf-alg-HS256", unusable(JwkError::Algorithm)),
        ("cnf-private-key", unusable(JwkError::PrivateKey)),
        ("cnf-oct-key", unusable(JwkError::PrivateKey)),
        ("tampered", Why::Signature),
        ("crit-unknown", JwtError::Critical.into()),
        ("json-serialization", JwtError::Parts.into()),
    ] {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        let token = case["token"].as_str().unwrap();
        let judged = wit(token, &bundles, now(), &JwtRules::default());
        assert_eq!(judged.unwrap_err(), why, "{name}");
    }
    let authority = TestAuthority::at("a.test", now());
    let draft = || authority.wit_draft("/web");
    let judge = |draft: &TokenDraft| judge(&authority, &draft.token()).map(|_| ());
    let td = || authority.trust_domain().clone();
    for (draft, why) in [
        (draft().without_claim("cnf"), missing("cnf")),
        (
            draft().claim("aud", json!([])),
            JwtError::ClaimForbidden { claim: "aud" }.into(),
        ),
        (draft().without_header("typ"), JwtError::Type.into()),
        (draft().header("typ", "WIT+JWT"), JwtError::Type.into()),
        (
            draft().header("typ", "application/wit+jwt"),
            JwtError::Type.into(),
        ),
        (draft().header("kid", ""), JwtError::KeyId.into()),
        (draft().unsigned(), JwtError::Algorithm.into()),
        (draft().signed_by_stranger(), Why::Signature),
        (draft().signed_by_nobody_known(), Why::UnknownKey(td())),
        (
            draft().claim("sub", "https://a.test/web"),
            JwtError::Subject(spiffe_core::IdError::Scheme).into(),
        ),
    ] {
        assert_eq!(judge(&draft), Err(why));
    }
    // The same name, but a key for JWT-SVIDs.
    let jwt_key = authority.bundle().jwt_authorities()[0]
        .key_id()
        .unwrap()
        .to_owned();
    assert_eq!(
        judge(&draft().header("kid", jwt_key)),
        Err(Why::UnknownKey(td()))
    );
}

// conformance: WIT-14+ WIT-14- WIT-20+ WIT-20- WIT-22+ WIT-23+ WIT-24+ WIT-25+ WIT-26+ WIT-30+
// conformance: WIT-31+
#[test]
fn token_and_proof_together_make_a_caller() {
    let authority = TestAuthority::at("a.test", now());
    let draft = authority
        .wit_draft("/web")
        .claim("foo", 1)
        .claim("jti", "x");
    let svid = draft.wit_svid().with_hint("internal");
    let mut proofs = Vec::new();
    for target in [TARGET, "https://db.test/rows?page=2#top"] {
        let proof = svid.prove(TARGET, None, now()).unwrap();
        let presented = judge(&authority, svid.token()).unwrap();
        let caller = presented.prove(&proof, &["x", target], now(), &JwtRules::default());
        let caller = caller.unwrap();
        assert_eq!(caller.id().as_str(), "spiffe://a.test/web");
        assert_eq!(caller.claims()["foo"], 1);
        assert_eq!(caller.expires_at(), svid.expires_at());
        assert!(caller.issued_at().is_some());
        assert!(caller.proof_expires_at() <= now() + Duration::from_secs(31));
        proofs.push(caller.proof_id().to_owned());
    }
    assert_ne!(proofs[0], proofs[1], "each proof has an ID of its own");
    assert_eq!((svid.id().path(), svid.hint()), ("/web", "internal"));
}

// conformance: WIT-22- WIT-23- WIT-26- WIT-30- WIT-31-
#[test]
fn no_other_proof_will_do() {
    use VerifyProofError as Why;
    let authority = TestAuthority::at("a.test", now());
    let draft = authority.wit_draft("/web");
    let svid = draft.wit_svid();
    let thief = authority.wit_svid("/thief");
    let present = || judge(&authority, svid.token()).unwrap();
    let judge = |proof: &str, expected: &[&str], now: SystemTime| {
        let judged = present().prove(proof, expected, now, &JwtRules::default());
        judged.map(|_| ()).unwrap_err()
    };
    let good = svid.prove(TARGET, None, now()).unwrap();
    let late = now() + Duration::from_secs(61);
    let early = now() - Duration::from_secs(600);
    for (name, proof, expected, now, why) in [
        (
            "another key",
            &thief.prove(TARGET, None, now()).unwrap(),
            TARGET,
            now(),
            Why::Signature,
        ),
        (
            "another target",
            &good,
            "https://other.test/rows",
            now(),
            Why::Audience,
        ),
        ("ended", &good, TARGET, late, Why::Expired),
        (
            "for too long",
            &good,
            TARGET,
            early,
            Why::LongLived {
                limit: Duration::from_secs(300),
            },
        ),
        (
            "no proof",
            &String::new(),
            TARGET,
            now(),
            JwtError::Parts.into(),
        ),
        (
            "the token itself",
            &svid.token().to_owned(),
            TARGET,
            now(),
            JwtError::Type.into(),
        ),
        (
            "a JWT-SVID",
            &authority.jwt_svid("/web", &[TARGET]).token().to_owned(),
            TARGET,
            now(),
            JwtError::Type.into(),
        ),
    ] {
        assert_eq!(judge(proof, &[expected], now), why, "{name}");
    }
    for expected in [&[][..], &[""], &[TARGET, ""]] {
        assert_eq!(judge(&good, expected, now()), Why::NoExpectedAudience);
    }
}

// conformance: WIT-22- WIT-30-
#[test]
fn a_proof_lacks_nothing_that_the_draft_demands() {
    use VerifyProofError as Why;
    let authority = TestAuthority::at("a.test", now());
    // Whoever holds the key may sign what they like. Here an authority's key is the confirmed one,
    // so that its drafts are the proofs.
    let holder = TestAuthority::at("holder.test", now());
    let mut key: Value =
        serde_json::from_str(&holder.bundle().jwt_authorities()[0].to_json()).unwrap();
    key["alg"] = "ES256".into();
    let token = authority
        .wit_draft("/web")
        .claim("cnf", json!({ "jwk": key }))
        .token();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let proof = || {
        let draft = holder
            .jwt_draft("/x", &[TARGET])
            .lifetime(Duration::from_secs(20));
        let draft = draft.header("typ", "wpt+jwt").claim("jti", "1");
        draft.claim("wth", BASE64_URL_SAFE_NO_PAD.encode(digest))
    };
    let prove = |presented: WitPresented, proof: &TokenDraft| {
        let judged = presented.prove(&proof.token(), &[TARGET], now(), &JwtRules::default());
        judged.map(|caller| caller.id().to_string())
    };
    let present = || judge(&authority, &token).unwrap();
    let missing = |claim| Why::Token(JwtError::ClaimMissing { claim });
    assert_eq!(prove(present(), &proof()).unwrap(), "spiffe://a.test/web");
    for (proof, why) in [
        (proof().without_claim("exp"), missing("exp")),
        (proof().without_claim("aud"), missing("aud")),
        (proof().without_claim("jti"), missing("jti")),
        (proof().without_claim("wth"), missing("wth")),
        (proof().claim("wth", "x"), Why::ForeignToken),
        (
            proof().claim("oth", json!({"x-token": "x"})),
            Why::OtherTokens,
        ),
        (proof().claim("nbf", 4_000_000_000_u64), Why::NotYetValid),
        (proof().header("typ", "JWT"), JwtError::Type.into()),
        (
            proof().header("crit", json!(["exp"])),
            JwtError::Critical.into(),
        ),
        (proof().unsigned(), JwtError::Algorithm.into()),
        (proof().signed_by_stranger(), Why::Signature),
        (
            proof().header("alg", "ES384"),
            Why::Algorithm {
                expected: spiffe_core::jwt::Algorithm::Es256,
                found: spiffe_core::jwt::Algorithm::Es384,
            },
        ),
    ] {
        assert_eq!(prove(present(), &proof), Err(why));
    }
    let with_access_token = || present().with_access_token("secret");
    assert_eq!(prove(with_access_token(), &proof()), Err(missing("ath")));
    let other = proof().claim("ath", "x");
    assert_eq!(prove(with_access_token(), &other), Err(Why::AccessToken));
}

// conformance: WIT-23+
#[test]
fn a_proof_binds_the_access_token_of_its_request() {
    let authority = TestAuthority::at("a.test", now());
    let svid = authority.wit_svid("/web");
    let proof = svid.prove(TARGET, Some("secret"), now()).unwrap();
    for (token, good) in [("secret", true), ("other", false)] {
        let presented = judge(&authority, svid.token())
            .unwrap()
            .with_access_token(token);
        let judged = presented.prove(&proof, &[TARGET], now(), &JwtRules::default());
        assert_eq!(judged.is_ok(), good, "{token}");
    }
}

// conformance: WIT-33+ WIT-33- WIT-24- WIT-25- WIT-25+
#[test]
fn a_wit_svid_is_no_bearer_token() {
    let authority = TestAuthority::at("a.test", now());
    let svid = authority.wit_svid("/web");
    assert_eq!(JwtSvid::parse(svid.token()).unwrap_err(), JwtError::Type);
    assert!(judge(&authority, svid.token()).is_ok());
    let jwt = authority.jwt_svid("/web", &["db"]);
    assert_eq!(
        judge(&authority, jwt.token()).unwrap_err(),
        JwtError::Type.into()
    );
    assert_ne!(WitSvid::TOKEN_HEADER, "authorization");
}

#[test]
fn a_private_key_belongs_to_its_token_or_is_refused() {
    let file = file();
    let token = file["cases"][0]["token"].as_str().unwrap();
    let mut key = file["workload_public_jwk"].clone();
    let pkcs8 = BASE64_STANDARD
        .decode(file["workload_private_pkcs8_b64"].as_str().unwrap())
        .unwrap();
    // The number stands at a fixed place in a PKCS#8 key on P-256.
    PrivateKey::from_pkcs8_der(&pkcs8).unwrap();
    key["d"] = BASE64_URL_SAFE_NO_PAD.encode(&pkcs8[36..68]).into();
    let svid = WitSvid::new(token, key.to_string().as_bytes()).unwrap();
    let (bundles, _) = vectors();
    let proof = svid.prove(TARGET, None, now()).unwrap();
    let presented = wit(token, &bundles, now(), &JwtRules::default()).unwrap();
    let caller = presented.prove(&proof, &[TARGET], now(), &JwtRules::default());
    assert_eq!(
        caller.unwrap().id().as_str(),
        "spiffe://example.org/workload"
    );

    let other = TestAuthority::at("a.test", now())
        .wit_draft("/web")
        .private_jwk();
    let why = WitSvid::new(token, other.as_bytes()).unwrap_err();
    assert_eq!(why, JwtError::ForeignKey);
    key["d"] = BASE64_URL_SAFE_NO_PAD.encode([7; 32]).into();
    for (key, why) in [
        (key.to_string(), JwkError::Unusable),
        (
            file["workload_public_jwk"].to_string(),
            JwkError::Member { member: "d" },
        ),
        (rsa_key(), JwkError::Algorithm),
    ] {
        let refused = WitSvid::new(token, key.as_bytes()).unwrap_err();
        assert_eq!(refused, JwtError::PrivateKey(why));
    }
}

#[test]
fn no_secret_in_logs() {
    let authority = TestAuthority::at("a.test", now());
    let svid = authority.wit_svid("/web");
    let presented = judge(&authority, svid.token()).unwrap();
    let before = format!("{presented:?}");
    assert!(!before.contains("/web"), "nothing is proven yet: {before}");
    let proof = svid.prove(TARGET, None, now()).unwrap();
    let caller = presented
        .prove(&proof, &[TARGET], now(), &JwtRules::default())
        .unwrap();
    let printed = format!("{svid:?} {caller:?}");
    assert!(printed.contains("spiffe://a.test/web"));
    for part in svid.token().split('.') {
        assert!(!printed.contains(part), "{printed}");
    }
}

fn judge(authority: &TestAuthority, token: &str) -> Result<WitPresented, VerifyJwtError> {
    let bundles = BundleSet::from(authority.bundle());
    wit(token, &bundles, now(), &JwtRules::default())
}

fn vectors() -> (BundleSet, Vec<Value>) {
    let file = file();
    let bundles = file["bundles"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, keys)| {
            let td = id.parse::<SpiffeId>().unwrap().trust_domain();
            TrustBundle::from_document(td, keys.to_string().as_bytes())
                .unwrap()
                .value
        });
    (bundles.collect(), file["cases"].as_array().unwrap().clone())
}

fn file() -> Value {
    serde_json::from_str(include_str!("vectors/witsvid.json")).unwrap()
}

/// A moment at which the vectors are meant to be judged.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

const TARGET: &str = "https://db.test/rows";

fn rsa_key() -> String {
    let file: Value = serde_json::from_str(include_str!("vectors/jwtsvid.json")).unwrap();
    let keys = file["bundles"]["spiffe://example.org"]["keys"]
        .as_array()
        .unwrap();
    keys.iter()
        .find(|key| key["kty"] == "RSA")
        .unwrap()
        .to_string()
}
