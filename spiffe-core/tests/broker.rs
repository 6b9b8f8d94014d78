//! The client of the Broker API against a fake that follows a script, over mutual TLS in memory.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::broker::{BrokerClient, BrokerEndpoint, KubernetesObject, Reference};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::proto::workload::X509svidResponse;
use spiffe_core::source::{SourceError, X509Source};
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority, TestClock, message};
use spiffe_core::workload_api::{Flaw, WorkloadApiError};
use spiffe_core::{IdentitySnapshot, IdentitySource, SourceExt, SpiffeId, spiffe_id};
use tokio::time::{Instant, timeout};
use tonic::Code;

const AGENT: SpiffeId = spiffe_id!("spiffe://a.test/spire/agent/x/node");
const BROKER: SpiffeId = spiffe_id!("spiffe://a.test/broker");
const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const DB: SpiffeId = spiffe_id!("spiffe://a.test/db");

struct World {
    authority: TestAuthority,
    api: FakeWorkloadApi,
    client: BrokerClient,
}

/// An agent that lets one broker in, and that broker.
fn world() -> World {
    let authority = TestAuthority::new("a.test");
    let agent = authority.source(AGENT.path()).server(exactly(BROKER));
    let api = FakeWorkloadApi::in_memory_over(&agent);
    let tls = authority.source("/broker").client(exactly(AGENT));
    let client = BrokerClient::new(BrokerEndpoint::from(api.endpoint()), tls)
        .with_clock(Arc::new(TestClock::at(SystemClock.now())));
    World {
        authority,
        api,
        client,
    }
}

fn process() -> Reference {
    Reference::process(7).unwrap()
}

async fn follow(world: &World) -> X509Source {
    world.api.give(&world.authority, "/web");
    world.client.x509_source(process()).connect().await.unwrap()
}

// The fake lets no call in without the header or a reference, and nobody at all without a certificate.
// conformance: BA-8+ BA-56+ BE-2+ BE-3+ BE-5+ BE-13+ BE-20+
#[tokio::test]
async fn every_call_is_understood_and_says_whom_it_is_about() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.give(&authority, "/web");
    let own = authority.trust_domain();

    let snapshot = client.fetch_x509(&process()).await.unwrap();
    assert_eq!(*snapshot.svid().unwrap().id(), WEB);
    assert_eq!(snapshot.bundles().get(own), Some(&authority.x509_bundle()));

    let pod = KubernetesObject::in_namespace("pods", "core", "shop", "web-0").unwrap();
    let bundles = client
        .fetch_x509_bundles(&pod.clone().into())
        .await
        .unwrap();
    assert_eq!(bundles.get(own), Some(&authority.x509_bundle()));
    let bundles = client.fetch_jwt_bundles(&pod.into()).await.unwrap();
    assert_eq!(bundles.get(own).unwrap().jwt_authorities().len(), 1);

    let tokens = client
        .fetch_jwt_svids(&process(), ["a", "b"], Some(&WEB))
        .await
        .unwrap();
    assert_eq!((tokens[0].id(), tokens[0].audience().len()), (&WEB, 2));
    let names = ["WorkloadPIDReference", "KubernetesObjectReference"];
    let asked = api.asked_about();
    let asked: Vec<_> = asked
        .iter()
        .map(|name| name.trim_start_matches("spiffe.broker."))
        .collect();
    assert_eq!(asked, [names[0], names[1], names[1], names[0]]);

    let why = client
        .fetch_jwt_svids(&process(), ["a"], Some(&DB))
        .await
        .unwrap_err();
    assert!(matches!(why, WorkloadApiError::Refused(_)), "{why}");
    let why = client
        .fetch_jwt_svids(&process(), [""; 0], None)
        .await
        .unwrap_err();
    assert!(matches!(why, WorkloadApiError::NoAudience), "{why}");
}

// conformance: BE-5- BE-13-
#[tokio::test]
async fn nobody_is_asked_but_the_very_agent() {
    let World { authority, api, .. } = world();
    api.give(&authority, "/web");
    let endpoint = BrokerEndpoint::from(api.endpoint());
    let other = exactly(spiffe_id!("spiffe://a.test/spire/agent/x/other"));
    let own = authority.source("/broker");
    let client = BrokerClient::new(endpoint.clone(), own.client(other));
    let why = client.fetch_x509(&process()).await.unwrap_err();
    assert!(matches!(why, WorkloadApiError::Unreachable { .. }), "{why}");

    let stranger = authority.source("/stranger").client(exactly(AGENT));
    let client = BrokerClient::new(endpoint, stranger);
    assert!(
        client.fetch_x509(&process()).await.is_err(),
        "the agent lets one broker in"
    );
    assert_eq!(api.calls(), 0);
}

// conformance: BA-5+ BA-5- BA-14+ BA-14-
#[tokio::test]
async fn a_process_is_not_named_to_another_machine() {
    let authority = TestAuthority::new("a.test");
    let own = authority.source("/broker");
    let ask = async |at: &str, of: Reference| {
        let client = BrokerClient::new(at.parse().unwrap(), own.client(anyone()));
        client.watch_x509(&of).await.unwrap_err()
    };
    let there = "tcp://192.0.2.1:1";
    let why = ask(there, process()).await;
    assert!(
        matches!(why, WorkloadApiError::NotOnThisMachine { .. }),
        "{why}"
    );
    // Ports of this machine at which nobody listens: whether it was tried is what counts.
    for here in [
        "tcp://127.0.0.1:1",
        "tcp://localhost:1",
        "unix:///nobody/here.sock",
    ] {
        let why = ask(here, process()).await;
        assert!(matches!(why, WorkloadApiError::Unreachable { .. }), "{why}");
    }
    let client = BrokerClient::new(there.parse().unwrap(), own.client(anyone()));
    let why = client.x509_source(process()).connect().await.unwrap_err();
    assert!(
        matches!(why, SourceError::Refused { .. }),
        "it is not tried again: {why}"
    );
}

// conformance: BA-43+ BA-45+ BA-45- BA-51+ BA-51-
#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_workload_that_is_gone_or_not_entitled() {
    for (code, stops) in [(Code::NotFound, true), (Code::PermissionDenied, false)] {
        let (world, other) = (world(), world());
        let (source, kept) = (follow(&world).await, follow(&other).await);
        let mut changes = source.subscribe();
        world.api.refuse(code);
        changes.changed().await.unwrap();
        let left = source.snapshot();
        assert!(
            left.svids().is_empty() && left.bundles().iter().next().is_none(),
            "{code:?}"
        );
        assert!(kept.snapshot().svid().is_some(), "that of another workload");
        let calls = world.api.calls();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(source.health().stopped, stops, "{code:?}");
        assert_eq!(world.api.calls() == calls, stops, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_denial_half_a_minute_passes() {
    let world = world();
    let source = follow(&world).await;
    let mut changes = source.subscribe();
    world.api.refuse(Code::PermissionDenied);
    changes.changed().await.unwrap();
    let (begin, calls) = (Instant::now(), world.api.calls());
    world.api.called(Rpc::X509Svid, calls + 1).await;
    assert!(
        begin.elapsed() >= Duration::from_secs(29),
        "{:?}",
        begin.elapsed()
    );
}

// conformance: BA-42+ BE-16+ BE-16-
#[tokio::test(start_paused = true)]
async fn codes_mean_what_they_mean_to_a_workload() {
    for (code, stops) in [
        (Code::InvalidArgument, true),
        (Code::Unimplemented, true),
        (Code::Unavailable, false),
        (Code::Unauthenticated, false),
    ] {
        let world = world();
        let source = follow(&world).await;
        let calls = world.api.calls();
        world.api.refuse(code);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(source.health().stopped, stops, "{code:?}");
        assert_eq!(world.api.calls() == calls, stops, "{code:?}");
        assert!(
            source.snapshot().svid().is_some(),
            "{code:?} takes nothing away"
        );
    }
}

// conformance: BA-34+ BA-36+ BA-36- BA-37+
#[tokio::test(start_paused = true)]
async fn messages_replace_one_another_and_one_without_svids_is_none() {
    let world = world();
    let friend = TestAuthority::new("friend.test");
    let bundles = [world.authority.bundle(), friend.bundle()];
    let svids = world.authority.snapshot("/web").svids().to_vec();
    let federated = IdentitySnapshot::new(svids, bundles.into_iter().collect());
    world.api.publish(&federated);
    let source = world.client.x509_source(process()).connect().await.unwrap();
    assert!(
        source
            .snapshot()
            .bundles()
            .get(friend.trust_domain())
            .is_some()
    );

    world.api.publish_message(X509svidResponse::default());
    world.api.told(Rpc::X509Svid, 2).await;
    let heard = async {
        while source.health().last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        source.health().last_error.unwrap()
    };
    let why = timeout(Duration::from_secs(5), heard).await.unwrap();
    assert!(
        matches!(*why, WorkloadApiError::Unusable(Flaw::NoSvid)),
        "{why}"
    );
    assert!(source.snapshot().svid().is_some());

    let mut changes = source.subscribe();
    world.api.publish(&world.authority.snapshot("/web"));
    changes.changed().await.unwrap();
    assert!(
        source
            .snapshot()
            .bundles()
            .get(friend.trust_domain())
            .is_none()
    );
}

// conformance: BA-49+ BA-49- BA-55+ BA-59+
#[tokio::test]
async fn identities_are_told_apart_by_hint_and_the_first_of_a_hint_counts() {
    let World {
        authority,
        api,
        client,
    } = world();
    let hinted = |path: &str, hint: &str| authority.svid(path).with_hint(hint);
    let svids = vec![
        hinted("/web", "internal"),
        hinted("/db", "internal"),
        hinted("/x", "external"),
    ];
    let snapshot = IdentitySnapshot::new(svids, authority.bundle().into());
    api.publish_message(message(&snapshot));
    let shown = client.fetch_x509(&process()).await.unwrap();
    let shown: Vec<_> = shown
        .svids()
        .iter()
        .map(|svid| (svid.id().path(), svid.hint()))
        .collect();
    assert_eq!(shown, [("/web", "internal"), ("/x", "external")]);
    let tokens = [("/web", "t"), ("/db", "t")];
    let tokens = tokens.map(|(path, hint)| authority.jwt_svid(path, &["a"]).with_hint(hint));
    api.mint_jwt(move |_| tokens.to_vec());
    let shown = client
        .fetch_jwt_svids(&process(), ["a"], None)
        .await
        .unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(*shown[0].id(), WEB);
}

#[tokio::test]
async fn a_source_asks_where_its_client_does_and_nowhere_else() {
    let world = world();
    world.api.give(&world.authority, "/web");
    let other = FakeWorkloadApi::in_memory();
    other.give(&world.authority, "/other");
    let source = world.client.x509_source(process());
    let source = source.endpoint(other.endpoint()).connect().await.unwrap();
    assert_eq!(*source.snapshot().svid().unwrap().id(), WEB);
    let bundles = world.client.x509_bundle_source(process());
    bundles.endpoint(other.endpoint()).connect().await.unwrap();
    assert_eq!(other.calls(), 0);
}
