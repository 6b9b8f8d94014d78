//! Whom the harness believes, as a server and as a client.

use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use spiffe_core::IdentitySnapshot;
use spiffe_core::bundle::{BundleSet, TrustBundle};
use spiffe_core::testing::{Impostor, TestAuthority};
use spiffe_core::x509::{Certificate, PrivateKey};
use tokio::net::TcpListener;

use crate::world::{Harness, World};

fn decoded(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The own bundle and those of others, in one message with the own SVID.
fn with_bundles(
    world: &World,
    path: &str,
    others: impl IntoIterator<Item = TrustBundle>,
) -> IdentitySnapshot {
    let own = [world.authority.bundle()];
    let bundles: BundleSet = own.into_iter().chain(others).collect();
    IdentitySnapshot::new(vec![world.authority.svid(path)], bundles)
}

// conformance: X509-1+ X509-1- X509-2+ X509-2- X509-3- X509-20+ X509-20- X509-21- X509-22- X509-23- X509-24- X509-25- WA-14+ WA-14-
#[tokio::test]
async fn xv_every_vector_is_judged_as_a_client() {
    let vectors = include_str!("../../../spiffe-core/tests/vectors/x509svid.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let bundles = vectors["bundles_der_b64"].as_object().unwrap();
    let bundles = bundles.iter().map(|(name, authorities)| {
        let authorities = authorities.as_array().unwrap().iter();
        let authorities = authorities.map(|der| Certificate::from_der(&decoded(der)).unwrap());
        TrustBundle::new(
            name["spiffe://".len()..].parse().unwrap(),
            authorities.collect(),
        )
    });
    let world = World::silent();
    world
        .api
        .publish(&with_bundles(&world, "/default", bundles));
    let harness = world.harness().await;
    let mut judged = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let chain = case["chain_der_b64"].as_array().unwrap().iter();
        let chain = chain.map(|der| decoded(der).into());
        let key = PrivateKey::from_pkcs8_der(&decoded(&case["leaf_key_pkcs8_b64"])).unwrap();
        let met = harness.meet(&Impostor::new(chain, &key)).await;
        let expected = match case["expect"].as_str().unwrap() {
            "accept" => format!("{}\n", case["spiffe_id"].as_str().unwrap()),
            "reject" => String::new(),
            _ => continue,
        };
        assert_eq!(met.greeting, expected, "{}", case["name"]);
        judged += 1;
    }
    assert!(judged > 40, "{judged} cases");
}

#[tokio::test]
async fn xv_clients_of_tls12_are_judged_as_well_and_who_has_no_certificate_is_turned_away() {
    let world = World::new();
    let harness = world.harness().await;
    let web = || world.authority.draft("/web");
    for (draft, good) in [
        (web(), true),
        (web().tampered(), false),
        (web().expired(), false),
    ] {
        let impostor = draft.impostor();
        for probe in [impostor.clone(), impostor.over_tls12()] {
            let met = harness.meet(&probe).await;
            assert_eq!(!met.greeting.is_empty(), good);
        }
    }
    assert_eq!(harness.meet(&Impostor::anonymous()).await.greeting, "");
    let old = Impostor::anonymous().over_tls12();
    assert_eq!(harness.meet(&old).await.greeting, "");
}

// conformance: WA-8+ WA-9- WA-11+ WA-11- FD-9- FD-53+ FD-53- FD-54+ FD-54- ID-22-
#[tokio::test]
async fn xf_a_federated_peer_is_believed_by_its_own_bundle_and_while_that_is_there() {
    let world = World::new();
    let harness = world.harness().await;
    let friend = TestAuthority::new("fed.example.org");
    let peer = friend.draft("/peer").impostor();
    assert_eq!(harness.meet(&peer).await.greeting, "", "no bundle yet");

    let with = with_bundles(&world, "/with", [friend.bundle()]);
    world.api.publish(&with);
    harness
        .meets(&world.probe(), "spiffe://test.example.org/with")
        .await;
    let greeting = harness.meet(&peer).await.greeting;
    assert_eq!(greeting, "spiffe://fed.example.org/peer\n", "XF-1");

    for (case, pretender) in [
        (
            "ours, signed by them",
            friend.draft("/x").named("spiffe://test.example.org/x"),
        ),
        (
            "theirs, signed by us",
            world
                .authority
                .draft("/x")
                .named("spiffe://fed.example.org/x"),
        ),
    ] {
        let met = harness.meet(&pretender.impostor()).await;
        assert_eq!(met.greeting, "", "XF-2: {case}");
    }

    world.api.give(&world.authority, "/without");
    harness
        .meets(&world.probe(), "spiffe://test.example.org/without")
        .await;
    assert_eq!(harness.meet(&peer).await.greeting, "", "XF-3");
}

// conformance: X509-9- X509-20+ X509-20-
#[tokio::test]
async fn a_server_that_is_dialled_is_judged() {
    let world = World::new();
    let harness = world.harness().await;
    let web = || world.authority.draft("/server");
    let (code, told) = dial(&harness, &web().impostor()).await;
    assert_eq!(
        (code, &told["spiffe_id"]),
        (200, &json!("spiffe://test.example.org/server"))
    );
    let (code, _) = dial(&harness, &web().impostor().over_tls12()).await;
    assert_eq!(code, 200);
    for draft in [
        web().expired(),
        web().signed_by_stranger(),
        web().also_named("/b"),
        web().named("spiffe://test.example.org"),
        web().as_authority(),
        web().with_cert_sign(),
    ] {
        let (code, told) = dial(&harness, &draft.impostor()).await;
        assert_eq!(code, 422, "{told}");
    }
}

#[tokio::test]
async fn where_nobody_listens_is_an_error_and_no_judgement() {
    let world = World::new();
    let harness = world.harness().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let (code, _) = harness
        .ask("/v1/x509/dial", &json!({ "address": address }))
        .await;
    assert_eq!(code, 500);
}

/// Has the harness dial a server that presents this.
async fn dial(harness: &Harness, server: &Impostor) -> (u16, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = json!({ "address": listener.local_addr().unwrap().to_string() });
    let serve = async {
        let (tcp, _) = listener.accept().await?;
        // What is wrong is told by who dialled.
        drop(server.accept(tcp).await);
        io::Result::Ok(())
    };
    let (answer, served) = tokio::join!(harness.ask("/v1/x509/dial", &asked), serve);
    served.unwrap();
    answer
}
