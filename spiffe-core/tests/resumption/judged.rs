//! The peer of a resumed session is judged as any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use spiffe_core::authorizer::{Denied, anyone, exactly};
use spiffe_core::policy::Policy;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::TestAuthority;
use spiffe_core::tls::{HandshakeError, Resumption, SourceExt, TrustChange};
use spiffe_core::verify::VerifyError;
use spiffe_core::{IdentitySnapshot, IdentitySource, Peer, spiffe_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::watch;

use crate::{Outcome, POLICY, Two, meet};

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
