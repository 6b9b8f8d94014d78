//! Identities and authorities change under calls.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use spiffe_core::authorizer::{anyone, exactly};
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::SourceExt;
use spiffe_core::{BundleSet, IdentitySnapshot, IdentitySource, TrustBundle, with_causes};
use spiffe_tonic::Channel;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::{Running, check, id};

#[tokio::test]
async fn rotation_costs_no_call() {
    let authority = TestAuthority::new("a.test");
    let (web, server_source) = (authority.source("/web"), authority.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = || web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls()).await.unwrap();
    let calls = Calls::begin(channel);
    for _ in 0..20 {
        web.publish(authority.snapshot("/web"));
        server_source.publish(authority.snapshot("/server"));
        // A connection made now shows what was published now.
        let tcp = TcpStream::connect(server.addr).await.unwrap();
        let fresh = tls().connector().connect(tcp).await.unwrap();
        let published = server_source.snapshot();
        let leaf = published.svid().unwrap().leaf().der();
        assert_eq!(&fresh.peer().certificates()[0], leaf);
        let fresh = spiffe_tonic::channel(&server.uri(), tls()).await.unwrap();
        check(fresh).await.unwrap();
    }
    assert!(calls.end().await >= 20, "calls went on meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_rotates_and_loses_no_call() {
    let authority = TestAuthority::new("a.test");
    let (web, server_source) = (authority.source("/web"), authority.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    let callers: Vec<_> = (0..8).map(|_| Calls::begin(channel.clone())).collect();
    for _ in 0..20 {
        web.publish(authority.snapshot("/web"));
        let presented = web.snapshot().svid().unwrap().leaf().der().clone();
        // Until the server sees the new certificate, by that very channel.
        let moved = async {
            while certificate_seen(channel.clone()).await != presented {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), moved).await.unwrap();
        // The server's own rotation is nobody's matter; its proof is good for as long as before.
        server_source.publish(authority.snapshot("/server"));
    }
    for calls in callers {
        assert!(calls.end().await >= 20, "calls went on meanwhile");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_follows_its_peers_to_another_authority_and_loses_no_call() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(exactly(id("/web")))).await;
    let tls = web.client(exactly(id("/server")));
    let channel = spiffe_tonic::channel(&server.uri(), tls).await.unwrap();
    let calls = Calls::begin(channel.clone());
    // As SPIRE does it: trust the new one everywhere, move to it, drop the old one.
    let authorities = |these: &[&TestAuthority]| {
        let these = these
            .iter()
            .flat_map(|ca| ca.bundle().x509_authorities().to_vec());
        BundleSet::from(TrustBundle::new("a.test".parse().unwrap(), these.collect()))
    };
    let publish = |ca: &TestAuthority, trusted: &BundleSet| {
        for (source, path) in [(&server_source, "/server"), (&web, "/web")] {
            let snapshot = IdentitySnapshot::new(vec![ca.svid(path)], trusted.clone());
            source.publish(snapshot);
        }
    };
    publish(&old, &authorities(&[&old, &new]));
    publish(&new, &authorities(&[&old, &new]));
    let presented = web.snapshot().svid().unwrap().leaf().der().clone();
    let moved = async {
        while certificate_seen(channel.clone()).await != presented {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), moved).await.unwrap();
    assert!(calls.end().await > 0);
    publish(&new, &authorities(&[&new]));
    check(channel).await.unwrap();
}

#[tokio::test]
async fn a_call_that_has_begun_stays_on_the_connection_it_began_on() {
    let authority = TestAuthority::new("a.test");
    let web = authority.source("/ops");
    let server = Running::start(authority.source("/server").server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    let mut client = HealthClient::new(channel.clone());
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    web.publish(authority.snapshot("/ops"));
    let presented = web.snapshot().svid().unwrap().leaf().der().clone();
    while certificate_seen(channel.clone()).await != presented {}
    server.go_on();
    assert!(watch.message().await.unwrap().is_some());
    assert!(watch.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_channel_gives_a_server_that_is_trusted_no_more_no_call() {
    let (ours, others) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let web = ours.source("/web");
    let server = Running::start(ours.source("/server").server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    check(channel.clone()).await.unwrap();
    web.publish(IdentitySnapshot::new(
        vec![ours.svid("/web")],
        others.bundle().into(),
    ));
    let refused = check(channel.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let told = with_causes(&refused);
    assert!(told.contains("does not lead to an authority"), "{told}");
    web.publish(ours.snapshot("/web"));
    check(channel).await.unwrap();
}

#[tokio::test]
async fn a_new_authority_takes_effect_without_a_restart() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(anyone())).await;
    let tls = web.client(anyone());
    let stale = old.source("/web").client(anyone());
    let connect = |tls| {
        let uri = server.uri();
        async move { check(spiffe_tonic::channel_lazy(&uri, tls).unwrap()).await }
    };
    connect(tls.clone()).await.unwrap();

    server_source.publish(new.snapshot("/server"));
    connect(tls.clone()).await.unwrap_err();

    // The same configuration, once its source has heard of the new authority.
    web.publish(new.snapshot("/web"));
    connect(tls).await.unwrap();
    connect(stale).await.unwrap_err();
}

#[tokio::test]
async fn a_channel_finds_its_way_back_with_the_identity_of_the_moment() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let (web, server_source) = (old.source("/web"), old.source("/server"));
    let server = Running::start(server_source.server(anyone())).await;
    let channel = spiffe_tonic::channel(&server.uri(), web.client(anyone()))
        .await
        .unwrap();
    check(channel.clone()).await.unwrap();

    // Another server takes its place, under another authority.
    let addr = server.addr;
    server.stop().await;
    web.publish(new.snapshot("/web"));
    server_source.publish(new.snapshot("/server"));
    let _server = Running::start_at(addr, server_source.server(anyone())).await;
    let mut answer = check(channel.clone()).await;
    // The first call may still find the connection that broke.
    if answer.is_err() {
        answer = check(channel).await;
    }
    assert_eq!(answer.unwrap(), id("/web").as_str());
}

/// The certificate that the server saw at a call over this channel.
async fn certificate_seen(channel: Channel) -> CertificateDer<'static> {
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    let seen = answer.metadata().get_bin("certificate-bin").unwrap();
    CertificateDer::from(seen.to_bytes().unwrap().to_vec())
}

/// Calls without a pause over one channel; each must succeed.
struct Calls {
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

impl Calls {
    fn begin(channel: Channel) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut calls = 0;
            while stopped.try_recv().is_err() {
                check(channel.clone()).await.unwrap();
                calls += 1;
            }
            calls
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}
