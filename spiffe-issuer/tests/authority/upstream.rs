use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use spiffe_core::clock::Clock;
use spiffe_core::verify::{Role, x509_peer};
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey};
use spiffe_core::{BundleSet, TrustBundle};
use spiffe_issuer::domain::{AuthorityId, AuthorityKind, Fault, Kind, Standing};
use spiffe_issuer::keys::MemoryKeys;
use spiffe_issuer::server::ca::{CaError, Leaf, Order, UpstreamError};
use spiffe_issuer::server::upstream::disk::{DiskUpstream, Files};

use crate::{DAY, HOUR, Machine, START, Server, TD};

/// A certificate with its key, as someone else makes them.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Made {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        let start = std::time::SystemTime::UNIX_EPOCH + START - DAY;
        params.not_before = start.into();
        params.not_after = (start + DAY * 365).into();
        params
    }

    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let pem = pem(&params.self_signed(&key).unwrap());
        Self { params, key, pem }
    }

    fn below(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = pem(&params.signed_by(&key, &issuer).unwrap());
        Self { params, key, pem }
    }

    fn id(&self) -> AuthorityId {
        let certificate = &Certificate::many_from_pem(self.pem.as_bytes()).unwrap()[0];
        AuthorityId::from_key_id(certificate.subject_key_id().unwrap())
    }
}

fn pem(certificate: &rcgen::Certificate) -> String {
    Certificate::from_der(certificate.der()).unwrap().to_pem()
}

fn key_pem(key: &KeyPair) -> String {
    let key = PrivateKey::from_pkcs8_der(&key.serialize_der()).unwrap();
    key.to_pem().to_string()
}

/// Puts an authority into the files, and the roots above it where it has some.
fn put(dir: &Path, authority: &Made, roots: &[&Made]) {
    std::fs::write(dir.join("ca.pem"), &authority.pem).unwrap();
    std::fs::write(dir.join("ca.key"), key_pem(&authority.key)).unwrap();
    let roots: String = roots.iter().map(|root| &*root.pem).collect();
    std::fs::write(dir.join("roots.pem"), roots).unwrap();
}

fn files(dir: &Path, bundle: bool) -> Files {
    let at = |name: &str| -> PathBuf { dir.join(name) };
    Files {
        certificate: at("ca.pem"),
        key: at("ca.key"),
        bundle: bundle.then(|| at("roots.pem")),
    }
}

fn machine(dir: &Path, bundle: bool) -> Machine {
    let mut machine = Machine::new(MemoryKeys::default());
    machine.upstream = Some(Arc::new(DiskUpstream::new(TD, files(dir, bundle))));
    machine
}

/// Signs a leaf and verifies its chain with the bundle. Returns how long the chain is.
async fn verified(server: &Server, machine: &Machine) -> usize {
    let now = machine.clock.now();
    let key = PrivateKey::generate(KeyKind::EcP256).unwrap();
    let leaf = Leaf::server(&TD, key.public_key().clone(), HOUR).unwrap();
    let chain = server.authorities.issue(leaf, now).await.unwrap();
    let chain: Vec<_> = chain.iter().map(|one| one.der().clone()).collect();
    let bundle = TrustBundle::new(TD, server.bundle().await);
    x509_peer(&chain, &BundleSet::from(bundle), Role::Client, now).unwrap();
    chain.len()
}

fn upstream_of(server: &Server) -> AuthorityId {
    server.states()[0].upstream.clone().unwrap()
}

#[tokio::test]
async fn below_a_root_or_an_intermediate_chains_lead_to_the_root_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = Made::root("root");
    let intermediate = root.below("intermediate");
    for (authority, with_bundle, length) in [
        (&root, false, 2),
        (&root, true, 2),
        (&intermediate, true, 3),
    ] {
        put(dir.path(), authority, &[&root]);
        let machine = machine(dir.path(), with_bundle);
        let mut server = machine.start().await.unwrap();
        assert_eq!(verified(&server, &machine).await, length);
        let bundle: Vec<_> = server.bundle().await;
        assert_eq!(bundle.len(), 1, "the root alone");
        assert_eq!(upstream_of(&server), root.id());
        // For days it goes on, and the roots stay what they are.
        for _ in 0..48 {
            machine.clock.turn(HOUR);
            server.manager.tick().await.unwrap();
            assert_eq!(verified(&server, &machine).await, length);
        }
        assert_eq!(server.bundle().await.len(), 1);
        let before = server.states();
        let server = machine.start().await.unwrap();
        assert_eq!(server.states(), before);
    }
}

#[tokio::test]
async fn files_that_are_of_no_use_are_told_of_by_name_and_make_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (root, other) = (Made::root("root"), Made::root("other"));
    let intermediate = root.below("intermediate");
    let fails = async |bundle: bool| {
        let machine = machine(dir.path(), bundle);
        let Err(CaError::Upstream(error)) = machine.start().await.map(|_| ()) else {
            panic!("it started, or failed otherwise");
        };
        let [a, _] = spiffe_issuer::keys::KeyId::X509_CA;
        let made = machine.keys.find(&a).await.unwrap();
        (error, made.is_some())
    };
    let (error, made) = fails(false).await;
    assert!(matches!(error, UpstreamError::Read(_)) && !made, "{error}");

    put(dir.path(), &intermediate, &[&root]);
    let (error, made) = fails(false).await;
    assert!(
        error.to_string().ends_with(
            "ca.pem: with no bundle_file_path configured only self-signed CAs are supported"
        ) && !made,
        "{error}"
    );
    std::fs::write(dir.path().join("ca.key"), key_pem(&other.key)).unwrap();
    let (error, made) = fails(true).await;
    assert!(
        matches!(error, UpstreamError::Mismatch { .. }) && !made,
        "{error}"
    );
    std::fs::write(dir.path().join("ca.key"), "no key").unwrap();
    let (error, made) = fails(true).await;
    assert!(
        error
            .to_string()
            .contains("ca.key: expected a private key in PEM")
            && !made
    );
    std::fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
    let (error, _) = fails(true).await;
    assert!(
        error
            .to_string()
            .contains("ca.pem: expected certificates in PEM"),
        "{error}"
    );

    // A bundle that does not verify it: what it would sign nobody could verify.
    put(dir.path(), &intermediate, &[&other]);
    let (error, _) = fails(true).await;
    assert!(matches!(error, UpstreamError::Unverifiable(_)), "{error}");
}

#[tokio::test]
async fn while_the_files_are_unreadable_what_was_read_last_counts() {
    let dir = tempfile::tempdir().unwrap();
    let root = Made::root("root");
    put(dir.path(), &root, &[]);
    let machine = machine(dir.path(), false);
    let mut server = machine.start().await.unwrap();
    std::fs::write(dir.path().join("ca.pem"), "half a file").unwrap();
    for _ in 0..30 {
        machine.clock.turn(HOUR);
        server.manager.tick().await.unwrap();
    }
    assert_eq!(verified(&server, &machine).await, 2);
}

#[tokio::test]
async fn a_new_root_is_known_at_once_and_signed_below_in_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Made::root("old"), Made::root("new"));
    put(dir.path(), &old, &[]);
    let machine = machine(dir.path(), false);
    let mut server = machine.start().await.unwrap();
    let first = server.active();
    put(dir.path(), &new, &[]);
    machine.clock.turn(HOUR);
    server.manager.tick().await.unwrap();
    assert_eq!(server.bundle().await.len(), 2, "both roots are believed");
    let states = server.states();
    assert_eq!(states[0].id, first, "and the old one signs on");
    let standings: Vec<_> = states.iter().map(|state| state.standing).collect();
    assert_eq!(standings, [Standing::Active, Standing::Prepared]);
    assert_eq!(states[1].upstream, Some(new.id()));
    // It is prepared once.
    server.manager.tick().await.unwrap();
    assert_eq!(server.states(), states);

    machine.clock.turn(HOUR * 19);
    server.manager.tick().await.unwrap();
    assert_eq!(upstream_of(&server), new.id());
    assert_eq!(verified(&server, &machine).await, 2);
}

#[tokio::test]
async fn a_tainted_root_is_left_at_once_and_can_then_be_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Made::root("old"), Made::root("new"));
    put(dir.path(), &old, &[]);
    let machine = machine(dir.path(), false);
    let mut server = machine.start().await.unwrap();
    let kind = AuthorityKind::X509;

    // Our own authorities are the business of the one above them.
    for (order, text) in [
        (
            Order::Taint(kind, server.active()),
            "local authority can't be tainted if there is an upstream authority",
        ),
        (
            Order::Revoke(kind, server.active()),
            "local authority can't be revoked if there is an upstream authority",
        ),
    ] {
        let refused = server.manager.obey(order).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.to_string()),
            (Kind::NotReady, text.to_owned())
        );
    }
    let refused = async |server: &mut Server, id: &AuthorityId, text: &str| {
        let taint = server
            .manager
            .obey(Order::TaintUpstream(id.clone()))
            .await
            .unwrap_err();
        let told = format!("provided subject key id is not valid: {text}");
        assert_eq!((taint.kind(), taint.to_string()), (Kind::Invalid, told));
        let revoke = server
            .manager
            .obey(Order::RevokeUpstream(id.clone()))
            .await
            .unwrap_err();
        let told = format!("invalid subject key ID: {text}");
        assert_eq!((revoke.kind(), revoke.to_string()), (Kind::Invalid, told));
    };
    refused(
        &mut server,
        &AuthorityId::from_text(""),
        "no subject key ID provided",
    )
    .await;
    let text = "unable to use upstream authority singing current authority";
    refused(&mut server, &old.id(), text).await;
    let text = "upstream authority didn't sign the old local authority";
    refused(&mut server, &new.id(), text).await;

    put(dir.path(), &new, &[]);
    server.manager.tick().await.unwrap();
    let text = "only upstream authorities signing an old authority can be used";
    refused(&mut server, &new.id(), text).await;
    let prepared = server.states()[1].id.clone();
    server
        .manager
        .obey(Order::Activate(kind, prepared))
        .await
        .unwrap();
    server
        .manager
        .obey(Order::TaintUpstream(old.id()))
        .await
        .unwrap();
    let bundle = server.store.find_bundle(&TD).await.unwrap().unwrap();
    assert_eq!(bundle.taint_of(kind, &old.id()), Some(true));
    server
        .manager
        .obey(Order::RevokeUpstream(old.id()))
        .await
        .unwrap();
    assert_eq!(server.bundle().await.len(), 1);
    assert_eq!(verified(&server, &machine).await, 2);
    let restarted = machine.start().await.unwrap();
    assert_eq!(restarted.states()[0], server.states()[0]);
}

#[tokio::test]
async fn a_root_that_another_server_tainted_is_left_as_soon_as_there_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Made::root("old"), Made::root("new"));
    put(dir.path(), &old, &[]);
    let machine = machine(dir.path(), false);
    let mut server = machine.start().await.unwrap();
    let first = server.active();
    let kind = AuthorityKind::X509;
    server
        .store
        .taint_authority(&TD, kind, &old.id())
        .await
        .unwrap();
    for _ in 0..3 {
        let failed = server.manager.tick().await.unwrap_err();
        assert!(
            matches!(failed, CaError::Upstream(UpstreamError::Tainted)),
            "{failed:?}"
        );
    }
    assert_eq!(server.active(), first, "there is nothing better");

    put(dir.path(), &new, &[]);
    server.manager.tick().await.unwrap();
    assert_eq!(upstream_of(&server), new.id());
    assert_eq!(verified(&server, &machine).await, 2);
}
