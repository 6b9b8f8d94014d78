//! The client of the Delegated Identity API against a fake that follows a script.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::delegated::{DelegatedIdentityClient, Workload};
use spiffe_core::proto::workload::{X509BundlesResponse, X509svidResponse};
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority, TestClock, message};
use spiffe_core::workload_api::{Flaw, Limits, WorkloadApiError};
use spiffe_core::{
    BundleSet, IdentitySnapshot, IdentitySource, SourceExt, SpiffeId, TrustDomain, spiffe_id,
};
use tokio::time::{Instant, timeout};
use tonic::Code;

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");

struct World {
    authority: TestAuthority,
    api: FakeWorkloadApi,
    client: DelegatedIdentityClient,
}

fn world() -> World {
    let now = SystemClock.now();
    let api = FakeWorkloadApi::in_memory();
    World {
        authority: TestAuthority::at("a.test", now),
        client: DelegatedIdentityClient::new(api.endpoint())
            .with_clock(Arc::new(TestClock::at(now))),
        api,
    }
}

fn web() -> Workload {
    Workload::selectors([
        "unix:uid:1000".parse().unwrap(),
        "unix:gid:7".parse().unwrap(),
    ])
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_call_is_understood_and_says_whom_it_is_about() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.give(&authority, "/web");
    let own = authority.trust_domain();

    let snapshot = client.fetch_x509(&web()).await.unwrap();
    let svid = snapshot.svid().unwrap();
    assert_eq!(*svid.id(), WEB);
    assert_eq!(snapshot.bundles().get(own), Some(&authority.x509_bundle()));

    let bundles = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(bundles.get(own), Some(&authority.x509_bundle()));
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    assert_eq!(bundles.get(own).unwrap().jwt_authorities().len(), 1);

    let process = Workload::process(7).unwrap();
    let tokens = client
        .fetch_jwt_svids(&process, ["db", "queue"])
        .await
        .unwrap();
    assert_eq!((tokens[0].id(), tokens[0].audience().len()), (&WEB, 2));
    assert_eq!(api.asked_about(), ["unix:uid:1000 unix:gid:7", "pid 7"]);

    let why = client.fetch_jwt_svids(&web(), [""; 0]).await.unwrap_err();
    assert!(matches!(why, WorkloadApiError::NoAudience), "{why}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_carries_it() {
    let directory = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("a.test");
    let api = FakeWorkloadApi::on_socket(&directory.path().join("admin.sock")).unwrap();
    api.give(&authority, "/web");
    let client = DelegatedIdentityClient::new(api.endpoint());
    let snapshot = client.fetch_x509(&web()).await.unwrap();
    assert_eq!(*snapshot.svid().unwrap().id(), WEB);
}

#[tokio::test(start_paused = true)]
async fn a_workload_believes_whom_its_entries_federate_with_and_nobody_else() {
    let World {
        authority,
        api,
        client,
    } = world();
    let friend = TestAuthority::new("friend.test");
    let foreign = TestAuthority::new("foreign.test");
    let svids = vec![authority.svid("/web")];
    let federated = [authority.bundle(), friend.bundle()].into_iter().collect();
    let snapshot = IdentitySnapshot::new(svids, federated);
    api.publish_message(message(&snapshot));
    let all: BundleSet = [&authority, &friend, &foreign]
        .map(TestAuthority::bundle)
        .into_iter()
        .collect();
    api.publish_bundles(&all);

    let shown = client.fetch_x509(&web()).await.unwrap();
    let believed: Vec<_> = shown
        .bundles()
        .iter()
        .map(|b| b.trust_domain().as_str())
        .collect();
    assert_eq!(believed, ["a.test", "friend.test"]);
    let all = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(all.iter().count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_follows_either_stream_and_talks_for_the_workload() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.give(&authority, "/web");
    let source = client.x509_source(web()).connect().await.unwrap();
    let mut changes = source.subscribe();

    let renewed = authority.snapshot("/web");
    api.publish(&renewed);
    changes.changed().await.unwrap();
    assert_eq!(
        source.snapshot().svid().unwrap().leaf(),
        renewed.svid().unwrap().leaf()
    );

    // Two authorities of the trust domain: only the stream of bundles tells.
    let next = TestAuthority::new("a.test");
    let both = [authority.x509_bundle(), next.x509_bundle()];
    let both = both
        .iter()
        .flat_map(|bundle| bundle.x509_authorities().to_vec());
    let both = authority
        .x509_bundle()
        .with_x509_authorities(both.collect());
    api.publish_bundles(&both.into());
    changes.changed().await.unwrap();
    let own: TrustDomain = "a.test".parse().unwrap();
    let snapshot = source.snapshot();
    assert_eq!(
        snapshot
            .bundles()
            .get(&own)
            .unwrap()
            .x509_authorities()
            .len(),
        2
    );

    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = source.server(anyone()).acceptor();
    let cross = next.source("/client");
    cross.publish(IdentitySnapshot::new(
        next.snapshot("/client").svids().to_vec(),
        authority.bundle().into(),
    ));
    let connector = cross.client(exactly(WEB)).connector();
    let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
    assert_eq!(ours.unwrap().peer().id().path(), "/client");
    assert_eq!(*theirs.unwrap().peer().id(), WEB);
}

#[tokio::test(start_paused = true)]
async fn codes_mean_what_they_mean_to_a_workload() {
    for (code, stops) in [
        (Code::InvalidArgument, true),
        (Code::Unimplemented, true),
        (Code::Unavailable, false),
        (Code::Internal, false),
    ] {
        let World {
            authority,
            api,
            client,
        } = world();
        api.give(&authority, "/web");
        let source = client.x509_source(web()).connect().await.unwrap();
        api.refuse(code);
        let health = async {
            loop {
                if source.health().last_error.is_some() {
                    return source.health();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let health = timeout(Duration::from_secs(5), health).await.unwrap();
        assert_eq!(health.stopped, stops, "{code:?}");
        assert!(
            source.snapshot().svid().is_some(),
            "{code:?} takes nothing away"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_without_identity_or_a_delegate_without_leave_has_nothing() {
    for say in [
        |api: &FakeWorkloadApi| api.publish_message(X509svidResponse::default()),
        |api: &FakeWorkloadApi| api.refuse(Code::PermissionDenied),
    ] {
        let World {
            authority,
            api,
            client,
        } = world();
        api.give(&authority, "/web");
        let source = client.x509_source(web()).connect().await.unwrap();
        let mut changes = source.subscribe();
        say(&api);
        changes.changed().await.unwrap();
        assert!(source.snapshot().svid().is_none());
        api.give(&authority, "/web");
        changes.changed().await.unwrap();
        assert_eq!(
            *source.snapshot().svid().unwrap().id(),
            WEB,
            "it is asked for again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_one_half_and_not_the_other_is_asked_again() {
    for half in [
        |api: &FakeWorkloadApi, _: &TestAuthority| api.publish_x509_bundles(Default::default()),
        |api: &FakeWorkloadApi, ca: &TestAuthority| {
            api.publish_message(message(&ca.snapshot("/web")));
        },
    ] {
        let World {
            authority,
            api,
            client,
        } = world();
        half(&api, &authority);
        let source = client.x509_source(web()).connect_lazy().unwrap();
        tokio::time::sleep(Duration::from_secs(31)).await;
        let why = source.health().last_error.unwrap();
        assert_eq!(why.to_string(), "memory has not answered within 30s");
        api.give(&authority, "/web");
        source.ready().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_leaves_the_valid_svid_in_place() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.give(&authority, "/web");
    let source = client.x509_source(web()).connect().await.unwrap();
    let old = source.snapshot();
    let mut bad = message(&authority.snapshot("/web"));
    let other = message(&authority.snapshot("/web"));
    bad.svids[0]
        .x509_svid_key
        .clone_from(&other.svids[0].x509_svid_key);
    api.publish_message(bad);
    api.told(Rpc::X509Svid, 2).await;
    api.publish(&authority.snapshot("/web"));
    let mut changes = source.subscribe();
    changes.changed().await.unwrap();
    assert_eq!(
        source.snapshot().generation(),
        old.generation() + 1,
        "nothing in between"
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_may_send_is_bounded() {
    let World {
        authority,
        api,
        client,
    } = world();
    let snapshot = IdentitySnapshot::new(
        vec![authority.svid("/web"), authority.svid("/db")],
        authority.bundle().into(),
    );
    api.publish(&snapshot);
    let few = client.clone().with_limits(Limits::default().with_svids(1));
    let why = few.fetch_x509(&web()).await.unwrap_err();
    assert!(
        matches!(
            why,
            WorkloadApiError::Unusable(Flaw::TooManySvids { limit: 1 })
        ),
        "{why}"
    );
    let small = client
        .clone()
        .with_limits(Limits::default().with_message(64));
    assert!(small.fetch_x509(&web()).await.is_err());
    let none = client.with_limits(Limits::default().with_bundles(0));
    let why = none.fetch_x509_bundles().await.unwrap_err();
    assert!(
        matches!(
            why,
            WorkloadApiError::Unusable(Flaw::TooManyBundles { limit: 0 })
        ),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_svid_whose_bundle_is_not_there_yet_waits_for_it() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.publish_message(message(&authority.snapshot("/web")));
    api.publish_x509_bundles(X509BundlesResponse::default());
    let begin = Instant::now();
    let connecting = client.x509_source(web()).connect();
    let publish = async {
        api.told(Rpc::X509Bundles, 1).await;
        api.publish_bundles(&authority.bundle().into());
    };
    let (source, ()) = tokio::join!(connecting, publish);
    assert_eq!(*source.unwrap().snapshot().svid().unwrap().id(), WEB);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "the stream went on"
    );
}

#[tokio::test(start_paused = true)]
async fn bundles_have_sources_of_their_own_that_find_an_agent_again() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.publish_bundles(&authority.bundle().into());
    let x509 = client.x509_bundle_source().connect().await.unwrap();
    let jwt = client.jwt_bundle_source().connect().await.unwrap();
    let own = authority.trust_domain();
    assert!(
        x509.bundles()
            .get(own)
            .unwrap()
            .jwt_authorities()
            .is_empty()
    );
    assert!(
        jwt.bundles()
            .get(own)
            .unwrap()
            .x509_authorities()
            .is_empty()
    );

    let mut changes = (x509.subscribe(), jwt.subscribe());
    api.go_away();
    api.come_back();
    let next = TestAuthority::new("a.test");
    api.publish_bundles(&next.bundle().into());
    changes.0.changed().await.unwrap();
    changes.1.changed().await.unwrap();
    assert_eq!(x509.bundles().get(own), Some(&next.x509_bundle()));
}

#[tokio::test(start_paused = true)]
async fn a_source_asks_where_its_client_does_and_nowhere_else() {
    let World {
        authority,
        api,
        client,
    } = world();
    api.give(&authority, "/web");
    let other = FakeWorkloadApi::in_memory();
    other.give(&authority, "/other");
    let source = client.x509_source(web()).endpoint(other.endpoint());
    let source = source.connect().await.unwrap();
    assert_eq!(*source.snapshot().svid().unwrap().id(), WEB);
    assert_eq!(other.calls(), 0);
}
