//! The client of the Workload API, call by call, against a fake that follows a script.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spiffe_core::bundle::BundleSet;
use spiffe_core::proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidResponse, Witsvid, WitsvidResponse, X509BundlesResponse,
};
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority, message};
use spiffe_core::workload_api::{Endpoint, Flaw, Limits, WorkloadApiClient, WorkloadApiError};
use spiffe_core::{IdentitySnapshot, SpiffeId, spiffe_id, with_causes};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const DB: SpiffeId = spiffe_id!("spiffe://a.test/db");

fn world() -> (TestAuthority, FakeWorkloadApi, WorkloadApiClient) {
    let api = FakeWorkloadApi::in_memory();
    let client = WorkloadApiClient::new(api.endpoint());
    (TestAuthority::new("a.test"), api, client)
}

fn code(error: &WorkloadApiError) -> Option<Code> {
    match error {
        WorkloadApiError::Refused(status) => Some(status.code()),
        _ => None,
    }
}

// The fake lets no call in without the header, and knows no call but those of the standard: one that
// forgot it, or one that a vendor made up, would be refused.
// conformance: WE-3+ WE-6+ WE-6- WE-27+ WE-27- WA-23+ WA-23- WA-27+ WA-33+ WA-33- WA-40+ WA-51+
#[tokio::test(start_paused = true)]
async fn every_call_is_understood() {
    let (authority, api, client) = world();
    api.publish(&authority.snapshot("/web"));
    let own = authority.trust_domain().clone();
    let bundle = authority.bundle();
    assert_eq!(
        *client.fetch_x509().await.unwrap().svid().unwrap().id(),
        WEB
    );

    let x509 = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(x509.get(&own), Some(&authority.x509_bundle()));

    let jwt = client.fetch_jwt_bundles().await.unwrap();
    let jwt = jwt.get(&own).unwrap();
    assert_eq!(jwt.jwt_authorities().len(), 1);
    assert!(jwt.x509_authorities().is_empty(), "nobody else's keys");

    let token = authority.jwt_svid("/web", &["db", "queue"]);
    let minted = token.clone();
    api.mint_jwt(move |_| vec![minted.clone()]);
    let svid = client.fetch_jwt_svid(["db", "queue"], Some(&WEB)).await;
    assert_eq!(svid.unwrap().token(), token.token());

    let verdict = client.validate_jwt_svid("db", token.token()).await.unwrap();
    assert_eq!(*verdict.id(), WEB);
    assert_eq!(verdict.claims()["aud"], serde_json::json!(["db", "queue"]));
    let why = client.validate_jwt_svid("other", token.token()).await;
    assert_eq!(code(&why.unwrap_err()), Some(Code::InvalidArgument));

    let wit = authority.wit_draft("/web");
    api.publish_wit(std::slice::from_ref(&wit));
    let wits = client.fetch_wit_svids(Some(&WEB)).await.unwrap();
    assert_eq!(*wits[0].id(), WEB);
    let bundles = client.fetch_wit_bundles().await.unwrap();
    assert_eq!(
        bundles.get(&own).unwrap().wit_authorities(),
        bundle.wit_authorities()
    );
}

// conformance: WE-23+
#[tokio::test(start_paused = true)]
async fn every_call_tells_what_the_api_answered() {
    for answer in [
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::Unavailable,
    ] {
        let (authority, api, client) = world();
        api.refuse(answer);
        let token = authority.jwt_svid("/web", &["db"]);
        let errors = [
            client.fetch_x509().await.map(drop),
            client.fetch_x509_bundles().await.map(drop),
            client.fetch_jwt_bundles().await.map(drop),
            client.fetch_jwt_svids(["db"], None).await.map(drop),
            client
                .validate_jwt_svid("db", token.token())
                .await
                .map(drop),
            client.fetch_wit_svids(None).await.map(drop),
            client.fetch_wit_bundles().await.map(drop),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            assert_eq!(code(&error.unwrap_err()), Some(answer), "call {number}");
        }
    }
}

// conformance: WA-27-
#[tokio::test(start_paused = true)]
async fn a_token_for_nobody_is_not_asked_for() {
    let (authority, api, client) = world();
    let none: [&str; 0] = [];
    let token = authority.jwt_svid("/web", &["db"]);
    for why in [
        client.fetch_jwt_svids(none, None).await.map(drop),
        client.fetch_jwt_svids(["db", ""], None).await.map(drop),
        client.validate_jwt_svid("", token.token()).await.map(drop),
    ] {
        assert!(matches!(why, Err(WorkloadApiError::NoAudience)));
    }
    assert_eq!(
        api.calls_of(Rpc::JwtSvid) + api.calls_of(Rpc::ValidateJwt),
        0
    );
}

// conformance: WA-31+ WA-31- WA-13+ WA-13- WA-56+ WA-56-
#[tokio::test(start_paused = true)]
async fn of_the_tokens_sent_those_are_taken_that_were_asked_for() {
    let (authority, api, client) = world();
    let sent = |id: &SpiffeId, token: String, hint: &str| Jwtsvid {
        spiffe_id: id.to_string(),
        svid: token,
        hint: hint.to_owned(),
    };
    let web = |audience| authority.jwt_draft("/web", audience).token();
    let db = authority.jwt_draft("/db", &["q"]).token();
    let ended = authority.jwt_draft("/web", &["q"]).expired().token();
    let long = "x".repeat(1025);
    let good = |hint| sent(&WEB, web(&["q"]), hint);
    for (name, svids, wanted, taken) in [
        ("one", vec![good("")], None, Ok(vec![("/web", "")])),
        (
            "two, in their order",
            vec![sent(&DB, db.clone(), "b"), good("a")],
            None,
            Ok(vec![("/db", "b"), ("/web", "a")]),
        ),
        (
            "the first of a hint",
            vec![good("a"), sent(&DB, db.clone(), "a")],
            None,
            Ok(vec![("/web", "a")]),
        ),
        (
            "a long hint",
            vec![good(&long)],
            None,
            Ok(vec![("/web", "")]),
        ),
        (
            "one of two is garbled",
            vec![
                sent(&WEB, "a.b.c".to_owned(), ""),
                sent(&DB, db.clone(), ""),
            ],
            None,
            Ok(vec![("/db", "")]),
        ),
        ("none", vec![], None, Err("the message holds no SVID")),
        (
            "another's",
            vec![sent(&WEB, db.clone(), "")],
            None,
            Err("the SVID is said to be spiffe://a.test/web and is spiffe://a.test/db"),
        ),
        (
            "not the one asked for",
            vec![sent(&DB, db.clone(), "")],
            Some(&WEB),
            Err("the SVID is said to be spiffe://a.test/web and is spiffe://a.test/db"),
        ),
        (
            "for somebody else",
            vec![sent(&WEB, web(&["r"]), "")],
            None,
            Err("the token of spiffe://a.test/web is not for the audience \"q\""),
        ),
        (
            "ended",
            vec![sent(&WEB, ended, "")],
            None,
            Err("the token of spiffe://a.test/web has expired"),
        ),
        (
            "no ID",
            vec![Jwtsvid {
                svid: web(&["q"]),
                ..Jwtsvid::default()
            }],
            None,
            Err("the identity of an SVID is malformed"),
        ),
        (
            "too many",
            vec![good(""); 101],
            None,
            Err("the message holds more than 100 SVIDs"),
        ),
    ] {
        let message = JwtsvidResponse { svids };
        api.answer_jwt(move |_| Ok(message.clone()));
        let got = client.fetch_jwt_svids(["q"], wanted).await;
        match taken {
            Ok(taken) => {
                let got = got.unwrap();
                let got = got.iter().map(|svid| (svid.id().path(), svid.hint()));
                assert_eq!(got.collect::<Vec<_>>(), taken, "{name}");
            }
            Err(why) => {
                let got = with_causes(&got.unwrap_err());
                assert!(got.contains(why), "{name}: {got}");
            }
        }
    }
}

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

// conformance: WA-48+ WA-48- WA-50+ WA-50-
#[tokio::test(start_paused = true)]
async fn wit_svids_replace_the_ones_before_them() {
    let (authority, api, client) = world();
    let sent = |path, hint: &str| {
        let draft = authority.wit_draft(path);
        Witsvid {
            spiffe_id: draft.wit_svid().id().to_string(),
            wit_svid: draft.token(),
            wit_svid_key: draft.private_jwk(),
            hint: hint.to_owned(),
        }
    };
    api.publish_wit_message(WitsvidResponse {
        svids: vec![sent("/web", "a"), sent("/db", "a"), sent("/db", "")],
    });
    let mut watch = client.watch_wit_svids(None).await.unwrap();
    let got = watch.next().await.unwrap();
    let got = got.iter().map(|svid| (svid.id().path(), svid.hint()));
    assert_eq!(got.collect::<Vec<_>>(), [("/web", "a"), ("/db", "")]);

    let mut other_key = sent("/web", "");
    other_key.wit_svid_key = sent("/web", "").wit_svid_key;
    api.publish_wit_message(WitsvidResponse {
        svids: vec![other_key, sent("/db", "")],
    });
    let got = watch.next().await.unwrap();
    assert_eq!(got.len(), 1, "a key that is not the token's own");
    assert_eq!(*got[0].id(), DB);

    api.refuse(Code::PermissionDenied);
    let why = watch.next().await.unwrap_err();
    assert_eq!(code(&why), Some(Code::PermissionDenied));
}

// conformance: WA-43+ WA-43- WE-23+ WE-23-
#[tokio::test(start_paused = true)]
async fn an_api_without_wit_svids_is_asked_once() {
    let (_, api, client) = world();
    api.refuse(Code::Unimplemented);
    let why = client.watch_wit_svids(None).await.unwrap_err();
    assert_eq!(code(&why), Some(Code::Unimplemented));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(api.calls_of(Rpc::WitSvid), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_can_be_reached_in_a_way_of_ones_own() {
    let (authority, api, _) = world();
    api.publish(&authority.snapshot("/web"));
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let (near, far) = tokio::io::duplex(1024);
    drop(far);
    let once = Mutex::new(Some(near));
    let endpoint = Endpoint::custom("over there", move || {
        count.fetch_add(1, Ordering::Relaxed);
        let io = once.lock().unwrap().take();
        std::future::ready(io.ok_or(io::Error::from(io::ErrorKind::HostUnreachable)))
    });
    assert_eq!(endpoint.to_string(), "over there");
    let client = WorkloadApiClient::new(endpoint);
    let why = client.fetch_x509().await.unwrap_err();
    assert!(
        !matches!(why, WorkloadApiError::Unreachable { .. }),
        "{why}"
    );
    let why = client.fetch_x509().await.unwrap_err();
    assert_eq!(
        with_causes(&why),
        "cannot connect to over there: host unreachable"
    );
    assert_eq!(dialled.load(Ordering::Relaxed), 2);

    let hangs = Endpoint::custom("far away", || {
        std::future::pending::<io::Result<DuplexStream>>()
    });
    let begin = Instant::now();
    let why = WorkloadApiClient::new(hangs)
        .fetch_x509()
        .await
        .unwrap_err();
    assert!(matches!(why, WorkloadApiError::Unreachable { .. }), "{why}");
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
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

#[tokio::test]
async fn tcp_is_spoken_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let client = WorkloadApiClient::new(endpoint.parse().unwrap());
    let greeting = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.unwrap();
        preface
    };
    let (fetched, preface) = tokio::join!(client.fetch_x509(), greeting);
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(fetched.is_err());
}
