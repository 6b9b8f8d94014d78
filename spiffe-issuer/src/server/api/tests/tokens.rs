//! Tokens: for agents what their entries allow, and minted for administrators.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use spiffe_core::jwt::Jwk;
use spiffe_core::x509::PrivateKey;

use super::*;
use crate::proto::server::svid::{
    BatchNewWitsvidRequest, MintJwtsvidRequest, MintWitsvidRequest, NewJwtsvidRequest,
    NewWitsvidParams,
};

/// The header and the claims of a token.
fn read(token: &str) -> [Value; 2] {
    let mut parts = token.split('.');
    [(); 2].map(|()| {
        let part = BASE64_URL_SAFE_NO_PAD
            .decode(parts.next().unwrap())
            .unwrap();
        serde_json::from_slice(&part).unwrap()
    })
}

fn id(path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: "td".to_owned(),
        path: path.to_owned(),
    })
}

#[tokio::test]
async fn a_minted_jwt_svid_says_what_the_profile_says_and_no_more() {
    let world = World::new().await;
    let request = MintJwtsvidRequest {
        id: id("/a"),
        audience: vec!["x".to_owned(), String::new(), "y".to_owned()],
        ttl: 60,
    };
    let minted = world.svids(local()).await.mint_jwtsvid(request).await;
    let svid = minted.unwrap().into_inner().svid.unwrap();
    let now = crate::wire::seconds(world.clock.now());
    assert_eq!((svid.issued_at, svid.expires_at), (now, now + 60));
    assert_eq!(svid.id, id("/a"));
    let [header, claims] = read(&svid.token);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&"ES256".into(), &"JWT".into())
    );
    assert_eq!(header["kid"].as_str().unwrap().len(), 32);
    assert_eq!(header.as_object().unwrap().len(), 3);
    let expected = serde_json::json!({
        "sub": "spiffe://td/a",
        "aud": ["x", "y"],
        "iat": now,
        "exp": now + 60,
        "iss": "https://jwt.test",
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn tokens_that_cannot_be_are_not_minted() {
    let world = World::new().await;
    let mut operator = world.svids(local()).await;
    for (request_id, audience, text) in [
        (None, vec!["a"], "id: "),
        (id(""), vec!["a"], "invalid SPIFFE ID: "),
        (id("/spire/server"), vec!["a"], "invalid SPIFFE ID: "),
        (id("/a"), vec![], "at least one audience is required"),
        (id("/a"), vec![""], "at least one audience is required"),
    ] {
        let request = MintJwtsvidRequest {
            id: request_id,
            audience: audience.into_iter().map(str::to_owned).collect(),
            ttl: 0,
        };
        let refused = operator.mint_jwtsvid(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(text), "{refused}");
    }
    let refused = operator.mint_witsvid(MintWitsvidRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let request = MintWitsvidRequest {
        id: id("/a"),
        ..MintWitsvidRequest::default()
    };
    let refused = operator.mint_witsvid(request).await.unwrap_err();
    let text = "WIT functionality is disabled";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unimplemented, text)
    );
}

/// An agent with an entry below it.
async fn with_entry(world: &World) -> Caller {
    let agent = world.attested().await;
    let entry = NewEntry {
        id: Some("mine".parse().unwrap()),
        spiffe_id: spiffe_id!("spiffe://td/mine"),
        parent_id: agent.svid().unwrap().id().clone(),
        jwt_svid_ttl: Some(Duration::from_secs(30)),
        jwt_svid_include_jti: true,
        ..entry()
    };
    world.entries.create(vec![entry]).await.unwrap();
    world.follower.lock().await.tick().await.unwrap();
    agent
}

#[tokio::test]
async fn an_agent_gets_the_tokens_of_its_entries_alone() {
    let world = World::new().await;
    let agent = with_entry(&world).await;
    let other = world.attested().await;
    let request = |entry_id: &str, audience: &[&str]| NewJwtsvidRequest {
        entry_id: entry_id.to_owned(),
        audience: audience
            .iter()
            .map(|&audience| audience.to_owned())
            .collect(),
    };
    let mut svids = world.svids(agent).await;
    let issued = svids.new_jwtsvid(request("mine", &["a"])).await.unwrap();
    let svid = issued.into_inner().svid.unwrap();
    let [_, claims] = read(&svid.token);
    assert_eq!(claims["sub"], "spiffe://td/mine");
    assert_eq!(svid.expires_at - svid.issued_at, 30);
    let first = claims["jti"].as_str().unwrap().to_owned();
    let again = svids.new_jwtsvid(request("mine", &["a"])).await.unwrap();
    let [_, claims] = read(&again.into_inner().svid.unwrap().token);
    assert_ne!(claims["jti"], first);

    let refused = svids.new_jwtsvid(request("mine", &[])).await.unwrap_err();
    assert_eq!(refused.message(), "at least one audience is required");
    let refused = svids.new_jwtsvid(request("", &["a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut others = world.svids(other).await;
    let refused = others
        .new_jwtsvid(request("mine", &["a"]))
        .await
        .unwrap_err();
    let text = "entry not found or not authorized";
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, text));
}

#[tokio::test]
async fn a_wit_svid_binds_the_key_that_it_was_asked_for_with() {
    let world = World::made(true, None).await;
    let agent = with_entry(&world).await;
    let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
    let params = |entry_id: &str, public_key: &[u8], algorithm: &str| NewWitsvidParams {
        entry_id: entry_id.to_owned(),
        public_key: public_key.to_vec(),
        signing_algorithm: algorithm.to_owned(),
    };
    let der = key.public_key().spki_der();
    let request = BatchNewWitsvidRequest {
        params: vec![
            params("mine", der, "ES256"),
            params("other", der, "ES256"),
            params("mine", &[1], "ES256"),
            params("mine", der, "RS256"),
            params("mine", der, "none"),
        ],
    };
    let issued = world.svids(agent).await.batch_new_witsvid(request).await;
    let results = issued.unwrap().into_inner().results;
    let texts = results.iter().map(|result| {
        let status = result.status.as_ref().unwrap();
        (Code::from(status.code), &*status.message)
    });
    for ((code, told), (wanted, text)) in texts.zip([
        (Code::Ok, "OK"),
        (Code::NotFound, "entry not found or not authorized"),
        (Code::InvalidArgument, "invalid public key: "),
        (
            Code::InvalidArgument,
            "invalid signing algorithm or key type: ",
        ),
        (
            Code::InvalidArgument,
            "invalid signing algorithm or key type: ",
        ),
    ]) {
        assert_eq!(code, wanted, "{told}");
        assert!(told.starts_with(text), "{told}");
    }
    let [header, claims] = read(&results[0].svid.as_ref().unwrap().token);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&"ES256".into(), &"wit+jwt".into())
    );
    assert_eq!(claims["sub"], "spiffe://td/mine");
    assert_eq!(claims["iss"], "https://wit.test");
    assert!(claims.get("aud").is_none());
    let mut jwk = claims["cnf"]["jwk"].clone();
    assert_eq!(
        jwk.as_object_mut().unwrap().remove("alg"),
        Some("ES256".into())
    );
    let public = Jwk::from_spki_der(der).unwrap();
    assert_eq!(
        jwk,
        serde_json::from_str::<Value>(&public.to_json()).unwrap()
    );
}
