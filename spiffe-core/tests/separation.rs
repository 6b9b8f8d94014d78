//! What is good for one thing is good for nothing else: keys of one kind of document, servers of
//! another protocol, and bundles of another name.

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::JwtSource;
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority};
use spiffe_core::verify::{JwtRules, Role, VerifyError, VerifyJwtError, jwt, x509_peer};
use spiffe_core::workload_api::{Endpoint, WorkloadApiClient};
use spiffe_core::{BundleSet, IdentitySource, X509Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

// conformance: WA-17+ WA-17- WA-23+ WA-23- WA-33+ WA-33-
#[tokio::test(start_paused = true)]
async fn keys_of_one_kind_of_document_prove_no_other() {
    let authority = TestAuthority::new("a.test");
    let api = FakeWorkloadApi::in_memory();
    api.publish(&authority.snapshot("/web"));
    api.publish_bundles(&BundleSet::from(authority.bundle()));
    let x509 = X509Source::builder().endpoint(api.endpoint());
    let x509 = x509.connect().await.unwrap();
    let tokens = JwtSource::builder().endpoint(api.endpoint());
    let tokens = tokens.connect().await.unwrap();

    let now = SystemClock.now();
    let (chain, token) = (
        [authority.svid("/db").leaf().der().clone()],
        authority.jwt_svid("/db", &["web"]),
    );
    let peer = |bundles: &BundleSet| x509_peer(&chain, bundles, Role::Client, now).map(drop);
    let bearer = |bundles: &BundleSet| {
        let judged = jwt(token.token(), bundles, &["web"], now, &JwtRules::default());
        judged.map(drop)
    };
    let home = authority.trust_domain().clone();
    let (for_peers, for_tokens) = (x509.snapshot().bundles().clone(), tokens.bundles());
    assert_eq!(peer(&for_peers), Ok(()));
    assert_eq!(bearer(&for_tokens), Ok(()));
    let why = VerifyJwtError::UnknownKey(home.clone());
    assert_eq!(bearer(&for_peers), Err(why));
    assert_eq!(peer(&for_tokens), Err(VerifyError::NoAuthority(home)));
}

// conformance: WA-40-
#[tokio::test(start_paused = true)]
async fn a_token_is_verified_without_asking_anybody() {
    let authority = TestAuthority::new("a.test");
    let api = FakeWorkloadApi::in_memory();
    api.publish_bundles(&BundleSet::from(authority.bundle()));
    let source = JwtSource::builder().endpoint(api.endpoint());
    let source = source.connect().await.unwrap();
    let calls = api.calls();
    let token = authority.jwt_svid("/db", &["web"]);
    source.verify(token.token(), &["web"]).unwrap();
    assert_eq!(api.calls(), calls);
    assert_eq!(api.calls_of(Rpc::ValidateJwt), 0);
}

// conformance: WE-3-
#[tokio::test]
async fn a_server_of_another_protocol_is_no_workload_api() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let web_server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 14];
        stream.read_exact(&mut asked).await.unwrap();
        let answer = b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        asked
    };
    let client = WorkloadApiClient::new(Endpoint::unix(&path).unwrap());
    let (asked, answered) = tokio::join!(web_server, client.fetch_x509());
    assert_eq!(&asked, b"PRI * HTTP/2.0");
    assert!(answered.is_err());
}

// conformance: TB-19-
#[test]
fn a_set_has_one_bundle_for_a_name_and_so_has_a_map() {
    let [first, last] = [1, 2].map(|sequence| {
        let bundle = TestAuthority::new("a.test").bundle();
        bundle.with_sequence(Some(sequence))
    });
    let set: BundleSet = [first, last.clone()].into_iter().collect();
    assert_eq!(set.iter().collect::<Vec<_>>(), [&last]);
    let map = set.to_bundle_map().unwrap();
    assert_eq!(map.matches("\"a.test\"").count(), 1);
    assert_eq!(
        BundleSet::from_bundle_map(map.as_bytes()).unwrap().value,
        set
    );
}
