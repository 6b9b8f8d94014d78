//! Authorities that are distrusted although bundles name them, or although a root vouches for them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use spiffe_core::authorizer::anyone;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::tls::SourceExt;
use spiffe_core::verify::{PeerError, Role, VerifyError, x509_peer};
use spiffe_core::x509::KeyId;
use spiffe_core::{BundleSet, BundleSource, IdentitySource, Peer, X509Source, X509Svid};
use tokio::io::duplex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

fn judge(svid: &X509Svid, bundles: &BundleSet) -> Result<Peer, VerifyError> {
    let chain: Vec<CertificateDer<'_>> = svid.chain().iter().map(|c| c.der().clone()).collect();
    x509_peer(&chain, bundles, Role::Client, SystemClock.now())
}

fn key_of(authority: &TestAuthority) -> KeyId {
    let svid = authority.svid("/any");
    KeyId::new(svid.leaf().authority_key_id().unwrap()).unwrap()
}

/// go-spiffe honours intermediates that peers send along, whatever became of them.
#[test]
fn tainted_intermediate_rejected() {
    let root = TestAuthority::new("a.test");
    let (tainted, good) = (
        root.intermediate().authority(),
        root.intermediate().authority(),
    );
    let below = tainted.intermediate().authority();
    let trusting = BundleSet::from(root.bundle());
    let distrusting = trusting.distrusting([key_of(&tainted)]);
    for (name, authority, believed) in [
        ("signed by the tainted one", &tainted, false),
        ("signed by one below it", &below, false),
        ("signed by another", &good, true),
        ("signed by the root", &root, true),
    ] {
        let svid = authority.svid("/web");
        judge(&svid, &trusting).unwrap();
        let verdict = judge(&svid, &distrusting);
        match believed {
            true => assert!(verdict.is_ok(), "{name}"),
            false => assert_eq!(verdict.unwrap_err(), VerifyError::Distrusted, "{name}"),
        }
    }
}

#[test]
fn a_tainted_root_rejects_all_below_it_although_the_bundle_names_it() {
    let (old, new) = (TestAuthority::new("a.test"), TestAuthority::new("a.test"));
    let roots = [&old, &new].map(|ca| ca.x509_bundle().x509_authorities()[0].clone());
    let bundle = new.x509_bundle().with_x509_authorities(roots.to_vec());
    let distrusting = BundleSet::from(bundle.clone()).distrusting([key_of(&old)]);
    let below = old.intermediate().authority();
    for svid in [old.svid("/web"), below.svid("/web")] {
        assert_eq!(
            judge(&svid, &distrusting).unwrap_err(),
            VerifyError::Distrusted
        );
    }
    judge(&new.svid("/web"), &distrusting).unwrap();
    // What is put beside it, or taken away, leaves the list as it is.
    let other = TestAuthority::new("b.test");
    let more = distrusting
        .with(other.bundle())
        .without(other.trust_domain());
    assert_eq!(more, distrusting);
    assert_ne!(more, BundleSet::from(bundle));
}

#[test]
fn a_key_is_known_by_its_hash_where_a_certificate_names_another_or_none() {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
    let root = TestAuthority::new("a.test");
    let tainted = root.intermediate().authority();
    let svid = tainted.svid("/web");
    let bits = svid.chain()[1].public_key().key_bits();
    let spki = svid.chain()[1].public_key().spki_der();
    let sha_256 = digest(&SHA256, bits);
    for hash in [
        digest(&SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref(),
        &sha_256.as_ref()[..20],
        sha_256.as_ref(),
        digest(&SHA256, spki).as_ref(),
    ] {
        let key = KeyId::new(hash).unwrap();
        let distrusting = BundleSet::from(root.bundle()).distrusting([key]);
        assert_eq!(
            judge(&svid, &distrusting).unwrap_err(),
            VerifyError::Distrusted
        );
        let another = KeyId::new(&hash[1..]).unwrap();
        judge(
            &svid,
            &BundleSet::from(root.bundle()).distrusting([another]),
        )
        .unwrap();
    }
}

#[tokio::test]
async fn a_source_is_told_whom_to_distrust_and_live_connections_end() {
    let root = TestAuthority::new("a.test");
    let tainted = root.intermediate().authority();
    let api = FakeWorkloadApi::in_memory();
    api.publish(&root.snapshot("/server"));
    let builder = X509Source::builder().endpoint(api.endpoint());
    let source = builder.connect().await.unwrap();
    let acceptor = source.server(anyone()).acceptor();
    let connector = tainted.source("/client").client(anyone()).connector();
    let meet = async || {
        let (near, far) = duplex(64 * 1024);
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
        (ours, theirs)
    };
    let (stream, _theirs) = meet().await;
    let peer = stream.unwrap().peer().clone();

    source.distrust([key_of(&tainted)]);
    let why = peer.ended().await;
    assert_eq!(why, PeerError::Unverified(VerifyError::Distrusted));
    assert!(meet().await.0.is_err(), "nor is there a new one");

    // A message of the API does not undo it; whoever said it does.
    let mut changes = source.subscribe();
    api.publish(&root.snapshot("/server"));
    changes.changed().await.unwrap();
    assert!(meet().await.0.is_err());
    source.distrust([]);
    meet().await.0.unwrap();
}

/// What each event tells: its message, and how many keys it names.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if ["message", "keys"].contains(&field.name()) {
            self.0 = format!("{} {value:?}", self.0).trim().to_owned();
        }
    }
}

impl<S: Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

#[tokio::test]
async fn a_source_of_bundles_is_told_whom_to_distrust_and_tells_it() {
    let root = TestAuthority::new("a.test");
    let api = FakeWorkloadApi::in_memory();
    api.publish_bundles(&root.bundle().into());
    let builder = BundleSource::builder().endpoint(api.endpoint());
    let source = builder.connect().await.unwrap();
    let trusting = source.bundles();
    judge(&root.svid("/web"), &trusting).unwrap();

    let told = Told::default();
    let _here = tracing::subscriber::set_default(Registry::default().with(told.clone()));
    source.distrust([key_of(&root)]);
    let why = judge(&root.svid("/web"), &source.bundles()).unwrap_err();
    assert_eq!(why, VerifyError::Distrusted);
    source.distrust([key_of(&root)]);
    source.distrust([]);
    assert_eq!(source.bundles(), trusting);
    let told = told.0.lock().unwrap();
    let told: Vec<_> = told.iter().filter(|line| line.contains("source")).collect();
    assert_eq!(
        told,
        [
            "source told whom to distrust 1",
            "source updated",
            "source told whom to distrust 1",
            "source told whom to distrust 0",
            "source updated",
        ]
    );
}
