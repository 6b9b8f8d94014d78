//! What is served: the newest bundle, at one path, to whoever reads.

use http::{Method, StatusCode};
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{BundleEndpoint, EndpointUrl};

use crate::federated::{MINUTE, url};
use crate::{ask, get, read};

// conformance: FD-21+ FD-21- FD-22+ FD-23+ FD-23- FD-40+ FD-40- FD-41+ FD-42+ FD-42- TB-2+ TB-4+ TB-6+
#[tokio::test]
async fn the_newest_bundle_is_served_as_the_standard_has_it() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let source = old.source("/s");
    let endpoint = BundleEndpoint::new(
        &url("https://a.test/bundle.json"),
        source.clone(),
        old.trust_domain().clone(),
    );
    let mut numbers = Vec::new();
    for authority in [&old, &new, &old] {
        source.publish(authority.snapshot("/s"));
        let (answer, body) = ask(&endpoint, get("/bundle.json?whatever")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(
            answer.headers()["cache-control"],
            "no-cache",
            "nobody keeps it unasked"
        );
        assert_eq!(answer.headers()["content-length"], body.len().to_string());
        assert!(
            std::str::from_utf8(&body).unwrap().starts_with('{'),
            "no byte order mark"
        );
        let bundle = read(authority, &body);
        let expected = authority.bundle();
        assert_eq!(bundle.x509_authorities(), expected.x509_authorities());
        assert_eq!(bundle.jwt_authorities(), expected.jwt_authorities());
        assert_eq!(bundle.refresh_hint(), Some(5 * MINUTE));
        numbers.push(bundle.sequence().unwrap());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let hinted = endpoint.refresh_hint(MINUTE);
    source.publish(new.snapshot("/s"));
    let (_, body) = ask(&hinted, get("/bundle.json")).await;
    assert_eq!(read(&new, &body).refresh_hint(), Some(MINUTE));
}

#[tokio::test]
async fn only_reading_at_the_one_path_is_answered() {
    let authority = TestAuthority::new("a.test");
    let at = url("https://a.test/bundle.json");
    let bundle = authority.bundle();
    let endpoint = BundleEndpoint::by(&at, move || Some(bundle.clone()));
    for path in ["/", "/bundle.json/", "/bundle", "//bundle.json"] {
        let (answer, _) = ask(&endpoint, get(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = get("/bundle.json");
        *request.method_mut() = method.clone();
        let (answer, _) = ask(&endpoint, request).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
    let (whole, body) = ask(&endpoint, get("/bundle.json")).await;
    let mut request = get("/bundle.json");
    *request.method_mut() = Method::HEAD;
    let (head, none) = ask(&endpoint, request).await;
    assert_eq!((head.status(), none.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers(), whole.headers());
    assert!(!body.is_empty());

    let nothing = BundleEndpoint::by(&at, || None);
    let (answer, _) = ask(&nothing, get("/bundle.json")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn who_has_it_already_is_told_so_and_sent_nothing() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let source = old.source("/s");
    let domain = old.trust_domain().clone();
    let endpoint = BundleEndpoint::new(&url("https://a.test/"), source.clone(), domain);
    let (answer, _) = ask(&endpoint, get("/")).await;
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let asked_with = |known: String| {
        let mut request = get("/");
        let known = known.parse().unwrap();
        request.headers_mut().insert("if-none-match", known);
        ask(&endpoint, request)
    };
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let (answer, body) = asked_with(known.clone()).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(answer.headers()["etag"], tag);
        assert!(body.is_empty());
    }
    for known in ["\"x\"", "", ",,", "\""] {
        let (answer, _) = asked_with(known.to_owned()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{known}");
    }
    source.publish(new.snapshot("/s"));
    let (answer, body) = asked_with(tag.clone()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        read(&new, &body).x509_authorities(),
        new.bundle().x509_authorities()
    );
}

// conformance: FD-24+ FD-25+ FD-25- FD-44+ FD-44-
#[tokio::test]
async fn an_endpoint_that_moved_says_where_to_and_that_it_is_for_now() {
    let (here, there) = (url("https://a.test/old"), url("https://b.test:8443/new"));
    let endpoint = BundleEndpoint::elsewhere(&here, &there);
    let (answer, _) = ask(&endpoint, get("/old")).await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "https://b.test:8443/new");
    // There is no way to say another kind of target.
    assert!("http://b.test/".parse::<EndpointUrl>().is_err());
}
