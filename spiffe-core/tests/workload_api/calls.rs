//! Each call of the standard.

use std::time::Duration;

use spiffe_core::testing::Rpc;
use spiffe_core::workload_api::WorkloadApiError;
use tonic::Code;

use crate::{WEB, code, world};

// The fake lets no call in without the header, and knows no call but those of the standard: one that
// forgot it, or one that a vendor made up, would be refused.
// conformance: WE-3+ WE-6+ WE-6- WE-27+ WE-27- WA-23+ WA-23- WA-27+ WA-33+ WA-33- WA-40+ WA-51+
#[tokio::test(start_paused = true)]
async fn every_call_is_understood() {
    let (authority, api, client) = world();
    api.publish(&authority.snapshot("/web"));
    let own = authority.trust_domain().clone();
    let bundle = authority.bundle();
    assert_eq!(
        *client.fetch_x509().await.unwrap().svid().unwrap().id(),
        WEB
    );

    let x509 = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(x509.get(&own), Some(&authority.x509_bundle()));

    let jwt = client.fetch_jwt_bundles().await.unwrap();
    let jwt = jwt.get(&own).unwrap();
    assert_eq!(jwt.jwt_authorities().len(), 1);
    assert!(jwt.x509_authorities().is_empty(), "nobody else's keys");

    let token = authority.jwt_svid("/web", &["db", "queue"]);
    let minted = token.clone();
    api.mint_jwt(move |_| vec![minted.clone()]);
    let svid = client.fetch_jwt_svid(["db", "queue"], Some(&WEB)).await;
    assert_eq!(svid.unwrap().token(), token.token());

    let verdict = client.validate_jwt_svid("db", token.token()).await.unwrap();
    assert_eq!(*verdict.id(), WEB);
    assert_eq!(verdict.claims()["aud"], serde_json::json!(["db", "queue"]));
    let why = client.validate_jwt_svid("other", token.token()).await;
    assert_eq!(code(&why.unwrap_err()), Some(Code::InvalidArgument));

    let wit = authority.wit_draft("/web");
    api.publish_wit(std::slice::from_ref(&wit));
    let wits = client.fetch_wit_svids(Some(&WEB)).await.unwrap();
    assert_eq!(*wits[0].id(), WEB);
    let bundles = client.fetch_wit_bundles().await.unwrap();
    assert_eq!(
        bundles.get(&own).unwrap().wit_authorities(),
        bundle.wit_authorities()
    );
}

// conformance: WE-23+
#[tokio::test(start_paused = true)]
async fn every_call_tells_what_the_api_answered() {
    for answer in [
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::Unavailable,
    ] {
        let (authority, api, client) = world();
        api.refuse(answer);
        let token = authority.jwt_svid("/web", &["db"]);
        let errors = [
            client.fetch_x509().await.map(drop),
            client.fetch_x509_bundles().await.map(drop),
            client.fetch_jwt_bundles().await.map(drop),
            client.fetch_jwt_svids(["db"], None).await.map(drop),
            client
                .validate_jwt_svid("db", token.token())
                .await
                .map(drop),
            client.fetch_wit_svids(None).await.map(drop),
            client.fetch_wit_bundles().await.map(drop),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            assert_eq!(code(&error.unwrap_err()), Some(answer), "call {number}");
        }
    }
}

// conformance: WA-27-
#[tokio::test(start_paused = true)]
async fn a_token_for_nobody_is_not_asked_for() {
    let (authority, api, client) = world();
    let none: [&str; 0] = [];
    let token = authority.jwt_svid("/web", &["db"]);
    for why in [
        client.fetch_jwt_svids(none, None).await.map(drop),
        client.fetch_jwt_svids(["db", ""], None).await.map(drop),
        client.validate_jwt_svid("", token.token()).await.map(drop),
    ] {
        assert!(matches!(why, Err(WorkloadApiError::NoAudience)));
    }
    assert_eq!(
        api.calls_of(Rpc::JwtSvid) + api.calls_of(Rpc::ValidateJwt),
        0
    );
}

// conformance: WA-43+ WA-43- WE-23+ WE-23-
#[tokio::test(start_paused = true)]
async fn an_api_without_wit_svids_is_asked_once() {
    let (_, api, client) = world();
    api.refuse(Code::Unimplemented);
    let why = client.watch_wit_svids(None).await.unwrap_err();
    assert_eq!(code(&why), Some(Code::Unimplemented));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(api.calls_of(Rpc::WitSvid), 1);
}
