//! The local authority service, and what servers below this one ask for.

use spiffe_core::x509::{KeyKind, PrivateKey};

use super::*;
use crate::proto::server::authorities::GetUsageRequest;
use crate::proto::server::authorities::authorities_client::AuthoritiesClient;
use crate::proto::server::authorities::get_usage_request::Kind as Asked;
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::server::bundle::{
    GetBundleRequest, PublishJwtAuthorityRequest, PublishWitAuthorityRequest,
};
use crate::proto::server::localauthority::local_authority_client::LocalAuthorityClient;
use crate::proto::server::localauthority::{
    ActivateJwtAuthorityRequest, ActivateX509AuthorityRequest, AuthorityState,
    GetJwtAuthorityStateRequest, GetWitAuthorityStateRequest, GetX509AuthorityStateRequest,
    PrepareJwtAuthorityRequest, PrepareX509AuthorityRequest, RevokeJwtAuthorityRequest,
    RevokeX509AuthorityRequest, RevokeX509UpstreamAuthorityRequest, TaintJwtAuthorityRequest,
    TaintX509AuthorityRequest, TaintX509UpstreamAuthorityRequest,
};
use crate::proto::server::svid::NewDownstreamX509caRequest;

type Reached = As<Guarded<Routes>>;

async fn authorities(world: &World) -> LocalAuthorityClient<Reached> {
    LocalAuthorityClient::new(world.reached_by(local()))
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

/// The active, the prepared and the old X.509 authority, by name.
async fn x509(world: &World) -> [Option<AuthorityState>; 3] {
    let request = GetX509AuthorityStateRequest {};
    let mut operator = authorities(world).await;
    let states = operator.get_x509_authority_state(request).await;
    let states = states.unwrap().into_inner();
    [states.active, states.prepared, states.old]
}

#[tokio::test]
async fn an_operator_rotates_taints_and_revokes_an_x509_authority() {
    let world = World::new().await;
    let mut operator = authorities(&world).await;
    let [first, prepared, old] = x509(&world).await;
    assert_eq!((prepared, old), (None, None));
    let first = first.unwrap();
    assert_eq!(first.upstream_authority_subject_key_id, "");
    let end = world.clock.now() + 24 * HOUR;
    assert_eq!(first.expires_at, crate::wire::seconds(end));

    let request = PrepareX509AuthorityRequest {};
    let answer = operator.prepare_x509_authority(request).await.unwrap();
    let second = answer.into_inner().prepared_authority.unwrap();
    let request = ActivateX509AuthorityRequest {
        authority_id: second.authority_id.clone(),
    };
    let answer = operator.activate_x509_authority(request).await.unwrap();
    assert_eq!(
        answer.into_inner().activated_authority,
        Some(second.clone())
    );
    assert_eq!(
        x509(&world).await,
        [Some(second), None, Some(first.clone())]
    );

    let request = RevokeX509AuthorityRequest {
        authority_id: first.authority_id.clone(),
    };
    let refused = operator
        .revoke_x509_authority(request.clone())
        .await
        .unwrap_err();
    let text =
        "failed to revoke X.509 authority: it is not possible to revoke an untainted root CA";
    assert_eq!(told(&refused), (Code::Internal, text));
    let taint = TaintX509AuthorityRequest {
        authority_id: first.authority_id.clone(),
    };
    let answer = operator.taint_x509_authority(taint).await.unwrap();
    assert_eq!(answer.into_inner().tainted_authority, Some(first.clone()));
    let marks = async || {
        let mut bundles = BundleClient::new(world.reached_by(anonymous()));
        let bundle = bundles.get_bundle(GetBundleRequest::default()).await;
        let roots = bundle.unwrap().into_inner().x509_authorities;
        roots
            .into_iter()
            .map(|root| root.tainted)
            .collect::<Vec<_>>()
    };
    assert_eq!(marks().await, [true, false], "and agents are told");
    let answer = operator.revoke_x509_authority(request).await.unwrap();
    assert_eq!(answer.into_inner().revoked_authority, Some(first));
    assert_eq!(marks().await, [false]);
}

#[tokio::test]
async fn an_operator_rotates_taints_and_revokes_a_jwt_authority() {
    let world = World::new().await;
    let mut operator = authorities(&world).await;
    let show = GetJwtAuthorityStateRequest {};
    let first = operator
        .get_jwt_authority_state(show)
        .await
        .unwrap()
        .into_inner();
    let first = first.active.unwrap().authority_id;
    assert_eq!(first.len(), 32);
    let answer = operator.prepare_jwt_authority(PrepareJwtAuthorityRequest {});
    let second = answer
        .await
        .unwrap()
        .into_inner()
        .prepared_authority
        .unwrap();
    let request = ActivateJwtAuthorityRequest {
        authority_id: second.authority_id,
    };
    operator.activate_jwt_authority(request).await.unwrap();
    let request = TaintJwtAuthorityRequest {
        authority_id: first.clone(),
    };
    operator.taint_jwt_authority(request).await.unwrap();
    let revoke = |authority_id: &str| RevokeJwtAuthorityRequest {
        authority_id: authority_id.to_owned(),
    };
    let answer = operator.revoke_jwt_authority(revoke(&first)).await.unwrap();
    assert_eq!(
        answer.into_inner().revoked_authority.unwrap().authority_id,
        first
    );
    let refused = operator
        .revoke_jwt_authority(revoke(&first))
        .await
        .unwrap_err();
    let text = "invalid authority ID: no JWT authority found with provided authority ID";
    assert_eq!(told(&refused), (Code::InvalidArgument, text));
}

#[tokio::test]
async fn what_is_not_configured_is_refused_as_clients_know_it() {
    let world = World::new().await;
    let mut operator = authorities(&world).await;
    let refused = operator.get_wit_authority_state(GetWitAuthorityStateRequest {});
    let text = "WIT functionality is disabled";
    assert_eq!(
        told(&refused.await.unwrap_err()),
        (Code::Unimplemented, text)
    );
    let text = "upstream authority is not configured";
    let request = TaintX509UpstreamAuthorityRequest::default();
    let refused = operator
        .taint_x509_upstream_authority(request)
        .await
        .unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, text));
    let request = RevokeX509UpstreamAuthorityRequest::default();
    let refused = operator
        .revoke_x509_upstream_authority(request)
        .await
        .unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, text));
    let request = ActivateX509AuthorityRequest::default();
    let refused = operator.activate_x509_authority(request).await.unwrap_err();
    let text = "no authority ID provided";
    assert_eq!(told(&refused), (Code::InvalidArgument, text));
}

#[tokio::test]
async fn a_server_below_gets_an_authority_that_says_so() {
    let world = World::new().await;
    let below = world.privileged(false, true).await;
    let mut svids = world.svids(below).await;
    let request = |csr, preferred_ttl| NewDownstreamX509caRequest { csr, preferred_ttl };
    let answer = svids.new_downstream_x509ca(request(csr(), 3600)).await;
    let answer = answer.unwrap().into_inner();
    let [own] = &*answer.ca_cert_chain else {
        panic!("{} certificates", answer.ca_cert_chain.len());
    };
    let own = Certificate::from_der(own).unwrap();
    assert!(own.may_issue());
    assert_eq!(own.spiffe_id().unwrap().as_str(), "spiffe://td");
    assert_eq!(own.not_after(), world.clock.now() + HOUR);
    let [root] = &*answer.x509_authorities else {
        panic!("{} roots", answer.x509_authorities.len());
    };
    let root = Certificate::from_der(root).unwrap();
    assert_eq!(own.authority_key_id(), root.subject_key_id());
    let holds = |text: &str| own.der().windows(text.len()).any(|b| b == text.as_bytes());
    assert!(holds("DOWNSTREAM-1") && holds("SPIFFE"));

    // No longer than the one above it, also where nothing is asked for.
    let answer = svids
        .new_downstream_x509ca(request(csr(), 0))
        .await
        .unwrap();
    let chain = answer.into_inner().ca_cert_chain;
    let longest = Certificate::from_der(&chain[0]).unwrap().not_after();
    assert_eq!(longest, root.not_after());
    for (csr, ttl, text) in [
        (vec![], 0, "missing CSR"),
        (vec![1], 0, "malformed CSR: "),
        (csr(), -1, "preferred_ttl: "),
    ] {
        let refused = svids
            .new_downstream_x509ca(request(csr, ttl))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(text), "{refused}");
    }
}

#[tokio::test]
async fn a_server_below_publishes_its_keys_of_tokens() {
    let world = World::new().await;
    let below = world.privileged(false, true).await;
    let mut bundles = BundleClient::new(world.reached_by(below));
    let key = || PrivateKey::generate(KeyKind::EcP256).unwrap();
    let good = types::JwtKey {
        public_key: key().public_key().spki_der().to_vec(),
        key_id: "below".to_owned(),
        expires_at: 2_000_000_000,
        tainted: true,
    };
    let mut publish = async |jwt_authority: Option<types::JwtKey>| {
        let request = PublishJwtAuthorityRequest { jwt_authority };
        let answer = bundles.publish_jwt_authority(request).await;
        answer.map(|answer| answer.into_inner().jwt_authorities)
    };
    for _ in 0..2 {
        let keys = publish(Some(good.clone())).await.unwrap();
        assert_eq!(keys.len(), 2, "ours and theirs");
        let untainted = types::JwtKey {
            tainted: false,
            ..good.clone()
        };
        assert_eq!(keys[1], untainted, "who publishes a key does not taint it");
    }
    let other = types::JwtKey {
        public_key: key().public_key().spki_der().to_vec(),
        ..good.clone()
    };
    let nameless = types::JwtKey {
        key_id: String::new(),
        ..good.clone()
    };
    let keyless = types::JwtKey {
        public_key: vec![1],
        ..good
    };
    for (key, code, text) in [
        (None, Code::InvalidArgument, "missing JWT authority"),
        (
            Some(nameless),
            Code::InvalidArgument,
            "invalid JWT authority: missing key ID",
        ),
        (
            Some(keyless),
            Code::InvalidArgument,
            "invalid JWT authority: ",
        ),
        (
            Some(other),
            Code::AlreadyExists,
            "failed to publish JWT key: the bundle has another key with the ID \"below\"",
        ),
    ] {
        let refused = publish(key).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().starts_with(text), "{refused}");
    }
}

/// A key of another server's: nobody here has counted what it signed.
#[tokio::test]
async fn nobody_says_that_nothing_is_left_of_a_key_without_an_end() {
    let world = World::new().await;
    let below = world.privileged(false, true).await;
    let mut bundles = BundleClient::new(world.reached_by(below));
    let mut usages = AuthoritiesClient::new(world.reached_by(local()));
    let now = crate::wire::seconds(world.clock.now());
    for (key_id, expires_at, until, unknown) in
        [("endless", 0, 0, true), ("ends", now + 60, now + 60, false)]
    {
        let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
        let key = types::JwtKey {
            public_key: key.public_key().spki_der().to_vec(),
            key_id: key_id.to_owned(),
            expires_at,
            tainted: false,
        };
        let request = PublishJwtAuthorityRequest {
            jwt_authority: Some(key),
        };
        bundles.publish_jwt_authority(request).await.unwrap();
        let request = GetUsageRequest {
            kind: Asked::Jwt.into(),
            authority_id: key_id.to_owned(),
        };
        let usage = usages.get_usage(request).await.unwrap().into_inner();
        let told = (usage.signed_until, usage.signed_until_unknown);
        assert_eq!(told, (until, unknown), "{key_id}");
    }
    let refused = bundles.publish_wit_authority(PublishWitAuthorityRequest::default());
    let text = "WIT-SVID functionality is not yet implemented";
    assert_eq!(
        told(&refused.await.unwrap_err()),
        (Code::Unimplemented, text)
    );
}
