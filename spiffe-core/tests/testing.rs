//! What a test is given: bad peers, an API that errs and is slow, and a start that takes no time.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::{FakeWorkloadApi, Impostor, Rpc, TestAuthority, TestClock};
use spiffe_core::workload_api::WorkloadApiClient;
use spiffe_core::{IdentitySource, JwtSource, SourceExt, X509Source};
use tokio::io::duplex;
use tonic::Code;

/// Whether a server of ours lets the impostor in, and whether a client of ours goes on with it.
async fn believed(authority: &TestAuthority, impostor: &Impostor) -> (bool, bool) {
    let tls = authority.source("/server").server(anyone()).tls12(true);
    let acceptor = tls.acceptor();
    let (near, far) = duplex(4096);
    let as_client = tokio::join!(acceptor.accept(far), async {
        if let Ok(stream) = impostor.connect(near).await {
            let server = &Impostor::presented(&stream)[0];
            assert_eq!(server.spiffe_id().unwrap().path(), "/server");
        }
    });
    let tls = authority.source("/client").client(anyone()).tls12(true);
    let connector = tls.connector();
    let (near, far) = duplex(4096);
    let as_server = tokio::join!(connector.connect(near), impostor.accept(far));
    (as_client.0.is_ok(), as_server.0.is_ok())
}

// conformance: X509-1- X509-2- X509-3- X509-16- X509-21- X509-22- X509-25-
#[tokio::test]
async fn impostors_are_turned_away_by_both_sides() {
    let authority = TestAuthority::new("a.test");
    let web = || authority.draft("/web");
    for (case, draft, good) in [
        ("good", web(), true),
        ("expired", web().expired(), false),
        ("two names", web().also_named("/b"), false),
        ("no name", web().without_name(), false),
        ("no path", web().named("spiffe://a.test"), false),
        ("an authority", web().as_authority(), false),
        ("signs certificates", web().with_cert_sign(), false),
        ("no key usage", web().without_key_usage(), false),
        ("unknown signer", web().signed_by_stranger(), false),
        ("changed", web().tampered(), false),
        ("another's key", web().with_foreign_key(), false),
    ] {
        let impostor = draft.impostor();
        assert_eq!(
            believed(&authority, &impostor).await,
            (good, good),
            "{case}"
        );
        let old = impostor.over_tls12();
        let told = believed(&authority, &old).await;
        assert_eq!(told, (good, good), "{case}, TLS 1.2");
    }
    let acceptor = authority.source("/server").server(anyone()).acceptor();
    let (near, far) = duplex(4096);
    let nobody = Impostor::anonymous();
    let (accepted, _) = tokio::join!(acceptor.accept(far), nobody.connect(near));
    assert!(accepted.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_given_with_one_call_and_rotated_with_another() {
    let (api, authority) = (FakeWorkloadApi::in_memory(), TestAuthority::new("a.test"));
    api.give(&authority, "/web");
    let x509 = X509Source::builder().endpoint(api.endpoint());
    let x509 = x509.connect().await.unwrap();
    let jwt = JwtSource::builder().endpoint(api.endpoint());
    let jwt = jwt.connect().await.unwrap();
    let token = jwt.svid(["db", "log"]).await.unwrap();
    assert_eq!(token.audience(), ["db", "log"]);
    let verified = jwt.verify(token.token(), &["db"]).unwrap();
    assert_eq!(verified.id(), x509.snapshot().svid().unwrap().id());

    let mut rotated = x509.subscribe();
    rotated.borrow_and_update();
    let old = x509.snapshot();
    api.give(&authority, "/web");
    rotated.changed().await.unwrap();
    let serial = |snapshot: &spiffe_core::IdentitySnapshot| {
        snapshot.svid().unwrap().leaf().serial().to_vec()
    };
    assert_ne!(serial(&old), serial(&x509.snapshot()));
}

#[tokio::test(start_paused = true)]
async fn the_api_errs_as_often_as_it_is_told_and_for_one_call_alone() {
    let (api, authority) = (FakeWorkloadApi::in_memory(), TestAuthority::new("a.test"));
    api.give(&authority, "/web");
    api.refuse_next(Rpc::X509Svid, Code::Unavailable, 2);
    let clock = Arc::new(TestClock::at(SystemClock.now()));
    let x509 = X509Source::builder().endpoint(api.endpoint()).clock(clock);
    let x509 = x509.connect().await.unwrap();
    assert_eq!(api.calls_of(Rpc::X509Svid), 3);

    api.refuse_rpc(Rpc::JwtSvid, Code::PermissionDenied);
    let client = WorkloadApiClient::new(api.endpoint());
    assert!(client.fetch_jwt_svids(["db"], None).await.is_err());
    assert!(client.fetch_x509().await.is_ok());

    let calls = api.calls();
    api.end_streams();
    api.called(Rpc::X509Svid, calls + 1).await;
    assert!(x509.snapshot().svid().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_api_is_as_slow_as_it_is_told() {
    let (api, authority) = (FakeWorkloadApi::in_memory(), TestAuthority::new("a.test"));
    api.give(&authority, "/web");
    api.answer_after(Duration::from_secs(7));
    let begun = tokio::time::Instant::now();
    let client = WorkloadApiClient::new(api.endpoint());
    client.fetch_x509().await.unwrap();
    client.fetch_jwt_svids(["db"], None).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(14));
}

#[tokio::test(start_paused = true)]
async fn the_api_judges_tokens_by_the_clock_of_the_test() {
    let once = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let clock = Arc::new(TestClock::at(once));
    let authority = TestAuthority::at("a.test", once);
    let api = FakeWorkloadApi::in_memory().clock(clock.clone());
    api.give(&authority, "/web");
    let client = WorkloadApiClient::new(api.endpoint()).with_clock(clock);
    let svid = authority.jwt_svid("/web", &["db"]);
    let verdict = client.validate_jwt_svid("db", svid.token()).await.unwrap();
    assert_eq!(verdict.id(), svid.id());
    tokio::time::advance(Duration::from_secs(3600)).await;
    let late = client.validate_jwt_svid("db", svid.token()).await;
    assert!(late.unwrap_err().to_string().contains("expired"));
}

#[tokio::test]
async fn what_tests_are_made_of_is_printed_without_keys() {
    let authority = TestAuthority::new("a.test");
    for (printed, name) in [
        (
            format!("{:?}", FakeWorkloadApi::in_memory()),
            "FakeWorkloadApi",
        ),
        (format!("{authority:?}"), "TestAuthority"),
        (format!("{:?}", authority.draft("/web")), "SvidDraft"),
        (format!("{:?}", authority.intermediate()), "AuthorityDraft"),
        (
            format!("{:?}", authority.jwt_draft("/web", &["db"])),
            "TokenDraft",
        ),
    ] {
        assert!(printed.starts_with(name), "{printed}");
        for secret in ["KeyPair", "PrivateKey", "SigningKey"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}

/// The best of ten, because a machine that builds something else beside is not what is measured.
#[tokio::test]
async fn an_authority_an_api_and_a_source_start_within_fifty_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut best = Duration::MAX;
    for round in 0..10 {
        let begun = Instant::now();
        let authority = TestAuthority::new("a.test");
        let socket = folder.path().join(round.to_string());
        let api = FakeWorkloadApi::on_socket(&socket).unwrap();
        api.give(&authority, "/web");
        let source = X509Source::builder().endpoint(api.endpoint());
        let source = source.connect().await.unwrap();
        assert!(source.snapshot().svid().is_some());
        best = best.min(begun.elapsed());
    }
    println!("authority, Workload API on a socket and source: {best:?}");
    assert!(best < Duration::from_millis(50), "{best:?}");
}
