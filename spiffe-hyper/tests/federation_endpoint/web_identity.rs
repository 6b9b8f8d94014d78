//! Certificates of the web, from files.

use std::path::Path;
use std::time::Duration;

use spiffe_core::BundleSet;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{
    BundleClient, BundleEndpoint, EndpointTls, FetchError, Relationship, WebIdentityError,
};

use crate::federated::{Net, WebCa, url};

// conformance: FD-18+ FD-19+ FD-19-
#[tokio::test(start_paused = true)]
async fn the_certificate_of_the_web_is_for_the_host_and_renewed_without_a_word() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let at = url("https://h.test/");
    let (certificate, key) = ca.files("h.test");
    let tls = EndpointTls::https_web(&at, &certificate, &key).unwrap();
    let endpoint = BundleEndpoint::new(
        &at,
        authority.source("/s"),
        authority.trust_domain().clone(),
    );
    net.serve("h.test", tls, endpoint);
    let relationship = Relationship::https_web(authority.trust_domain().clone(), at.clone());
    let fetch = async |client: &BundleClient| {
        client
            .fetch(&relationship, None, &BundleSet::default())
            .await
    };
    let (of_old, later) = (net.client(&ca), WebCa::new());
    let of_new = net.client(&later);
    fetch(&of_old).await.unwrap();
    assert!(fetch(&of_new).await.is_err());

    let replace = |(new_certificate, new_key): (String, String)| {
        std::fs::write(&certificate, new_certificate).unwrap();
        std::fs::write(&key, new_key).unwrap();
    };
    // What is no good is not taken: half of a pair, another host's, of another time, no PEM.
    let (other, own) = (later.pem("h.test"), later.pem("h.test"));
    for bad in [
        (other.0, own.1.clone()),
        later.pem("g.test"),
        later.pem_of("h.test", 2020),
        later.pem_of("h.test", 3000),
        (String::new(), own.1.clone()),
        (own.0.clone(), String::new()),
    ] {
        replace(bad);
        tokio::time::sleep(Duration::from_secs(11)).await;
        fetch(&of_old).await.unwrap();
    }
    replace(own);
    tokio::time::sleep(Duration::from_secs(11)).await;
    fetch(&of_new).await.unwrap();
    assert!(fetch(&of_old).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_told_its_url_presents_what_it_has_at_the_root() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let (certificate, key) = ca.files("h.test");
    let tls = EndpointTls::https_web_of_any_host(&certificate, &key).unwrap();
    let bundle = authority.bundle();
    let endpoint = BundleEndpoint::at_root(move || Some(bundle.clone()));
    net.serve("h.test", tls.look_every(Duration::from_secs(60)), endpoint);
    let (client, later) = (net.client(&ca), WebCa::new());
    let fetch = async |client: &BundleClient, at: &str| {
        let relationship = Relationship::https_web(authority.trust_domain().clone(), url(at));
        let believed = BundleSet::default();
        client.fetch(&relationship, None, &believed).await
    };
    let fetched = fetch(&client, "https://h.test/").await.unwrap();
    assert_eq!(
        fetched.held.bundle().x509_authorities(),
        authority.bundle().x509_authorities()
    );
    let elsewhere = fetch(&client, "https://h.test/bundle").await.unwrap_err();
    assert!(matches!(elsewhere, FetchError::Status(status) if status == 404));

    // The files are looked at as often as was said.
    let (new_certificate, new_key) = later.pem("h.test");
    std::fs::write(&certificate, new_certificate).unwrap();
    std::fs::write(&key, new_key).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    fetch(&client, "https://h.test/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let of_new = net.client(&later);
    fetch(&of_new, "https://h.test/").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn certificate_files_are_not_looked_at_without_a_pause_whatever_is_asked() {
    let (net, ca, authority) = (Net::default(), WebCa::new(), TestAuthority::new("a.test"));
    let (certificate, key) = ca.files("h.test");
    let tls = EndpointTls::https_web_of_any_host(&certificate, &key).unwrap();
    let bundle = authority.bundle();
    let endpoint = BundleEndpoint::at_root(move || Some(bundle.clone()));
    net.serve("h.test", tls.look_every(Duration::ZERO), endpoint);
    let domain = authority.trust_domain().clone();
    let relationship = Relationship::https_web(domain, url("https://h.test/"));
    let fetch = async |client: &BundleClient| {
        let believed = BundleSet::default();
        client.fetch(&relationship, None, &believed).await
    };
    let (later, of_old) = (WebCa::new(), net.client(&ca));
    let (new_certificate, new_key) = later.pem("h.test");
    std::fs::write(&certificate, new_certificate).unwrap();
    std::fs::write(&key, new_key).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fetch(&of_old).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    fetch(&net.client(&later)).await.unwrap();
}

// conformance: FD-19-
#[test]
fn files_that_are_no_identity_of_the_host_are_refused_at_the_start() {
    let ca = WebCa::new();
    let (certificate, key) = ca.files("h.test");
    let (_, other_key) = ca.files("g.test");
    let absent = key.with_extension("absent");
    type Check = fn(&WebIdentityError) -> bool;
    let (folder, large) = (key.parent().unwrap(), key.with_extension("large"));
    let file = std::fs::File::create(&large).unwrap();
    file.set_len(5 << 20).unwrap();
    let fifo = key.with_extension("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let cases: [(&str, &Path, &Path, Check); 9] = [
        (
            "https://g.test/",
            &certificate,
            &key,
            |e| matches!(e, WebIdentityError::OtherHost { host, .. } if host == "g.test"),
        ),
        ("https://10.0.0.7/", &certificate, &key, |e| {
            matches!(e, WebIdentityError::OtherHost { .. })
        }),
        ("https://h.test/", &certificate, &other_key, |e| {
            matches!(e, WebIdentityError::Key { .. })
        }),
        ("https://h.test/", &key, &certificate, |e| {
            matches!(e, WebIdentityError::Pem { .. })
        }),
        ("https://h.test/", &absent, &key, |e| {
            matches!(e, WebIdentityError::File { .. })
        }),
        ("https://h.test/", &fifo, &key, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", &certificate, &fifo, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", folder, &key, |e| {
            matches!(e, WebIdentityError::NotAFile { .. })
        }),
        ("https://h.test/", &large, &key, |e| {
            matches!(e, WebIdentityError::TooLarge { .. })
        }),
    ];
    for (at, certificate, key, check) in cases {
        let refused = EndpointTls::https_web(&url(at), certificate, key).unwrap_err();
        assert!(check(&refused), "{at}: {refused}");
    }
}

#[test]
fn a_certificate_of_another_time_is_refused_at_the_start() {
    let ca = WebCa::new();
    let (certificate, key) = ca.files("h.test");
    let refused = |year| {
        let (new_certificate, new_key) = ca.pem_of("h.test", year);
        std::fs::write(&certificate, new_certificate).unwrap();
        std::fs::write(&key, new_key).unwrap();
        EndpointTls::https_web(&url("https://h.test/"), &certificate, &key).unwrap_err()
    };
    let why = refused(2020);
    assert!(matches!(why, WebIdentityError::Expired { .. }), "{why}");
    let why = refused(3000);
    assert!(matches!(why, WebIdentityError::NotYetValid { .. }), "{why}");
}
