//! Sessions that are resumed: where that is asked for, while nothing has changed, and never past a
//! verdict.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls_pki_types::ServerName;
use spiffe_core::authorizer::{Denied, anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::policy::Policy;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{
    Acceptor, Connector, HandshakeError, PeerStream, Resumption, SourceExt, TrustChange,
};
use spiffe_core::verify::VerifyError;
use spiffe_core::{IdentitySnapshot, IdentitySource, Peer, spiffe_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{RwLock, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Stream = PeerStream<DuplexStream>;

/// Two who know each other, and the ends that they talk over.
struct Two {
    ca: TestAuthority,
    server: Arc<SnapshotCell>,
    client: Arc<SnapshotCell>,
    acceptor: Acceptor,
    connector: Connector,
}

impl Two {
    fn new() -> Self {
        let ca = TestAuthority::new("example.org");
        let (server, client) = (ca.source("/s"), ca.source("/c"));
        let bound = Resumption::Bound;
        Self {
            acceptor: server.server(anyone()).resumption(bound).acceptor(),
            connector: client.client(anyone()).resumption(bound).connector(),
            ca,
            server,
            client,
        }
    }

    async fn meet(&self) -> (Stream, Stream) {
        let (accepted, connected) = meet(&self.acceptor, &self.connector).await;
        (accepted.unwrap(), connected.unwrap())
    }

    /// They have met, and may resume.
    async fn acquainted() -> Self {
        let two = Self::new();
        assert!(!two.meet().await.0.is_resumed());
        two
    }
}

/// Policies count for the whole process: a test that changes one goes alone.
static POLICY: RwLock<()> = RwLock::const_new(());

type Outcome = Result<Stream, HandshakeError>;

/// A handshake, and a byte after it: tickets come with what the server sends.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> (Outcome, Outcome) {
    let (ours, theirs) = duplex(64 * 1024);
    let accept = async {
        let mut stream = acceptor.accept(ours).await?;
        // It may be over by now; who looks at the stream sees that.
        let _ = stream.write_all(b"!").await.and(stream.flush().await);
        Ok(stream)
    };
    let connect = async {
        let mut stream = connector.connect_to("s:443", theirs).await?;
        let _ = stream.read_u8().await;
        Ok(stream)
    };
    tokio::join!(accept, connect)
}

#[tokio::test]
async fn a_session_is_resumed_where_both_sides_say_so_and_only_there() {
    let _policy = POLICY.read().await;
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    for (at_server, at_client, resumed) in [
        (Resumption::Bound, Resumption::Bound, true),
        (Resumption::Bound, Resumption::Off, false),
        (Resumption::Off, Resumption::Bound, false),
        (Resumption::default(), Resumption::default(), false),
    ] {
        let acceptor = server.server(anyone()).resumption(at_server).acceptor();
        let connector = client.client(anyone()).resumption(at_client).connector();
        for (round, expected) in [false, resumed, resumed, resumed].into_iter().enumerate() {
            let (accepted, connected) = meet(&acceptor, &connector).await;
            let found = [accepted.unwrap(), connected.unwrap()].map(|end| end.is_resumed());
            assert_eq!(found, [expected; 2], "{at_server:?} {at_client:?} {round}");
        }
    }
}

#[tokio::test]
async fn the_peer_of_a_resumed_session_is_who_it_was_and_is_judged_again() {
    let _policy = POLICY.read().await;
    let two = Two::acquainted().await;
    let (accepted, connected) = two.meet().await;
    assert!(accepted.is_resumed() && connected.is_resumed());
    assert_eq!(accepted.peer().id().path(), "/c");
    assert_eq!(connected.peer().id().path(), "/s");
    let snapshot = two.client.snapshot();
    let leaf = snapshot.svid().unwrap().leaf().der();
    assert_eq!(&accepted.peer().certificates()[0], leaf);
    accepted.peer().revalidate().unwrap();

    let other = TestAuthority::new("example.org");
    two.server.publish(other.snapshot("/s"));
    accepted.peer().revalidate().unwrap_err();
    connected.peer().revalidate().unwrap();
    two.client.publish(other.snapshot("/c"));
    connected.peer().revalidate().unwrap_err();
}

#[tokio::test]
async fn after_any_change_of_trust_there_is_a_full_handshake() {
    let _policy = POLICY.read().await;
    for side in [0, 1] {
        let two = Two::acquainted().await;
        [&two.server, &two.client][side].publish(two.ca.snapshot(["/s", "/c"][side]));
        let (accepted, _) = two.meet().await;
        assert!(!accepted.is_resumed());
        let (accepted, _) = two.meet().await;
        assert!(accepted.is_resumed(), "of the new session");
    }
}

// conformance: FD-54-
#[tokio::test]
async fn no_resumption_bypass_when_an_authority_is_removed() {
    let _policy = POLICY.read().await;
    let two = Two::acquainted().await;
    distrust(&two.server);
    let (accepted, _) = meet(&two.acceptor, &two.connector).await;
    is_unknown(&two, accepted);

    let two = Two::acquainted().await;
    distrust(&two.client);
    let (_, connected) = meet(&two.acceptor, &two.connector).await;
    is_unknown(&two, connected);
}

/// Its own identity stays, and it believes another authority of the same name.
fn distrust(cell: &SnapshotCell) {
    let svids = cell.snapshot().svids().to_vec();
    let other = TestAuthority::new("example.org");
    cell.publish(IdentitySnapshot::new(svids, other.bundle().into()));
}

fn is_unknown(two: &Two, outcome: Outcome) {
    let unknown = VerifyError::UnknownAuthority(two.ca.trust_domain().clone());
    let why = outcome.unwrap_err();
    assert!(
        matches!(&why, HandshakeError::Unverified(why) if *why == unknown),
        "{why}"
    );
}

/// A source whose generation tells of no change, so that nothing but the verdict on a resumed
/// session is left.
struct Silent(Arc<SnapshotCell>);

impl IdentitySource for Silent {
    fn snapshot(&self) -> Arc<IdentitySnapshot> {
        self.0.snapshot()
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn generation(&self) -> u64 {
        1
    }
}

// conformance: FD-54-
#[tokio::test]
async fn no_resumption_bypass_even_where_the_sessions_were_kept() {
    let _policy = POLICY.read().await;
    for side in [0, 1] {
        let mut two = Two::new();
        let silent = |cell: &Arc<SnapshotCell>| Arc::new(Silent(cell.clone()));
        // Else the stream itself would see to it.
        let (bound, ignore) = (Resumption::Bound, TrustChange::Ignore);
        let server = silent(&two.server).server(anyone()).resumption(bound);
        two.acceptor = server.on_trust_change(ignore).acceptor();
        let client = silent(&two.client).client(anyone()).resumption(bound);
        two.connector = client.on_trust_change(ignore).connector();
        two.meet().await;
        assert!(two.meet().await.0.is_resumed(), "it would be resumed");

        distrust([&two.server, &two.client][side]);
        let (accepted, connected) = meet(&two.acceptor, &two.connector).await;
        if side == 0 {
            assert!(connected.unwrap().is_resumed(), "rustls did resume it");
            is_unknown(&two, accepted);
        } else {
            is_unknown(&two, connected);
        }
    }
}

#[tokio::test]
async fn no_resumption_bypass_when_the_trust_changes_between_verdict_and_ticket() {
    let _policy = POLICY.read().await;
    // The server judges with the old bundle; the new one comes while the verdict falls, and only
    // then the session is kept.
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    let late = server.clone();
    let allow = move |_: &Peer| {
        distrust(&late);
        Ok(())
    };
    let acceptor = server
        .server(allow)
        .resumption(Resumption::Bound)
        .on_trust_change(TrustChange::Ignore)
        .acceptor();
    let client = client.client(anyone()).resumption(Resumption::Bound);
    let connector = client.connector();
    meet(&acceptor, &connector).await.0.unwrap();
    let (accepted, _) = meet(&acceptor, &connector).await;
    let why = accepted.unwrap_err();
    assert!(matches!(why, HandshakeError::Unverified(_)), "{why}");

    // The client gets its ticket after its trust has changed.
    let two = Two::new();
    let (ours, theirs) = duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(
        two.acceptor.accept(ours),
        two.connector.connect_to("s:443", theirs)
    );
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    two.client.publish(two.ca.snapshot("/c"));
    accepted.write_all(b"!").await.unwrap();
    accepted.flush().await.unwrap();
    connected.read_u8().await.unwrap();
    assert!(!two.meet().await.1.is_resumed());
    assert!(two.meet().await.1.is_resumed());
}

#[tokio::test]
async fn a_policy_decides_about_resumed_sessions_too() {
    let _policy = POLICY.write().await;
    let ca = TestAuthority::new("example.org");
    let (server, client) = (ca.source("/s"), ca.source("/c"));
    let policy = Policy::new(anyone());
    let bound = Resumption::Bound;
    let acceptor = server.server(policy.clone()).resumption(bound).acceptor();
    let connector = client.client(anyone()).resumption(bound).connector();
    meet(&acceptor, &connector).await.0.unwrap();
    policy.replace(exactly(spiffe_id!("spiffe://example.org/c")));
    let (accepted, _) = meet(&acceptor, &connector).await;
    assert!(!accepted.unwrap().is_resumed(), "it was another policy");
    policy.replace(exactly(spiffe_id!("spiffe://example.org/ops")));
    let (accepted, _) = meet(&acceptor, &connector).await;
    assert!(matches!(accepted, Err(HandshakeError::Denied(_))));
}

#[tokio::test]
async fn an_authorizer_that_changed_its_mind_in_silence_is_asked_by_either_side() {
    let _policy = POLICY.write().await;
    let ca = TestAuthority::new("example.org");
    for side in [0, 1] {
        let (open, asked) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (mind, count) = (open.clone(), asked.clone());
        let moody = move |peer: &Peer| {
            count.fetch_add(1, Ordering::SeqCst);
            match mind.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(Denied::new(peer, "welcome today")),
            }
        };
        let allow = move |mine| {
            let moody = moody.clone();
            move |peer: &Peer| if side == mine { moody(peer) } else { Ok(()) }
        };
        let bound = Resumption::Bound;
        let server = ca.source("/s").server(allow(0)).resumption(bound);
        let client = ca.source("/c").client(allow(1)).resumption(bound);
        let (acceptor, connector) = (server.acceptor(), client.connector());
        meet(&acceptor, &connector).await.0.unwrap();
        let before = asked.load(Ordering::SeqCst);
        assert!(meet(&acceptor, &connector).await.1.is_ok());
        assert!(
            asked.load(Ordering::SeqCst) > before,
            "once for each session"
        );
        open.store(false, Ordering::SeqCst);
        let (accepted, connected) = meet(&acceptor, &connector).await;
        let refused = match side {
            0 => accepted,
            _ => connected,
        };
        assert!(matches!(refused, Err(HandshakeError::Denied(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_does_not_outlive_the_certificates_of_its_peer() {
    let _policy = POLICY.read().await;
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("example.org", now);
    let short = ca.draft("/c").lifetime(Duration::from_secs(60)).svid();
    let short = IdentitySnapshot::new(vec![short], ca.bundle().into());
    let client = Arc::new(SnapshotCell::new(short));
    let (server, bound) = (ca.source("/s"), Resumption::Bound);
    let server = server.server(anyone()).clock(clock.clone());
    let acceptor = server.resumption(bound).acceptor();
    let client = client.client(anyone()).clock(clock).resumption(bound);
    let connector = client.connector();
    meet(&acceptor, &connector).await.0.unwrap();
    assert!(meet(&acceptor, &connector).await.0.unwrap().is_resumed());
    tokio::time::sleep(Duration::from_secs(62)).await;
    let why = meet(&acceptor, &connector).await.0.unwrap_err();
    assert!(
        matches!(why, HandshakeError::Unverified(VerifyError::Expired)),
        "{why}"
    );
}

#[tokio::test]
async fn sessions_are_kept_apart_by_whom_they_are_with() {
    let _policy = POLICY.read().await;
    let two = Two::acquainted().await;
    for (authority, resumed) in [
        (Some("other:443"), false),
        (None, false),
        (Some("s:443"), true),
    ] {
        let (ours, theirs) = duplex(64 * 1024);
        let connect = async {
            match authority {
                Some(name) => two.connector.connect_to(name, theirs).await,
                None => two.connector.connect(theirs).await,
            }
        };
        let (accepted, connected) = tokio::join!(two.acceptor.accept(ours), connect);
        accepted.unwrap();
        assert_eq!(connected.unwrap().is_resumed(), resumed, "{authority:?}");
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_handshake_is_done() {
    let _policy = POLICY.read().await;
    let two = Two::new();
    let mut config = two.client.client(anyone()).into_rustls();
    config.resumption = rustls::client::Resumption::in_memory_sessions(1);
    config.enable_early_data = true;
    let connector = TlsConnector::from(Arc::new(config));
    for resumed in [false, true] {
        let (ours, theirs) = duplex(64 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let accept = async {
            let mut stream = two.acceptor.accept(ours).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let connect = async {
            let mut stream = connector.connect(name, theirs).await.unwrap();
            stream.read_u8().await.unwrap();
            assert!(!stream.get_ref().1.is_early_data_accepted());
            stream
        };
        let (accepted, _) = tokio::join!(accept, connect);
        assert_eq!(accepted.is_resumed(), resumed, "by whatever client");
    }
}

#[tokio::test]
async fn tls_12_and_bare_configurations_resume_nothing() {
    let _policy = POLICY.read().await;
    let ca = TestAuthority::new("example.org");
    let bound = Resumption::Bound;
    let server = ca.source("/s").server(anyone()).resumption(bound);
    let client = ca.source("/c").client(anyone()).resumption(bound);
    let bare = server.clone().into_rustls();
    assert_eq!(bare.send_tls13_tickets, 0);
    assert!(!bare.session_storage.can_cache());
    assert!(!bare.ticketer.enabled());
    assert!(!bare.session_storage.put(vec![1], vec![2]));

    // A server that cannot do better and would resume, with our certificate.
    let old = rustls::ServerConfig::builder_with_provider(bare.crypto_provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(bare.cert_resolver.clone());
    assert!(old.session_storage.can_cache());
    let old = TlsAcceptor::from(Arc::new(old));
    let connector = client.tls12(true).connector();
    for _ in 0..3 {
        let (ours, theirs) = duplex(64 * 1024);
        let (accepted, connected) =
            tokio::join!(old.accept(ours), connector.connect_to("s:443", theirs));
        accepted.unwrap();
        assert!(!connected.unwrap().is_resumed());
    }
}
