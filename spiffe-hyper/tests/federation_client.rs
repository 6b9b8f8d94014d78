//! The client of bundle endpoints, against servers in memory.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod federated;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use federated::{Log, Net, Tls, WebCa, document, id, redirect, self_serving, status, text, url};
use http::Response;
use http_body_util::Full;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::HandshakeError;
use spiffe_core::{BundleSet, IdentitySnapshot, TrustBundle};
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, EndpointTls, FetchError, Fetched, Held, Relationship, UrlError,
};
use tokio::io::AsyncWriteExt;

async fn fetch(client: &BundleClient, from: &Relationship) -> Result<Fetched, FetchError> {
    fetch_newer(client, from, None).await
}

async fn fetch_newer(
    client: &BundleClient,
    from: &Relationship,
    held: Option<&Held>,
) -> Result<Fetched, FetchError> {
    client.fetch(from, held, &BundleSet::default()).await
}

fn web(authority: &TestAuthority, at: &str) -> Relationship {
    Relationship::https_web(authority.trust_domain().clone(), url(at))
}

// conformance: FD-10+ FD-13+ FD-17+ FD-26+ FD-27+ FD-28+ FD-36+ FD-38+ FD-45+ FD-11+ FD-18+ FD-19+
#[tokio::test]
async fn bundles_are_had_by_either_profile() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let client = net.client(&ca);
    let source = partner.source("/bundles");
    for (host, by_web) in [("h.test", true), ("b.test", false), ("10.0.0.7", true)] {
        let at = url(&format!("https://{host}/"));
        let tls = match by_web {
            true => ca.endpoint(&at),
            false => EndpointTls::https_spiffe(source.clone()),
        };
        let domain = partner.trust_domain().clone();
        net.serve(
            host,
            tls,
            BundleEndpoint::new(&at, source.clone(), domain.clone()),
        );
        let relationship = match by_web {
            true => Relationship::https_web(domain, at),
            false => self_serving(&partner),
        };
        let fetched = fetch(&client, &relationship).await.unwrap();
        assert!(fetched.replaced && fetched.skipped.is_empty());
        let bundle = fetched.held.bundle();
        assert_eq!(
            bundle.x509_authorities(),
            partner.bundle().x509_authorities()
        );
        assert_eq!(bundle.jwt_authorities(), partner.bundle().jwt_authorities());
        assert_eq!(bundle.trust_domain(), partner.trust_domain());
        assert_eq!(net.called(), [host]);
    }
}

// conformance: FD-10- FD-38- FD-45-
#[tokio::test]
async fn neither_profile_believes_what_the_other_does() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, bundle) = (net.client(&ca), partner.bundle());
    let (one, two) = (bundle.clone(), bundle.clone());
    net.script("b.test", ca.tls("b.test"), move |_| document(&one));
    let error = fetch(&client, &self_serving(&partner)).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Handshake(HandshakeError::Unverified(_))),
        "{error}"
    );
    net.script(
        "b.test",
        Tls::spiffe(partner.source("/bundles")),
        move |_| document(&two),
    );
    let error = fetch(&client, &web(&partner, "https://b.test/"))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Web(_)), "{error}");
}

// conformance: FD-17- FD-18- FD-19- FD-26- FD-27-
#[tokio::test]
async fn a_server_of_the_web_must_be_the_host_of_the_url() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let client = net.client(&ca);
    for (why, host, tls) in [
        ("another host", "h.test", ca.tls("g.test")),
        ("a host below", "h.test", ca.tls("a.h.test")),
        ("another address", "10.0.0.7", ca.tls("10.0.0.8")),
        ("a name for an address", "10.0.0.7", ca.tls("h.test")),
        ("another authority", "h.test", WebCa::new().tls("h.test")),
        ("expired", "h.test", ca.expired_tls("h.test")),
    ] {
        let bundle = partner.bundle();
        let asked = net.script(host, tls, move |_| document(&bundle));
        let at = format!("https://{host}/");
        let error = fetch(&client, &web(&partner, &at)).await.unwrap_err();
        assert!(matches!(error, FetchError::Web(_)), "{why}: {error}");
        assert_eq!(asked.count(), 0, "{why}");
    }
    // What the machine believes by itself does not have our authority in it.
    let bundle = partner.bundle();
    let coming = net.script("h.test", ca.tls("h.test"), move |_| document(&bundle));
    let told = net.clone();
    let untold = BundleClient::new().dialling(move |_, _| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        told.connect("h.test", far);
        std::future::ready(Ok(near))
    });
    let error = fetch(&untold, &web(&partner, "https://h.test/"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Web(_) | FetchError::NoRoots(_)),
        "{error}"
    );
    assert_eq!(coming.count(), 0);
}

// conformance: FD-45-
#[tokio::test]
async fn a_server_must_have_the_very_id_of_the_endpoint() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), self_serving(&partner));
    let impostor = TestAuthority::new("b.test");
    let stranger = TestAuthority::new("c.test");
    for (why, source) in [
        ("another path", partner.source("/other")),
        ("a path below", partner.source("/bundles/1")),
        ("another authority", impostor.source("/bundles")),
        ("another trust domain", stranger.source("/bundles")),
    ] {
        let bundle = partner.bundle();
        let asked = net.script("b.test", Tls::spiffe(source), move |_| document(&bundle));
        let error = fetch(&client, &relationship).await.unwrap_err();
        assert!(matches!(error, FetchError::Handshake(_)), "{why}: {error}");
        assert_eq!(asked.count(), 0, "{why}");
    }
    let nothing_told = Relationship::https_spiffe(
        partner.trust_domain().clone(),
        url("https://b.test/"),
        id("spiffe://b.test/bundles"),
    );
    let all = BundleSet::from(partner.bundle());
    let error = client.fetch(&nothing_told, None, &all).await.unwrap_err();
    assert!(matches!(error, FetchError::NoTrust(_)), "{error}");
}

// conformance: FD-46+ FD-46- FD-7+
#[tokio::test]
async fn the_newest_bundle_is_what_the_next_connection_is_judged_by() {
    let (net, ca) = (Net::default(), WebCa::new());
    let [first, second, third] = [(); 3].map(|()| TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), self_serving(&first));
    let both = |old: &TestAuthority, new: &TestAuthority, number| {
        let keys = |of: &TestAuthority| of.bundle().x509_authorities().to_vec();
        let bundle = TrustBundle::new(old.trust_domain().clone(), [keys(old), keys(new)].concat());
        bundle.with_sequence(Some(number))
    };
    let mut held: Option<Held> = None;
    for (signer, bundle) in [
        (&first, both(&first, &second, 1)),
        (&second, both(&second, &third, 2)),
        (&third, both(&third, &third, 3)),
    ] {
        let tls = Tls::spiffe(signer.source("/bundles"));
        net.script("b.test", tls, move |_| document(&bundle));
        let fetched = fetch_newer(&client, &relationship, held.as_ref());
        held = Some(fetched.await.unwrap().held);
    }
    assert_eq!(held.unwrap().bundle().sequence(), Some(3));
    let by_the_first = fetch(&client, &relationship).await.unwrap_err();
    assert!(
        matches!(by_the_first, FetchError::Handshake(_)),
        "{by_the_first}"
    );
}

// conformance: FD-24+ FD-25+ FD-29+ FD-30+ FD-43+ FD-44+ FD-48+ FD-49+
#[tokio::test]
async fn redirects_are_followed_to_a_server_that_proves_the_same() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, source) = (net.client(&ca), partner.source("/bundles"));
    let domain = partner.trust_domain().clone();
    let (here, there) = (url("https://h.test/"), url("https://g.test/x"));
    net.serve(
        "h.test",
        ca.endpoint(&here),
        BundleEndpoint::elsewhere(&here, &there),
    );
    let endpoint = BundleEndpoint::new(&there, source.clone(), domain.clone());
    net.serve("g.test", ca.endpoint(&there), endpoint.clone());
    fetch(&client, &web(&partner, "https://h.test/"))
        .await
        .unwrap();
    assert_eq!(net.called(), ["h.test", "g.test"]);

    let relationship = self_serving(&partner);
    let tls = || EndpointTls::https_spiffe(source.clone());
    net.serve(
        "b.test",
        tls(),
        BundleEndpoint::elsewhere(relationship.url(), &there),
    );
    net.serve("g.test", tls(), endpoint);
    fetch(&client, &relationship).await.unwrap();
    assert_eq!(net.called(), ["b.test", "g.test"]);

    for code in [301, 302, 303, 307, 308] {
        let say = move |_: &_| redirect(code, "//g.test/x");
        net.script("b.test", Tls::spiffe(source.clone()), say);
        fetch(&client, &relationship).await.unwrap();
    }
    net.called();
    let none = client.clone().redirects(0);
    let error = fetch(&none, &relationship).await.unwrap_err();
    assert!(
        matches!(error, FetchError::TooManyRedirects { limit: 0 }),
        "{error}"
    );
    assert_eq!(
        net.called(),
        ["b.test"],
        "where that is switched off, no further"
    );
}

// conformance: FD-24- FD-29- FD-30- FD-43- FD-48- FD-49-
#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, relationship) = (net.client(&ca), self_serving(&partner));
    let tls = Tls::spiffe(partner.source("/bundles"));
    for (location, why) in [
        ("http://g.test/", UrlError::Scheme),
        ("http://b.test/", UrlError::Scheme),
        ("https://u:p@g.test/", UrlError::UserInfo),
        ("https:///", UrlError::NoHost),
        ("file:///etc/passwd", UrlError::Scheme),
    ] {
        net.script("b.test", tls.clone(), move |_| redirect(307, location));
        let error = fetch(&client, &relationship).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Redirect(told) if told == why),
            "{location}: {error}"
        );
        assert_eq!(net.called(), ["b.test"], "{location}");
    }
    net.script("b.test", tls.clone(), |_| status(307));
    let error = fetch(&client, &relationship).await.unwrap_err();
    assert!(matches!(error, FetchError::RedirectToNowhere), "{error}");

    // Another ID at the target, and a certificate of the web in place of an SVID.
    for other in [Tls::spiffe(partner.source("/other")), ca.tls("g.test")] {
        net.script("b.test", tls.clone(), |_| redirect(307, "https://g.test/"));
        let bundle = partner.bundle();
        let asked = net.script("g.test", other, move |_| document(&bundle));
        let error = fetch(&client, &relationship).await.unwrap_err();
        assert!(matches!(error, FetchError::Handshake(_)), "{error}");
        assert_eq!(asked.count(), 0);
    }
    // In the profile of the web: another host's certificate.
    net.script("h.test", ca.tls("h.test"), |_| {
        redirect(307, "https://g.test/")
    });
    let bundle = partner.bundle();
    net.script("g.test", ca.tls("h.test"), move |_| document(&bundle));
    let error = fetch(&client, &web(&partner, "https://h.test/"))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Web(_)), "{error}");

    net.script("b.test", tls, |_| redirect(307, "/"));
    net.called();
    let error = fetch(&client, &relationship).await.unwrap_err();
    assert!(
        matches!(error, FetchError::TooManyRedirects { limit: 5 }),
        "{error}"
    );
    assert_eq!(net.called().len(), 6);
}

// conformance: FD-25- FD-31+ FD-31- FD-32+ FD-32- FD-44- FD-50+ FD-50-
#[tokio::test]
async fn where_a_redirect_led_is_not_remembered() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    let (client, bundle) = (net.client(&ca), partner.bundle());
    let tagged = move |_: &_| {
        let mut answer = document(&bundle);
        answer
            .headers_mut()
            .insert("etag", "\"1\"".parse().unwrap());
        answer
    };
    let spiffe = Tls::spiffe(partner.source("/bundles"));
    for (relationship, from, to) in [
        (self_serving(&partner), spiffe.clone(), spiffe),
        (
            web(&partner, "https://b.test/"),
            ca.tls("b.test"),
            ca.tls("g.test"),
        ),
    ] {
        // For good, as a server that knows no better says.
        let first = net.script("b.test", from, |_| redirect(301, "https://g.test/"));
        let second = net.script("g.test", to, tagged.clone());
        let mut held = None;
        for _ in 0..3 {
            let fetched = fetch_newer(&client, &relationship, held.as_ref()).await;
            held = Some(fetched.unwrap().held);
            assert_eq!(net.called(), ["b.test", "g.test"]);
        }
        // What one server says of its answers is told to no other.
        assert_eq!(first.last().get("if-none-match"), None);
        assert_eq!(second.last()["if-none-match"], "\"1\"");
    }
}

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

#[tokio::test]
async fn an_endpoint_is_never_shown_who_we_are() {
    let (net, ca, partner) = (Net::default(), WebCa::new(), TestAuthority::new("b.test"));
    // It asks for a certificate, and does not insist.
    let snapshot = IdentitySnapshot::new(vec![partner.svid("/bundles")], partner.bundle().into());
    let source = Arc::new(spiffe_core::source::SnapshotCell::new(snapshot));
    let asking = spiffe_core::tls::ServerTls::new(source, spiffe_core::authorizer::anyone())
        .client_auth_optional();
    let bundle = partner.bundle();
    // Whoever shows one gets no answer from it.
    net.script("b.test", Tls::Spiffe(Arc::new(asking)), move |_| {
        document(&bundle)
    });
    fetch(&net.client(&ca), &self_serving(&partner))
        .await
        .unwrap();
}
