//! What the fuzz target `bundle_endpoint` holds true for any bytes. A plain test runs the same over what
//! is near to good ones.

use http::{HeaderValue, Request, StatusCode};
use spiffe_core::TrustBundle;
use spiffe_hyper::federation::{BundleEndpoint, EndpointUrl};
use tower_service::Service;

/// All of it: a URL and a reference, one on a line, or tags.
pub(crate) fn endpoint(input: &[u8]) {
    known(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    url(first, second);
    // No fuzzer finds the scheme soon.
    url(&format!("https://{first}"), second);
}

/// What is read as the URL of an endpoint is https, names a host and nobody, and reads back as the same;
/// so is whatever a server may lead on to from there. Tells whether it was read.
pub(crate) fn url(text: &str, reference: &str) -> bool {
    let Ok(url) = text.parse::<EndpointUrl>() else {
        return false;
    };
    holds(&url);
    if let Ok(target) = url.resolve(reference) {
        holds(&target);
    }
    true
}

fn holds(url: &EndpointUrl) {
    let text = url.to_string();
    let rest = text.strip_prefix("https://").expect("the scheme");
    let authority = rest.split(['/', '?', '#']).next().expect("a first part");
    assert!(
        !authority.contains('@') && !url.host().is_empty() && url.port() > 0,
        "{text}"
    );
    assert!(url.path().starts_with('/'), "{text}");
    assert_eq!(text.parse().as_ref(), Ok(url), "{text}");
}

/// Whatever a client says that it has, it gets the bundle or hears that it has it.
pub(crate) fn known(tags: &[u8]) -> StatusCode {
    let url: EndpointUrl = "https://a.test/".parse().expect("a URL");
    let bundle = TrustBundle::new("a.test".parse().expect("a name"), Vec::new());
    let mut endpoint = BundleEndpoint::by(&url, move || Some(bundle.clone()));
    let mut request = Request::new(());
    if let Ok(tags) = HeaderValue::from_bytes(tags) {
        request.headers_mut().insert("if-none-match", tags);
    }
    let answer = endpoint.call(request).into_inner().expect("no error");
    let status = answer.status();
    assert!(
        status == StatusCode::OK || status == StatusCode::NOT_MODIFIED,
        "{status}"
    );
    status
}
