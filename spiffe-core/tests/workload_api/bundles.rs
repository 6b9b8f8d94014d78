//! Bundles, good and bad.

use std::collections::HashMap;

use spiffe_core::bundle::BundleSet;
use spiffe_core::proto::workload::{JwtBundlesResponse, X509BundlesResponse};
use spiffe_core::testing::TestAuthority;
use spiffe_core::workload_api::{Flaw, WorkloadApiError};

use crate::world;

// conformance: WA-11+ WA-11- WA-26+ WA-26- WA-37+ WA-37- WA-54+ WA-54-
#[tokio::test(start_paused = true)]
async fn bundles_replace_the_ones_before_them() {
    let (authority, api, client) = world();
    let friend = TestAuthority::new("b.test");
    let both: BundleSet = [authority.bundle(), friend.bundle()].into_iter().collect();
    api.publish_bundles(&both);
    let mut x509 = client.watch_x509_bundles().await.unwrap();
    let mut jwt = client.watch_jwt_bundles().await.unwrap();
    let mut wit = client.watch_wit_bundles().await.unwrap();
    for watch in [&mut x509, &mut jwt, &mut wit] {
        assert_eq!(watch.next().await.unwrap().iter().count(), 2);
    }
    api.publish_bundles(&BundleSet::from(authority.bundle()));
    for watch in [&mut x509, &mut jwt, &mut wit] {
        let bundles = watch.next().await.unwrap();
        assert!(bundles.get(friend.trust_domain()).is_none());
        assert!(bundles.get(authority.trust_domain()).is_some());
    }
}

// C-14 and C-19: one bad part does not take the others down.
// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn a_malformed_bundle_is_left_out_and_the_others_count() {
    let (authority, api, client) = world();
    let good = authority.bundle().to_jwt_jwks().unwrap().into_bytes();
    let der = authority.x509_bundle().x509_authorities()[0].der().to_vec();
    let named = |bytes: Vec<u8>, bad: Vec<u8>| {
        HashMap::from([
            ("spiffe://a.test".to_owned(), bytes.clone()),
            ("spiffe://b.test".to_owned(), bad),
            ("no trust domain".to_owned(), bytes),
        ])
    };
    for bad in ["", "{}", "[]", "{\"keys\":1}", "{\"keys\":[],\"keys\":[]}"] {
        api.publish_jwt_bundles(JwtBundlesResponse {
            bundles: named(good.clone(), bad.as_bytes().to_vec()),
        });
        let bundles = client.fetch_jwt_bundles().await.unwrap();
        let names = bundles.iter().map(|bundle| bundle.trust_domain().as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["a.test"], "{bad}");
    }
    for bad in [vec![], vec![0x30, 3, 1], vec![0; 100]] {
        api.publish_x509_bundles(X509BundlesResponse {
            crl: Vec::new(),
            bundles: named(der.clone(), bad),
        });
        let bundles = client.fetch_x509_bundles().await.unwrap();
        assert_eq!(bundles.iter().count(), 1);
    }
    // One key that is of no use among good ones.
    let mut jwks: serde_json::Value = serde_json::from_slice(&good).unwrap();
    let odd = serde_json::json!({"kty": "new", "kid": "x", "use": "jwt-svid"});
    jwks["keys"].as_array_mut().unwrap().insert(0, odd);
    api.publish_jwt_bundles(JwtBundlesResponse {
        bundles: HashMap::from([("spiffe://a.test".to_owned(), jwks.to_string().into_bytes())]),
    });
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    let bundle = bundles.get(authority.trust_domain()).unwrap();
    assert_eq!(bundle.jwt_authorities().len(), 1);
}

// conformance: WA-13-
#[tokio::test(start_paused = true)]
async fn a_message_without_any_bundle_is_no_message() {
    let (_, api, client) = world();
    api.publish_x509_bundles(X509BundlesResponse::default());
    api.publish_jwt_bundles(JwtBundlesResponse::default());
    for why in [
        client.fetch_x509_bundles().await.unwrap_err(),
        client.fetch_jwt_bundles().await.unwrap_err(),
    ] {
        assert!(
            matches!(why, WorkloadApiError::Unusable(Flaw::NoBundle)),
            "{why}"
        );
    }
}
