use std::time::{Duration, SystemTime};

use spiffe_core::clock::Clock;
use spiffe_core::jwt::Jwk;
use spiffe_core::verify::{JwtRules, VerifiedJwt, jwt};
use spiffe_core::{BundleSet, SpiffeId, TrustBundle};
use spiffe_issuer::domain::{AuthorityKind, Standing};
use spiffe_issuer::keys::MemoryKeys;
use spiffe_issuer::server::ca::{CaError, Token};

use crate::{DAY, HOUR, Machine, Server, TD};

const ID: SpiffeId = SpiffeId::from_static("spiffe://td/w");

fn token(lifetime: Duration) -> Token {
    Token::jwt(ID, &["a".to_owned()], None, false, lifetime)
}

fn verified(token: &str, bundles: &BundleSet, now: SystemTime) -> VerifiedJwt {
    jwt(token, bundles, &["a"], now, &JwtRules::default()).unwrap()
}

/// The bundle as those have it who verify tokens.
async fn bundles(server: &Server) -> BundleSet {
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    let keys = bundle.jwt_authorities.iter().map(|key| {
        let jwk = Jwk::from_spki_der(key.public_key.spki_der()).unwrap();
        jwk.with_key_id(&key.key_id)
    });
    BundleSet::from(TrustBundle::new(TD, Vec::new()).with_jwt_authorities(keys.collect()))
}

// conformance: FD-1+ FD-2+
#[tokio::test]
async fn for_weeks_every_token_can_be_verified_from_its_first_moment_to_its_last() {
    let machine = Machine::new(MemoryKeys::default());
    let mut server = machine.start().await.unwrap();
    let mut known = bundles(&server).await;
    let mut signers = std::collections::BTreeSet::new();
    for _ in 0..3 * 7 * 24 {
        machine.clock.turn(HOUR);
        server.manager.tick().await.unwrap();
        let now = machine.clock.now();
        let signed = server.authorities.sign_jwt(token(HOUR), now).await.unwrap();
        assert_eq!(signed.expires_at, now + HOUR, "no life is cut short");
        // By whoever asked for the bundle an hour ago, or asks for it now.
        for bundles in [&known, &bundles(&server).await] {
            assert_eq!(verified(&signed.token, bundles, now).id(), &ID);
        }
        known = bundles(&server).await;
        signers.insert(server.authorities.states(AuthorityKind::Jwt)[0].id.clone());
    }
    assert!((40..=43).contains(&signers.len()), "{}", signers.len());
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    assert!(
        bundle.jwt_authorities.len() <= 5,
        "{}",
        bundle.jwt_authorities.len()
    );
}

#[tokio::test]
async fn a_token_ends_with_the_key_that_signed_it() {
    let machine = Machine::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    let end = machine.clock.now() + DAY;
    machine.clock.turn(DAY - HOUR / 2);
    let now = machine.clock.now();
    let signed = server.authorities.sign_jwt(token(HOUR), now).await.unwrap();
    assert_eq!(signed.expires_at, end);
    machine.clock.turn(HOUR);
    let late = server
        .authorities
        .sign_jwt(token(HOUR), machine.clock.now())
        .await;
    assert!(matches!(late, Err(CaError::Expired)));
}

#[tokio::test]
async fn keys_of_tokens_survive_a_restart_and_are_made_anew_where_they_are_lost() {
    let mut machine = Machine::new(MemoryKeys::default());
    machine.wit = true;
    let mut server = machine.start().await.unwrap();
    let states = |server: &Server| {
        [AuthorityKind::Jwt, AuthorityKind::Wit].map(|kind| server.authorities.states(kind))
    };
    for _ in 0..50 {
        machine.clock.turn(HOUR);
        server.manager.tick().await.unwrap();
        let before = states(&server);
        server = machine.start().await.unwrap();
        assert_eq!(states(&server), before);
    }
    let x509 = server.active();
    let [jwt, wit] = states(&server);
    // A key that is not what the journal says, as after a restored backup, signs nothing.
    let [a, b] = spiffe_issuer::keys::KeyId::JWT_SIGNER;
    for key in [a, b] {
        let kind = spiffe_core::x509::KeyKind::EcP256;
        machine.keys.generate(&key, kind).await.unwrap();
    }
    let server = machine.start().await.unwrap();
    let [new, same] = states(&server);
    assert!(jwt.iter().all(|old| new[0].id != old.id));
    assert_eq!((server.active(), same), (x509, wit));
    let signed = server
        .authorities
        .sign_jwt(token(HOUR), machine.clock.now())
        .await;
    let token = signed.unwrap().token;
    let verified = verified(&token, &bundles(&server).await, machine.clock.now());
    assert_eq!(verified.id(), &ID);
}

#[tokio::test]
async fn without_a_flag_there_are_no_keys_of_tokens_that_nobody_wants() {
    let machine = Machine::new(MemoryKeys::default());
    let server = machine.start().await.unwrap();
    assert!(server.authorities.states(AuthorityKind::Wit).is_empty());
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    assert!(bundle.wit_authorities.is_empty());
    let jwt = server.authorities.states(AuthorityKind::Jwt);
    assert_eq!(
        jwt.iter().map(|state| state.standing).collect::<Vec<_>>(),
        [Standing::Active]
    );
    let key = serde_json::json!({});
    let wit = Token::wit(ID, &key, None, HOUR);
    let refused = server.authorities.sign_wit(wit, machine.clock.now()).await;
    assert!(matches!(refused, Err(CaError::NotReady)));
}
