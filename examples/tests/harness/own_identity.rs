//! What the harness presents: the latest good identity, and nothing once it was withdrawn.

use spiffe_core::IdentitySnapshot;
use spiffe_core::bundle::BundleSet;
use spiffe_core::proto::workload::{X509svid, X509svidResponse};
use spiffe_core::testing::{Rpc, TestAuthority, message};
use spiffe_core::x509::X509Svid;
use tonic::Code;

use crate::world::{Harness, World};

const DEFAULT: &str = "spiffe://test.example.org/default";
const BARRIER: &str = "spiffe://test.example.org/barrier";

/// Publishes this, sees to it that it was said, and brings the next good identity through.
async fn tell_then_rotate(world: &World, harness: &Harness, told: X509svidResponse) {
    let said = world.api.messages_of(Rpc::X509Svid);
    world.api.publish_message(told);
    world.api.told(Rpc::X509Svid, said + 1).await;
    let before = harness.meet(&world.probe()).await;
    assert_eq!(before.server.as_deref(), Some(DEFAULT));
    world.api.give(&world.authority, "/barrier");
    harness.meets(&world.probe(), BARRIER).await;
    world.api.give(&world.authority, "/default");
    harness.meets(&world.probe(), DEFAULT).await;
}

// conformance: WA-3+ WA-4+
#[tokio::test]
async fn wa1_a_rotation_is_presented_also_after_the_stream_has_ended() {
    let world = World::new();
    let harness = world.harness().await;
    let first = harness.meet(&world.probe()).await;
    world.api.give(&world.authority, "/barrier");
    harness.meets(&world.probe(), BARRIER).await;
    assert_eq!(world.api.calls(), 1, "the stream is kept open");

    world.api.end_streams();
    world.api.called(Rpc::X509Svid, 2).await;
    world.api.give(&world.authority, "/default");
    harness.meets(&world.probe(), DEFAULT).await;
    assert_ne!(harness.meet(&world.probe()).await.serial, first.serial);

    world.api.go_away();
    assert_eq!(
        harness.meet(&world.probe()).await.server.as_deref(),
        Some(DEFAULT),
        "an agent that is away takes nothing with it"
    );
    world.api.come_back();
    world.api.give(&world.authority, "/barrier");
    harness.meets(&world.probe(), BARRIER).await;
}

// conformance: WA-13+ WA-13- WA-18+
#[tokio::test]
async fn wa2_a_message_with_an_empty_field_is_discarded() {
    let world = World::new();
    let harness = world.harness().await;
    let emptied: [fn(&mut X509svidResponse); 5] = [
        |told| told.svids.clear(),
        |told| told.svids[0].spiffe_id.clear(),
        |told| told.svids[0].x509_svid.clear(),
        |told| told.svids[0].x509_svid_key.clear(),
        |told| told.svids[0].bundle.clear(),
    ];
    for empty in emptied {
        let mut told = message(&world.authority.snapshot("/other"));
        empty(&mut told);
        tell_then_rotate(&world, &harness, told).await;
    }
}

// conformance: WA-56+ WA-56-
#[tokio::test]
async fn wa3_the_first_identity_is_the_default_one() {
    let world = World::silent();
    let (a, b) = (world.authority.svid("/a"), world.authority.svid("/b"));
    let bundles = BundleSet::from(world.authority.bundle());
    let both = |svids: [&X509Svid; 2]| {
        IdentitySnapshot::new(svids.map(Clone::clone).to_vec(), bundles.clone())
    };
    world.api.publish(&both([&a, &b]));
    let harness = world.harness().await;
    harness.meets(&world.probe(), a.id().as_str()).await;
    world.api.publish(&both([&b, &a]));
    harness.meets(&world.probe(), b.id().as_str()).await;
}

// conformance: WA-22+ WA-22-
#[tokio::test]
async fn wa4_an_identity_that_was_withdrawn_is_presented_no_more() {
    let world = World::new();
    let harness = world.harness().await;
    assert_eq!(
        harness.meet(&world.probe()).await.server.as_deref(),
        Some(DEFAULT)
    );
    let calls = world.api.calls();
    world.api.refuse_rpc(Rpc::X509Svid, Code::PermissionDenied);
    // It asks again only after it has taken the refusal in.
    world.api.called(Rpc::X509Svid, calls + 1).await;
    assert_eq!(harness.meet(&world.probe()).await.server, None);
    world.api.give(&world.authority, "/barrier");
    harness.meets(&world.probe(), BARRIER).await;
}

// conformance: ID-20+ ID-20- X509-13- X509-16- X509-17- X509-20- X509-24-
#[tokio::test]
async fn hx_an_identity_that_peers_would_not_believe_is_not_presented() {
    let world = World::new();
    let harness = world.harness().await;
    let other = || world.authority.draft("/other");
    let stranger = TestAuthority::new("test.example.org");
    for (case, chain_and_key, id) in [
        ("expired", other().expired().chain_and_key(), None),
        (
            "not yet valid",
            other().not_yet_valid().chain_and_key(),
            None,
        ),
        (
            "another's key",
            other().with_foreign_key().chain_and_key(),
            None,
        ),
        ("an authority", other().as_authority().chain_and_key(), None),
        ("two names", other().also_named("/b").chain_and_key(), None),
        (
            "no key usage",
            other().without_key_usage().chain_and_key(),
            None,
        ),
        (
            "signs certificates",
            other().with_cert_sign().chain_and_key(),
            None,
        ),
        (
            "not of its bundle",
            stranger.draft("/other").chain_and_key(),
            None,
        ),
        (
            "another ID beside it",
            other().chain_and_key(),
            Some("/third"),
        ),
    ] {
        println!("{case}");
        let (chain, key) = chain_and_key;
        let td = world.authority.trust_domain();
        let mut told = message(&world.authority.snapshot("/other"));
        told.svids[0] = X509svid {
            spiffe_id: format!("spiffe://{td}{}", id.unwrap_or("/other")),
            x509_svid: chain.iter().flat_map(|c| c.der().to_vec()).collect(),
            x509_svid_key: key.pkcs8_der().to_vec(),
            ..told.svids[0].clone()
        };
        tell_then_rotate(&world, &harness, told).await;
    }
}
