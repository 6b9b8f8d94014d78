//! What is made of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{FetchError, Held};
use tokio::io::AsyncWriteExt;

use crate::federated::{Log, Net, Tls, WebCa, document, self_serving, status, text};
use crate::{fetch, fetch_newer, web};

// conformance: FD-22- FD-41-
#[tokio::test(start_paused = true)]
async fn what_is_no_bundle_is_a_typed_error() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let client = net.client(&ca).max_len(10_000);
    let relationship = web(&partner, "https://h.test/");
    let good = partner.bundle().to_document().unwrap();
    let with_bom = format!("\u{feff}{good}");
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    type Check = fn(&FetchError) -> bool;
    let not_json: Check = |error| matches!(error, FetchError::Document(_));
    let cases: [(&str, Response<Full<Bytes>>, Check); 9] = [
        ("nothing", text(""), not_json),
        ("a web page", text("<html>"), not_json),
        ("a byte order mark", text(with_bom), not_json),
        ("two bytes each", text(utf16), not_json),
        ("no keys", text("{}"), not_json),
        ("too long", text(" ".repeat(10_001)), |error| {
            matches!(error, FetchError::TooLarge { limit: 10_000 })
        }),
        (
            "an error page",
            status(500),
            |error| matches!(error, FetchError::Status(code) if *code == 500),
        ),
        (
            "no content",
            status(204),
            |error| matches!(error, FetchError::Status(code) if *code == 204),
        ),
        (
            "nothing newer than nothing",
            status(304),
            |error| matches!(error, FetchError::Status(code) if *code == 304),
        ),
    ];
    for (what, answer, check) in cases {
        net.script("h.test", ca.tls("h.test"), move |_| answer.clone());
        let error = fetch(&client, &relationship).await.unwrap_err();
        assert!(check(&error), "{what}: {error}");
    }
    let refused = status(404).map(|_| Full::new(Bytes::from(good)));
    net.script("h.test", ca.tls("h.test"), move |_| refused.clone());
    let error = fetch(&client, &relationship).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Status(_)),
        "a bundle, and not with 200: {error}"
    );

    let _silent = net.listen("h.test");
    let error = fetch(
        &client.clone().timeout(Duration::from_secs(7)),
        &relationship,
    )
    .await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, FetchError::TimedOut(limit) if limit.as_secs() == 7),
        "{error}"
    );
    net.unplug("h.test");
    let error = fetch(&client, &relationship).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_left() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let client = net.client(&ca).max_len(100_000);
    let relationship = web(&partner, "https://h.test/");
    // Once it says beforehand how long it is, and once it does not and never ends.
    let long = |_: &_| text(vec![b' '; 100_001]);
    net.script("h.test", ca.tls("h.test"), long);
    let told = fetch(&client, &relationship).await.unwrap_err();
    let mut coming = net.listen("h.test");
    let endless = async {
        let mut io = ca.tls("h.test").accept(coming.next().await).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut said = io.write_all(head).await;
        let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
        while said.is_ok() {
            said = io.write_all(chunk.as_bytes()).await;
        }
    };
    let (untold, ()) = tokio::join!(fetch(&client, &relationship), endless);
    for error in [told, untold.unwrap_err()] {
        assert!(
            matches!(error, FetchError::TooLarge { limit: 100_000 }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn who_has_the_newest_is_not_sent_it_again() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), web(&partner, "https://h.test/"));
    let bundle = partner.bundle();
    let asked = net.script("h.test", ca.tls("h.test"), move |request| {
        if request.headers().contains_key("if-none-match") {
            return status(304);
        }
        let mut answer = document(&bundle);
        let headers = answer.headers_mut();
        headers.insert("etag", "\"7\"".parse().unwrap());
        headers.insert(
            "last-modified",
            "Sun, 22 Nov 2026 08:00:00 GMT".parse().unwrap(),
        );
        answer
    });
    let first = fetch(&client, &relationship).await.unwrap();
    assert!(first.replaced);
    let again = fetch_newer(&client, &relationship, Some(&first.held));
    let again = again.await.unwrap();
    assert!(!again.replaced);
    assert_eq!(again.held.bundle(), first.held.bundle());
    assert_eq!(asked.last()["if-none-match"], "\"7\"");
    assert_eq!(
        asked.last()["if-modified-since"],
        "Sun, 22 Nov 2026 08:00:00 GMT"
    );
    // What was had elsewhere, the endpoint never said anything of.
    let elsewhere = Held::from(partner.bundle());
    let fetched = fetch_newer(&client, &relationship, Some(&elsewhere));
    fetched.await.unwrap();
    assert_eq!(asked.last().get("if-none-match"), None);
}

// conformance: FD-7- FD-8+ FD-8- TB-3-
#[tokio::test]
async fn an_older_bundle_is_refused_and_told() {
    let (net, ca) = (Net::default(), WebCa::new());
    let (old, new) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), web(&old, "https://h.test/"));
    let held = Held::from(new.bundle().with_sequence(Some(5)));
    for (number, taken) in [(Some(4), false), (Some(5), true), (None, true)] {
        let bundle = old.bundle().with_sequence(number);
        let offered = bundle.clone();
        net.script("h.test", ca.tls("h.test"), move |_| document(&bundle));
        let (log, fetched) = {
            let log = Log::start();
            let fetched = fetch_newer(&client, &relationship, Some(&held));
            (log.clone(), fetched.await)
        };
        match fetched {
            Ok(fetched) => {
                assert!(taken, "{number:?}");
                assert_eq!(fetched.held.bundle(), &offered);
            }
            Err(FetchError::Rollback { held, offered, .. }) => {
                assert!(!taken, "{number:?}");
                assert_eq!((held, offered), (5, 4));
            }
            Err(error) => panic!("{number:?}: {error}"),
        }
        assert!(log.text().contains("WARN"), "{number:?}: {}", log.text());
    }
    let unnumbered = Held::from(new.bundle());
    let bundle = old.bundle();
    net.script("h.test", ca.tls("h.test"), move |_| document(&bundle));
    let fetched = fetch_newer(&client, &relationship, Some(&unnumbered));
    assert_eq!(
        fetched.await.unwrap().held.bundle(),
        &old.bundle(),
        "the last is the newest"
    );
}

// conformance: FD-14+ FD-14- FD-28- FD-47-
#[tokio::test]
async fn whose_bundle_it_is_nothing_that_comes_can_say() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let mut claims: serde_json::Value =
        serde_json::from_str(&partner.bundle().to_document().unwrap()).unwrap();
    for member in ["trust_domain", "spiffe_trust_domain", "iss", "sub"] {
        claims[member] = "a.test".into();
    }
    let claims = claims.to_string();
    net.script("a.test", ca.tls("a.test"), move |_| text(claims.clone()));
    let relationship = web(&partner, "https://a.test/");
    let fetched = fetch(&net.client(&ca), &relationship).await.unwrap();
    assert_eq!(fetched.held.bundle().trust_domain(), partner.trust_domain());
}

// conformance: FD-55+ FD-55-
#[tokio::test]
async fn each_fetch_is_one_line_of_the_log() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), self_serving(&partner));
    let (bundle, number) = (partner.bundle(), Arc::new(AtomicUsize::new(6)));
    let said = number.clone();
    let tls = Tls::spiffe(partner.source("/bundles"));
    net.script("b.test", tls, move |_| {
        let sequence = said.load(Ordering::SeqCst) as u64;
        document(&bundle.clone().with_sequence(Some(sequence)))
    });
    let mut held: Option<Held> = None;
    for (outcome, sequence) in [("replaced", 6), ("unchanged", 6), ("replaced", 7)] {
        number.store(sequence, Ordering::SeqCst);
        let log = Log::start();
        let fetched = fetch_newer(&client, &relationship, held.as_ref());
        held = Some(fetched.await.unwrap().held);
        let text = log.text();
        for part in [
            "bundle fetched".to_owned(),
            "url=https://b.test/".to_owned(),
            "trust_domain=b.test".to_owned(),
            "endpoint=spiffe://b.test/bundles".to_owned(),
            format!("sequence={sequence}"),
            format!("outcome=\"{outcome}\""),
        ] {
            assert!(text.contains(&part), "{part} is not in {text}");
        }
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    net.unplug("b.test");
    let log = Log::start();
    fetch(&client, &relationship).await.unwrap_err();
    let text = log.text();
    assert!(
        text.contains("outcome=\"failed\"") && text.contains("url=https://b.test/"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}
