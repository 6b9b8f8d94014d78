//! Where redirects lead, and where not.

use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{BundleEndpoint, EndpointTls, FetchError, UrlError};

use crate::federated::{Net, Tls, WebCa, document, redirect, self_serving, status, url};
use crate::{fetch, fetch_newer, web};

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
