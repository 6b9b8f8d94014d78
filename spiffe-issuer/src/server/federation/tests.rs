//! Federation with endpoints in memory.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::TestAuthority;
use spiffe_core::{TrustBundle, TrustDomain, with_causes};
use spiffe_hyper::federation::{BundleClient, BundleEndpoint, BundleServer, EndpointTls};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Federation, FederationError, FetchFault, refresh};
use crate::domain::{Bundle, EndpointProfile, Fault, Kind, Page, Relationship};
use crate::runtime::Shutdown;
use crate::runtime::health::Health;
use crate::server::store::sql::SqlStore;
use crate::server::store::{Put, SharedStore};

/// Bundle endpoints by the names of their hosts. Whoever else is called does not answer.
#[derive(Clone, Default)]
pub(crate) struct Net {
    hosts: Arc<Mutex<HashMap<String, UnboundedSender<DuplexStream>>>>,
}

impl Net {
    pub(crate) fn client(&self) -> BundleClient {
        let net = self.clone();
        BundleClient::new().dialling(move |host: String, _| {
            let answers = net.hosts.lock().unwrap().get(&host).cloned();
            let (near, far) = duplex(64 * 1024);
            let connected = answers.and_then(|answers| answers.send(far).ok());
            ready(
                connected
                    .map(|()| near)
                    .ok_or(io::ErrorKind::NotFound.into()),
            )
        })
    }

    /// An endpoint that shows an SVID of this authority, with the path `/endpoint`, and serves what the
    /// function says.
    #[expect(clippy::disallowed_methods, reason = "a task ends with its test")]
    pub(crate) fn serve(
        &self,
        host: &str,
        authority: &TestAuthority,
        newest: impl Fn() -> Option<TrustBundle> + Send + Sync + 'static,
    ) {
        let (answers, coming) = unbounded_channel();
        self.hosts.lock().unwrap().insert(host.to_owned(), answers);
        let coming = UnboundedReceiverStream::new(coming).map(Ok::<_, io::Error>);
        let tls = EndpointTls::https_spiffe(authority.source("/endpoint"));
        let server = BundleServer::from_incoming(coming, tls);
        tokio::spawn(server.serve(BundleEndpoint::at_root(newest), pending()));
    }

    /// A host that takes connections and says nothing, for good.
    fn silent(&self, host: &str) {
        let (answers, coming) = unbounded_channel();
        self.hosts.lock().unwrap().insert(host.to_owned(), answers);
        std::mem::forget(coming);
    }
}

/// A relationship with an endpoint that shows `/endpoint` of this trust domain.
pub(crate) fn by_svid(trust_domain: &str, host: &str, endpoint_of: &str) -> Relationship {
    let endpoint = format!("spiffe://{endpoint_of}/endpoint");
    Relationship {
        trust_domain: trust_domain.parse().unwrap(),
        bundle_endpoint_url: format!("https://{host}/"),
        profile: EndpointProfile::HttpsSpiffe(endpoint.parse().unwrap()),
    }
}

struct World {
    net: Net,
    store: SharedStore,
    federation: Arc<Federation>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(configured: Vec<Relationship>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let at = path.to_str().unwrap().parse().unwrap();
        let store: SharedStore = Arc::new(SqlStore::open(&at).await.unwrap());
        let net = Net::default();
        let federation = Federation::new(
            TrustDomain::from_static("a.test"),
            configured,
            store.clone(),
            net.client(),
            Arc::new(SystemClock),
        );
        Self {
            net,
            store,
            federation: Arc::new(federation),
            _dir: dir,
        }
    }

    async fn held(&self, of: &str) -> Option<TrustBundle> {
        let found = self.store.find_bundle(&of.parse().unwrap()).await.unwrap();
        found.map(|bundle| bundle.trust_bundle())
    }

    async fn hold(&self, bundle: &TrustBundle) {
        let bundle = Bundle::from(bundle);
        self.store.put_bundle(bundle, Put::Set).await.unwrap();
    }
}

fn keys_of(authority: &TestAuthority) -> TrustBundle {
    let keys = authority.bundle().jwt_authorities().to_vec();
    authority.x509_bundle().with_jwt_authorities(keys)
}

fn numbered(authority: &TestAuthority, number: u64) -> TrustBundle {
    keys_of(authority).with_sequence(Some(number))
}

/// A bundle that a test changes while it is served.
fn served(
    net: &Net,
    host: &str,
    authority: &TestAuthority,
    first: TrustBundle,
) -> Arc<Mutex<TrustBundle>> {
    let newest = Arc::new(Mutex::new(first));
    let shown = newest.clone();
    net.serve(host, authority, move || Some(shown.lock().unwrap().clone()));
    newest
}

#[tokio::test]
async fn a_partner_is_believed_by_the_bundle_that_came_with_the_relationship_and_then_by_the_newest()
 {
    let world = World::new(vec![]).await;
    let (old, new) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
    let newest = served(&world.net, "b", &old, numbered(&old, 7));
    let partner = by_svid("b.test", "b", "b.test");
    let domain = partner.trust_domain.clone();

    // Without a first bundle there is nothing to believe the endpoint by.
    world.federation.create(&partner, None).await.unwrap();
    let refused = world.federation.refresh(&domain).await.unwrap_err();
    let told = refused.told().unwrap();
    assert!(
        told.starts_with("failed to refresh bundle: there is no bundle yet"),
        "{told}"
    );
    assert_eq!(refused.kind(), Kind::Internal);
    let status = world.federation.find(&domain).await.unwrap().status;
    assert!(
        status.succeeded_at.is_none() && status.failure.is_some(),
        "{status:?}"
    );
    assert!(status.next_at > status.tried_at, "{status:?}");

    world.hold(&old.x509_bundle()).await;
    world.federation.refresh(&domain).await.unwrap();
    let expected = numbered(&old, 7).with_refresh_hint(Some(Duration::from_secs(300)));
    assert_eq!(
        world.held("b.test").await.unwrap(),
        expected,
        "with keys for tokens"
    );
    let status = world.federation.find(&domain).await.unwrap().status;
    assert!(
        status.succeeded_at.is_some() && status.failure.is_none(),
        "{status:?}"
    );

    // The partner prepares an authority, and then its endpoint has an SVID of that one.
    let both = [old.x509_bundle(), new.x509_bundle()];
    let both = both.iter().flat_map(TrustBundle::x509_authorities).cloned();
    let both = numbered(&old, 8).with_x509_authorities(both.collect());
    *newest.lock().unwrap() = both.clone();
    world.federation.refresh(&domain).await.unwrap();
    served(&world.net, "b", &new, numbered(&new, 9));
    world.federation.refresh(&domain).await.unwrap();
    assert_eq!(world.held("b.test").await.unwrap().sequence(), Some(9));
}

#[tokio::test]
async fn an_older_bundle_is_refused_and_told() {
    let world = World::new(vec![by_svid("c.test", "c", "c.test")]).await;
    let (one, two) = (TestAuthority::new("b.test"), TestAuthority::new("b.test"));
    let third = TestAuthority::new("c.test");
    for (host, endpoint, old, domain) in [
        ("b", &one, numbered(&two, 4), "b.test"),
        (
            "c",
            &third,
            keys_of(&third)
                .with_sequence(Some(4))
                .with_jwt_authorities(vec![]),
            "c.test",
        ),
    ] {
        let held = keys_of(endpoint).with_sequence(Some(5));
        world.hold(&held).await;
        served(&world.net, host, endpoint, old);
        if host == "b" {
            let partner = by_svid("b.test", "b", "b.test");
            world.federation.create(&partner, None).await.unwrap();
        }
        let domain: TrustDomain = domain.parse().unwrap();
        let refused = world.federation.refresh(&domain).await.unwrap_err();
        let told = refused.told().unwrap();
        assert!(told.contains("older than bundle 5"), "{told}");
        assert_eq!(world.held(domain.as_str()).await.unwrap(), held, "{domain}");
        let status = world.federation.find(&domain).await.unwrap().status;
        assert!(status.failure.unwrap().contains("older than bundle 5"));
    }
    // An administrator may mean it.
    let meant = numbered(&two, 4);
    world.hold(&meant).await;
    assert_eq!(world.held("b.test").await.unwrap(), meant);
}

#[tokio::test]
async fn an_endpoint_in_another_trust_domain_is_believed_by_that_ones_bundle() {
    let partner = by_svid("b.test", "host", "c.test");
    let world = World::new(vec![partner.clone()]).await;
    let (theirs, host) = (TestAuthority::new("b.test"), TestAuthority::new("c.test"));
    served(&world.net, "host", &host, numbered(&theirs, 1));
    let domain = &partner.trust_domain;
    let refused = world.federation.refresh(domain).await.unwrap_err();
    assert!(matches!(
        refused,
        FederationError::Refresh(FetchFault::Fetch(_))
    ));
    // The bundle of the partner itself proves nothing of the host.
    world.hold(&theirs.x509_bundle()).await;
    assert!(world.federation.refresh(domain).await.is_err());
    world.hold(&host.x509_bundle()).await;
    world.federation.refresh(domain).await.unwrap();
    let held = world.held("b.test").await.unwrap();
    assert_eq!(held.sequence(), Some(1));
    assert_eq!(held.x509_authorities(), theirs.bundle().x509_authorities());
}

#[tokio::test]
async fn who_has_the_newest_is_sent_nothing_and_what_an_administrator_set_counts() {
    let world = World::new(vec![by_svid("b.test", "b", "b.test")]).await;
    let authority = TestAuthority::new("b.test");
    served(&world.net, "b", &authority, numbered(&authority, 3));
    world.hold(&authority.x509_bundle()).await;
    let domain: TrustDomain = "b.test".parse().unwrap();
    let revision = async || world.store.latest_revision().await.unwrap();
    world.federation.refresh(&domain).await.unwrap();
    let (before, held) = (revision().await, world.held("b.test").await);
    for _ in 0..2 {
        world.federation.refresh(&domain).await.unwrap();
        assert_eq!(
            revision().await,
            before,
            "nothing is written where nothing is new"
        );
        assert_eq!(world.held("b.test").await, held);
    }
    // Whatever was put there meanwhile is what the endpoint is compared with.
    world.hold(&authority.x509_bundle()).await;
    world.federation.refresh(&domain).await.unwrap();
    assert_eq!(world.held("b.test").await, held);
}

#[tokio::test]
async fn one_that_does_not_answer_holds_up_nobody() {
    let configured = vec![
        by_svid("dead.test", "dead", "dead.test"),
        by_svid("b.test", "b", "b.test"),
    ];
    let world = World::new(configured).await;
    let [dead, there, later] = ["dead.test", "b.test", "c.test"].map(TestAuthority::new);
    world.net.silent("dead");
    for authority in [&dead, &there, &later] {
        world.hold(&authority.x509_bundle()).await;
    }
    for (host, authority) in [("b", &there), ("c", &later)] {
        served(&world.net, host, authority, numbered(authority, 2));
    }
    let stop = Shutdown::new();
    let health = Health::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let part = health.part("federation");
    let working = refresh::run(world.federation.clone(), clock, part, stop.clone());
    let watching = async {
        let arrived = async |of: &str| {
            while world.held(of).await.unwrap().sequence() != Some(2) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        arrived("b.test").await;
        // One that comes later is fetched from at once, too.
        let partner = by_svid("c.test", "c", "c.test");
        world.federation.create(&partner, None).await.unwrap();
        arrived("c.test").await;
        assert!(health.report().is_ready(), "it is no failure of ours");
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(working, watching);
    worked.unwrap();
    let status = world
        .federation
        .find(dead.trust_domain())
        .await
        .unwrap()
        .status;
    assert!(status.succeeded_at.is_none(), "{status:?}");
}

#[tokio::test]
async fn what_the_configuration_says_counts_and_is_changed_only_there() {
    let configured = by_svid("b.test", "b", "b.test");
    let world = World::new(vec![configured.clone()]).await;
    let federation = &world.federation;
    let domain = &configured.trust_domain;
    let other = Relationship {
        bundle_endpoint_url: "https://other.test/".to_owned(),
        ..configured.clone()
    };
    // It may be in the store from before it was in the configuration.
    world.store.create_relationship(&other, None).await.unwrap();
    let later = by_svid("c.test", "c", "c.test");
    federation.create(&later, None).await.unwrap();
    let listed = federation.list(&Page::ALL).await.unwrap();
    let listed: Vec<_> = listed
        .items
        .into_iter()
        .map(|p| (p.relationship, p.configured))
        .collect();
    assert_eq!(listed, [(configured.clone(), true), (later, false)]);
    assert_eq!(
        federation.find(domain).await.unwrap().relationship,
        configured
    );

    let created = federation.create(&other, None).await.unwrap_err();
    assert_eq!(created.kind(), Kind::AlreadyExists);
    let deleted = federation.delete(domain).await.unwrap_err();
    assert_eq!(deleted.kind(), Kind::NotReady);
    let changed = federation
        .update(domain, |_| Ok::<_, FederationError>((other, None)))
        .await
        .unwrap_err();
    let told = with_causes(&changed);
    assert_eq!(
        told,
        "the federation relationship with \"b.test\" stands in the configuration of the server, and \
         can be changed only there"
    );
}
