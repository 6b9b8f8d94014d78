//! How much is read, and how long is waited.

use std::time::Duration;

use spiffe_core::IdentitySnapshot;
use spiffe_core::proto::workload::JwtBundlesResponse;
use spiffe_core::testing::message;
use spiffe_core::workload_api::{Flaw, Limits, WorkloadApiError};
use tokio::time::Instant;
use tonic::Code;

use crate::{code, world};

#[tokio::test(start_paused = true)]
async fn what_a_peer_may_send_is_bounded_and_the_bounds_can_be_moved() {
    let (authority, api, client) = world();
    let snapshot = authority.snapshot("/web");
    let two = IdentitySnapshot::new(
        vec![authority.svid("/web"), authority.svid("/db")],
        snapshot.bundles().clone(),
    );
    api.publish(&two);
    let strict = client.clone().with_limits(Limits::default().with_svids(1));
    let why = strict.fetch_x509().await.unwrap_err();
    assert!(matches!(
        why,
        WorkloadApiError::Unusable(Flaw::TooManySvids { limit: 1 })
    ));

    let names = (0..201).map(|i| (format!("spiffe://d{i}.test"), b"{\"keys\":[]}".to_vec()));
    api.publish_jwt_bundles(JwtBundlesResponse {
        bundles: names.collect(),
    });
    let why = client.fetch_jwt_bundles().await.unwrap_err();
    assert!(matches!(
        why,
        WorkloadApiError::Unusable(Flaw::TooManyBundles { limit: 200 })
    ));
    let lax = client
        .clone()
        .with_limits(Limits::default().with_bundles(201));
    assert_eq!(lax.fetch_jwt_bundles().await.unwrap().iter().count(), 201);

    let mut lists = message(&snapshot);
    lists.crl = vec![Vec::new(); 201];
    api.publish_message(lists);
    let why = client.fetch_x509().await.unwrap_err();
    assert!(matches!(
        why,
        WorkloadApiError::Unusable(Flaw::TooManyCrls { limit: 200 })
    ));

    let mut large = message(&snapshot);
    large.crl = vec![vec![0; Limits::MESSAGE]];
    api.publish_message(large);
    let why = client.fetch_x509().await.unwrap_err();
    assert_eq!(code(&why), Some(Code::OutOfRange));
    let lax = Limits::default().with_message(2 * Limits::MESSAGE);
    let got = client.clone().with_limits(lax).fetch_x509().await.unwrap();
    assert!(got.crls().is_empty(), "that was no revocation list");
}

// It answers pings, so that the connection looks well.
#[tokio::test(start_paused = true)]
async fn an_api_that_never_answers_is_given_up() {
    let (authority, api, client) = world();
    api.publish(&authority.snapshot("/web"));
    api.answer_after(Duration::from_secs(24 * 3600));
    for call in 0..11 {
        let begin = Instant::now();
        let why = match call {
            0 => client.fetch_x509().await.map(drop),
            1 => client.fetch_x509_bundles().await.map(drop),
            2 => client.fetch_jwt_bundles().await.map(drop),
            3 => client.fetch_wit_bundles().await.map(drop),
            4 => client.fetch_jwt_svids(["db"], None).await.map(drop),
            5 => client.watch_x509().await.map(drop),
            6 => client.watch_x509_bundles().await.map(drop),
            7 => client.watch_jwt_bundles().await.map(drop),
            8 => client.watch_wit_bundles().await.map(drop),
            9 => client.watch_wit_svids(None).await.map(drop),
            _ => client.fetch_wit_svids(None).await.map(drop),
        };
        let silent = matches!(why, Err(WorkloadApiError::Silent { .. }));
        assert!(silent, "call {call}: {why:?}");
        assert_eq!(begin.elapsed(), Duration::from_secs(30), "call {call}");
    }
}
