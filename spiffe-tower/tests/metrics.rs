//! What is counted of calls, read off a recorder.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::Empty;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::{Peer, SourceExt, spiffe_id};
use spiffe_tower::{AuthorizeLayer, Connection};
use tower::{Layer, ServiceExt, service_fn};

type Nothing = Empty<&'static [u8]>;

#[tokio::test]
async fn refused_and_ended_calls_are_counted_by_reason() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let service = AuthorizeLayer::new(anyone())
        .rpc("/ops", exactly(spiffe_id!("spiffe://a.test/ops")))
        .unwrap()
        .layer(service_fn(async |request: Request<Nothing>| {
            if request.uri().path() == "/never" {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Nothing::new()))
        }));
    let ca = TestAuthority::new("a.test");
    let (source, peer) = connected(&ca).await;
    let call = |path: &str, peer: Option<&Peer>| {
        let mut request = Request::get(path).body(Nothing::new()).unwrap();
        let connection = peer.map(|peer| Connection::new(peer.clone(), None, None));
        connection.map(|connection| request.extensions_mut().insert(connection));
        service.clone().oneshot(request)
    };
    call("/", Some(&peer)).await.unwrap();
    assert!(heard(&snapshotter).is_empty());
    call("/ops", Some(&peer)).await.unwrap();
    assert_eq!(heard(&snapshotter), [("denied".to_owned(), 1)].into());
    call("/", None).await.unwrap();
    call("/ops", None).await.unwrap();
    assert_eq!(heard(&snapshotter), [("unproven".to_owned(), 2)].into());

    let going_on = call("/never", Some(&peer));
    let distrusting = async { source.publish(TestAuthority::new("a.test").snapshot("/s")) };
    let (ended, ()) = tokio::join!(going_on, distrusting);
    ended.unwrap();
    assert_eq!(heard(&snapshotter), [("ended".to_owned(), 1)].into());
    call("/", Some(&peer)).await.unwrap();
    assert_eq!(heard(&snapshotter), [("ended".to_owned(), 1)].into());
}

/// A source, and a peer that it verified.
async fn connected(ca: &TestAuthority) -> (Arc<SnapshotCell>, Peer) {
    let source = ca.source("/s");
    let server = source.server(anyone()).acceptor();
    let client = ca.source("/c").client(anyone()).connector();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(server.accept(near), client.connect(far));
    connected.unwrap();
    (source, accepted.unwrap().peer().clone())
}

/// How many calls were refused since it was asked last, by reason.
fn heard(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    let refused = all.filter(|(key, ..)| key.key().name() == "spiffe_calls_refused_total");
    refused
        .filter_map(|(key, _, _, value)| {
            let reason = key.key().labels().next()?.value().to_owned();
            match value {
                DebugValue::Counter(times) if times > 0 => Some((reason, times)),
                _ => None,
            }
        })
        .collect()
}
