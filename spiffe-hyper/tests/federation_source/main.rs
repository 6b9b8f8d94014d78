//! The source that keeps the bundles of others up to date.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod below;
#[path = "../federated/mod.rs"]
mod federated;
mod fetching;
mod relationships;
mod storing;
mod trust;

use std::sync::{Arc, Mutex};

use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{HandshakeError, PeerStream, SourceExt};
use spiffe_core::{IdentitySnapshot, IdentitySource, TrustBundle, TrustDomain, X509Svid};
use spiffe_hyper::federation::{
    FederatedSource, FederatedSourceBuilder, PartnerHealth, Relationship,
};
use tokio::io::{DuplexStream, duplex};

use crate::federated::{Asked, MINUTE, Net, WebCa, document, status, url};

/// Us, a partner whose endpoint says what the test puts there, and paused time.
struct World {
    net: Net,
    ca: WebCa,
    ours: TestAuthority,
    base: Arc<SnapshotCell>,
    clock: Arc<TestClock>,
    partner: TestAuthority,
    said: Arc<Mutex<Option<TrustBundle>>>,
    asked: Asked,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        let (net, ca) = (Net::default(), WebCa::new());
        let (ours, partner) = (
            TestAuthority::at("a.test", now),
            TestAuthority::at("b.test", now),
        );
        let said = Arc::new(Mutex::new(Some(partner.bundle())));
        let saying = Arc::clone(&said);
        let asked = net.script("b.test", ca.tls("b.test"), move |_| {
            saying
                .lock()
                .unwrap()
                .as_ref()
                .map_or_else(|| status(500), document)
        });
        Self {
            base: Arc::new(SnapshotCell::new(IdentitySnapshot::new(
                vec![lasting(&ours, "/web")],
                ours.bundle().into(),
            ))),
            clock: Arc::new(TestClock::at(now)),
            net,
            ca,
            ours,
            partner,
            said,
            asked,
        }
    }

    fn say(&self, bundle: impl Into<Option<TrustBundle>>) {
        *self.said.lock().unwrap() = bundle.into();
    }

    fn by_web(&self) -> Relationship {
        Relationship::https_web(self.domain(), url("https://b.test/"))
    }

    fn domain(&self) -> TrustDomain {
        self.partner.trust_domain().clone()
    }

    fn builder(&self) -> FederatedSourceBuilder {
        let client = self.net.client(&self.ca).clock(self.clock.clone());
        FederatedSource::builder(self.base.clone()).client(client)
    }

    fn start(&self) -> FederatedSource {
        self.builder().relationship(self.by_web()).start().unwrap()
    }

    fn held(&self, source: &FederatedSource) -> Option<TrustBundle> {
        source.snapshot().bundles().get(&self.domain()).cloned()
    }

    /// Whether a member of the partner's trust domain, of this authority, gets through to us.
    async fn handshake(
        &self,
        source: &FederatedSource,
        authority: &TestAuthority,
    ) -> Result<PeerStream<DuplexStream>, HandshakeError> {
        let tls = source.server(anyone()).clock(self.clock.clone());
        let bundles = [self.ours.bundle(), authority.bundle()]
            .into_iter()
            .collect();
        let theirs = IdentitySnapshot::new(vec![lasting(authority, "/db")], bundles);
        let client = Arc::new(SnapshotCell::new(theirs)).client(anyone());
        let client = client.clock(self.clock.clone());
        let (near, far) = duplex(64 * 1024);
        let (acceptor, connector) = (tls.acceptor(), client.connector());
        let (accepted, connected) = tokio::join!(acceptor.accept(near), connector.connect(far));
        drop(connected);
        accepted
    }
}

/// An SVID that outlasts any of these tests.
fn lasting(authority: &TestAuthority, path: &str) -> X509Svid {
    authority.draft(path).lifetime(24 * 60 * MINUTE).svid()
}

fn only(source: &FederatedSource) -> PartnerHealth {
    let [health] = <[_; 1]>::try_from(source.health()).unwrap();
    health
}
