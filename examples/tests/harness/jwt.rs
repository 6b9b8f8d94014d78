//! Tokens of others, their bundles, and tokens of one's own.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use spiffe_core::bundle::{BundleSet, TrustBundle};
use spiffe_core::proto::workload::JwtBundlesResponse;
use spiffe_core::testing::{Rpc, TestAuthority, TokenDraft};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::world::{Harness, World};

const AUDIENCE: &str = "conformance";

async fn judge(harness: &Harness, token: &str, audience: &str) -> (u16, Value) {
    let asked = json!({ "token": token, "audience": audience });
    harness.ask("/v1/jwt/validate", &asked).await
}

async fn accepts(harness: &Harness, draft: &TokenDraft) -> bool {
    let (code, told) = judge(harness, &draft.token(), AUDIENCE).await;
    assert!(code == 200 || code == 422, "{told}");
    code == 200
}

/// Waits until a token of the newest bundles is believed.
async fn caught_up(harness: &Harness, draft: &TokenDraft) {
    let begun = Instant::now();
    while !accepts(harness, draft).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "never believed");
        sleep(Duration::from_millis(10)).await;
    }
}

// conformance: JWT-1- JWT-4+ JWT-4- JWT-5+ JWT-5- JWT-7- JWT-8- JWT-10- JWT-13+ JWT-13- JWT-14- JWT-19- JWT-20- JWT-21+ WA-41+ WA-41-
#[tokio::test]
async fn jv_every_vector_is_judged_offline() {
    let vectors = include_str!("../../../spiffe-core/tests/vectors/jwtsvid.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let world = World::new();
    let bundles = vectors["bundles"].as_object().unwrap().iter();
    let bundles = bundles.map(|(id, keys)| (id.clone(), keys.to_string().into_bytes()));
    world.api.publish_jwt_bundles(JwtBundlesResponse {
        bundles: bundles.collect(),
    });
    let harness = world.harness().await;
    let mut judged = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let (code, told) = judge(&harness, text("token"), text("audience")).await;
        let expected = match text("expect") {
            "accept" => 200,
            "reject" => 422,
            _ => continue,
        };
        assert_eq!(code, expected, "{}: {told}", text("name"));
        if code == 200 {
            assert_eq!(told["claims"]["sub"], told["spiffe_id"], "{}", text("name"));
            if let Some(id) = case.get("spiffe_id") {
                assert_eq!(told["spiffe_id"], *id, "{}", text("name"));
            }
        }
        judged += 1;
    }
    assert!(judged > 70, "{judged} cases");
    assert_eq!(world.api.calls_of(Rpc::ValidateJwt), 0, "delegated");
}

// conformance: JWT-12+ JWT-12- JWT-8+ JWT-8- JWT-11- JWT-21- WA-41-
#[tokio::test]
async fn jv_a_token_is_judged_by_time_audience_and_signature() {
    let world = World::new();
    let harness = world.harness().await;
    let token = || world.authority.jwt_draft("/w", &[AUDIENCE]);
    let foreign = TestAuthority::new("other.example.org");
    let stranger = TestAuthority::new("test.example.org");
    for (case, draft, good) in [
        ("good", token(), true),
        ("without kid", token().without_header("kid"), true),
        (
            "meant for two",
            token().claim("aud", vec!["other", AUDIENCE]),
            true,
        ),
        ("expired", token().expired(), false),
        ("not yet valid", token().not_yet_valid(), false),
        ("no end", token().without_claim("exp"), false),
        ("no audience", token().without_claim("aud"), false),
        ("another audience", token().claim("aud", "other"), false),
        ("another case", token().claim("aud", "Conformance"), false),
        ("unsigned", token().unsigned(), false),
        ("another type", token().header("typ", "at+jwt"), false),
        ("unknown key", token().signed_by_nobody_known(), false),
        ("another key", token().signed_by_stranger(), false),
        ("namesake", stranger.jwt_draft("/w", &[AUDIENCE]), false),
        ("no bundle", foreign.jwt_draft("/w", &[AUDIENCE]), false),
        (
            "ours, signed by nobody of us",
            foreign
                .jwt_draft("/w", &[AUDIENCE])
                .claim("sub", "spiffe://test.example.org/w"),
            false,
        ),
    ] {
        assert_eq!(accepts(&harness, &draft).await, good, "{case}");
    }
    let (code, _) = judge(&harness, &token().token(), "").await;
    assert_eq!(code, 422, "no expected audience");
}

// conformance: WA-37+ WA-37- FD-54- TB-9+ TB-10-
#[tokio::test]
async fn jb_keys_are_believed_while_they_are_in_the_bundle() {
    let world = World::new();
    let harness = world.harness().await;
    let td = world.authority.trust_domain().clone();
    let next = TestAuthority::new("test.example.org");
    let friend = TestAuthority::new("other.example.org");
    let [old_token, new_token, friends] =
        [&world.authority, &next, &friend].map(|authority| authority.jwt_draft("/w", &[AUDIENCE]));
    caught_up(&harness, &old_token).await;
    assert!(!accepts(&harness, &new_token).await);

    let keys = |authorities: &[&TestAuthority]| {
        let keys = authorities
            .iter()
            .flat_map(|a| a.bundle().jwt_authorities().to_vec());
        TrustBundle::new(td.clone(), Vec::new()).with_jwt_authorities(keys.collect())
    };
    let publish = |bundles: &[TrustBundle]| {
        world
            .api
            .publish_bundles(&bundles.iter().cloned().collect::<BundleSet>());
    };
    publish(&[keys(&[&world.authority, &next]), friend.bundle()]);
    caught_up(&harness, &new_token).await;
    assert!(
        accepts(&harness, &old_token).await,
        "JB-1: the old key is still there"
    );
    assert!(accepts(&harness, &friends).await);

    publish(&[keys(&[&next]), friend.bundle()]);
    let newer = TestAuthority::new("test.example.org");
    let newer_token = newer.jwt_draft("/w", &[AUDIENCE]);
    publish(&[keys(&[&next, &newer]), friend.bundle()]);
    caught_up(&harness, &newer_token).await;
    assert!(
        !accepts(&harness, &old_token).await,
        "JB-2: a key that was taken away"
    );
    assert!(accepts(&harness, &new_token).await);

    publish(&[keys(&[&world.authority])]);
    caught_up(&harness, &old_token).await;
    assert!(
        !accepts(&harness, &friends).await,
        "JB-3: a trust domain that was taken away"
    );

    let raw = |own: Value| JwtBundlesResponse {
        bundles: HashMap::from([
            (format!("spiffe://{td}"), own.to_string().into_bytes()),
            (
                "spiffe://other.example.org".to_owned(),
                friend.bundle().to_jwt_jwks().unwrap().into_bytes(),
            ),
        ]),
    };
    let mut mixed: Value = serde_json::from_str(&keys(&[&next]).to_jwt_jwks().unwrap()).unwrap();
    let own = mixed["keys"].as_array_mut().unwrap();
    own.insert(0, json!({"kty": "future", "use": "jwt-svid", "kid": "a"}));
    own.push(json!({"kty": "EC", "crv": "P-256", "use": "x509-svid"}));
    world.api.publish_jwt_bundles(raw(mixed));
    caught_up(&harness, &new_token).await;
    assert!(
        !accepts(&harness, &old_token).await,
        "JB-6: unknown keys beside good ones"
    );

    world.api.publish_jwt_bundles(raw(json!({"keys": []})));
    let begun = Instant::now();
    while accepts(&harness, &new_token).await {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "JB-7: an empty bundle"
        );
        sleep(Duration::from_millis(10)).await;
    }
    assert!(accepts(&harness, &friends).await);
}

#[tokio::test]
async fn a_token_waits_for_the_first_bundles_but_not_for_long() {
    let world = World::silent();
    world.api.publish_message(spiffe_core::testing::message(
        &world.authority.snapshot("/default"),
    ));
    let harness = world.harness().await;
    let token = world.authority.jwt_draft("/w", &[AUDIENCE]).token();
    let (code, told) = judge(&harness, &token, AUDIENCE).await;
    assert_eq!(code, 500, "never: {told}");

    let later = async {
        world.api.called(Rpc::JwtBundles, 1).await;
        world
            .api
            .publish_bundles(&BundleSet::from(world.authority.bundle()));
    };
    let ((code, told), ()) = tokio::join!(judge(&harness, &token, AUDIENCE), later);
    assert_eq!(code, 200, "late: {told}");
}

// conformance: WA-27+ WA-27- WE-22+
#[tokio::test]
async fn jf_tokens_are_fetched_for_all_audiences_and_for_the_identity_that_is_asked_for() {
    let world = World::new();
    let harness = world.harness().await;
    let fetch = async |audience: Value, id: &str| {
        let asked = json!({ "audience": audience, "spiffe_id": id });
        harness.ask("/v1/jwt/fetch", &asked).await
    };
    for audience in [json!(["a"]), json!(["a", "b"])] {
        let (code, told) = fetch(audience.clone(), "").await;
        assert_eq!((code, told["svids"].as_array().unwrap().len()), (200, 1));
        let svid = &told["svids"][0];
        assert_eq!(svid["spiffe_id"], "spiffe://test.example.org/default");
        let token = svid["token"].as_str().unwrap();
        let (code, told) = judge(&harness, token, "a").await;
        assert_eq!(
            (code, &told["claims"]["aud"]),
            (200, &audience),
            "JF-1, JF-2"
        );
    }

    let own = "spiffe://test.example.org/default";
    assert_eq!(fetch(json!(["a"]), own).await.0, 200, "JF-3");
    for (audience, id) in [
        (json!(["a"]), "spiffe://test.example.org/another"),
        (json!(["a"]), "no ID"),
        (json!([]), ""),
    ] {
        assert_eq!(fetch(audience, id).await.0, 500, "{id}");
    }
    world.api.refuse_rpc(Rpc::JwtSvid, Code::PermissionDenied);
    assert_eq!(fetch(json!(["a"]), "").await.0, 500, "JF-4");
}

#[tokio::test]
async fn what_is_no_request_of_the_contract_is_answered_in_its_form() {
    let world = World::new();
    let harness = world.harness().await;
    for (path, body, code) in [
        ("/v1/wit/validate", "{}", 501),
        ("/v2/info", "", 501),
        ("/v1/jwt/validate", "no JSON", 500),
        ("/v1/jwt/validate", "{}", 500),
        ("/v1/jwt/fetch", r#"{"audience": "one"}"#, 500),
        ("/v1/x509/dial", r#"{"address": "nowhere"}"#, 500),
    ] {
        assert_eq!(harness.ask_with(path, body).await.0, code, "{path} {body}");
    }
}
