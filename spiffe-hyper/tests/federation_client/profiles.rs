//! Whom each profile believes.

use std::sync::Arc;

use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::HandshakeError;
use spiffe_core::{BundleSet, IdentitySnapshot, TrustBundle};
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, EndpointTls, FetchError, Held, Relationship,
};

use crate::federated::{Net, Tls, WebCa, document, id, self_serving, url};
use crate::{fetch, fetch_newer, web};

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
