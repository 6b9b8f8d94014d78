//! What becomes of a connection when trust, policy or time move on while it lasts.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "a task ends with its test")]

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use spiffe_core::authorizer::{Authorizer, Denied, anyone, exactly};
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::policy::Policy;
use spiffe_core::source::SnapshotCell;
use spiffe_core::testing::{TestAuthority, TestClock};
use spiffe_core::tls::{ClientTls, Parting, PeerStream, ServerTls, SourceExt, TrustChange};
use spiffe_core::verify::{PeerError, Role, VerifyError, x509_peer};
use spiffe_core::{
    BundleSet, IdentitySnapshot, IdentitySource, Peer, SpiffeId, policy, spiffe_id, with_causes,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const CLIENT: SpiffeId = spiffe_id!("spiffe://example.org/c");

#[tokio::test]
async fn a_peer_is_judged_again_when_the_trust_changes_and_only_then() {
    let (ca, other) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("example.org"),
    );
    let (server, asked) = (ca.source("/s"), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let tls = server
        .server(move |_: &Peer| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .on_trust_change(TrustChange::Revalidate);
    let (stream, _theirs) = connect(&tls, &ca.source("/c").client(anyone())).await;
    let peer = stream.peer().clone();
    for _ in 0..100 {
        peer.revalidate().unwrap();
    }
    let policies = asked.load(Ordering::SeqCst);
    // At the handshake, and where a policy of another test changed meanwhile.
    assert!((1..20).contains(&policies), "{policies}");
    server.publish(ca.snapshot("/s"));
    peer.revalidate().unwrap();
    assert!(asked.load(Ordering::SeqCst) > policies);

    server.publish(other.snapshot("/s"));
    let why = PeerError::from(VerifyError::UnknownAuthority(ca.trust_domain().clone()));
    assert_eq!(peer.revalidate(), Err(why.clone()));
    server.publish(ca.snapshot("/s"));
    assert_eq!(peer.revalidate(), Err(why.clone()), "for good");
    assert_eq!(peer.ended().await, why);
}

#[tokio::test]
async fn a_change_between_handshake_and_first_look_is_seen() {
    let (ca, other) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("example.org"),
    );
    let server = ca.source("/s");
    let late = Arc::clone(&server);
    // The verdict falls with the old bundle; the new one comes while it falls.
    let allow = move |_: &Peer| {
        late.publish(other.snapshot("/s"));
        Ok(())
    };
    let (mut stream, _theirs) =
        connect(&server.server(allow), &ca.source("/c").client(anyone())).await;
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_raw_stream_ends_for_reader_and_writer_when_its_peer_is_trusted_no_more() {
    let (ca, other) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("example.org"),
    );
    let server = ca.source("/s");
    let (stream, _theirs) =
        connect(&server.server(anyone()), &ca.source("/c").client(anyone())).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = tokio::spawn(async move { reader.read_u8().await.unwrap_err() });
    writer.write_all(b"before").await.unwrap();
    server.publish(other.snapshot("/s"));
    let error = writer.write_all(b"after").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let error = timeout(SOON, read).await.unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(
        with_causes(&error).contains("does not lead to an authority"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_while_others_are_judged_first() {
    let ca = TestAuthority::new("example.org");
    let server = ca.source("/s");
    let (refuse, slow) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(true));
    let (entered, is_in) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let (refusing, may_go_on) = (Arc::clone(&refuse), Mutex::new(may_go_on));
    let acceptor = server
        .server(move |peer: &Peer| {
            if !refusing.load(Ordering::SeqCst) {
                return Ok(());
            }
            if slow.swap(false, Ordering::SeqCst) {
                entered.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            Err(Denied::id(peer.id(), exactly(CLIENT).expected()))
        })
        .acceptor();
    let connector = ca.source("/c").client(anyone()).connector();
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
        pairs.push((ours.unwrap(), theirs.unwrap()));
    }
    let ((mut stream, mut theirs), (other, _theirs)) = (pairs.remove(0), pairs.remove(0));
    theirs.write_all(b"too late").await.unwrap();
    theirs.flush().await.unwrap();

    refuse.store(true, Ordering::SeqCst);
    server.publish(ca.snapshot("/s"));
    let judged = tokio::spawn(other.peer().ended());
    tokio::task::block_in_place(|| is_in.recv().unwrap());
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    go_on.send(()).unwrap();
    judged.await.unwrap();
}

#[tokio::test]
async fn whoever_waits_and_is_not_polled_keeps_nobody_from_being_judged() {
    let (ca, gone) = (TestAuthority::new("a.test"), TestAuthority::new("b.test"));
    let both: BundleSet = [ca.bundle(), gone.bundle()].into_iter().collect();
    let trusting = |bundles| IdentitySnapshot::new(ca.snapshot("/s").svids().to_vec(), bundles);
    let server = Arc::new(SnapshotCell::new(trusting(both)));
    let acceptor = server.server(anyone()).acceptor();
    let mut streams = Vec::new();
    for of in [&ca, &gone] {
        let svids = of.snapshot("/c").svids().to_vec();
        let client = SnapshotCell::new(IdentitySnapshot::new(svids, ca.bundle().into()));
        let (near, far) = duplex(64 * 1024);
        let connector = Arc::new(client).client(anyone()).connector();
        let (ours, theirs) = tokio::join!(acceptor.accept(near), connector.connect(far));
        streams.push((ours.unwrap(), theirs.unwrap()));
    }
    let ((good, _theirs), (mut removed, mut theirs)) = (streams.remove(0), streams.remove(0));
    theirs.write_all(b"too late").await.unwrap();
    theirs.flush().await.unwrap();

    let mut forgotten = step_by_step(good.proof_ended());
    forgotten();
    server.publish(trusting(ca.bundle().into()));
    forgotten();
    let why = VerifyError::UnknownTrustDomain(gone.trust_domain().clone());
    let ended = timeout(SOON, removed.proof_ended()).await.unwrap();
    assert_eq!(ended, why.into());
    let error = removed.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    good.peer().revalidate().unwrap();
}

/// Polls once at each call, and finds that it goes on.
fn step_by_step<T>(future: impl Future<Output = T>) -> impl FnMut() {
    let mut future = Box::pin(future);
    move || {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
    }
}

#[tokio::test]
async fn a_source_of_ones_own_is_judged_by_what_it_tells() {
    struct Own {
        latest: Mutex<Arc<IdentitySnapshot>>,
        told: watch::Sender<u64>,
        asked: AtomicUsize,
    }
    impl IdentitySource for Own {
        fn snapshot(&self) -> Arc<IdentitySnapshot> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Arc::clone(&self.latest.lock().unwrap())
        }
        fn subscribe(&self) -> watch::Receiver<u64> {
            self.told.subscribe()
        }
    }
    let (ca, other) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("example.org"),
    );
    let server = Arc::new(Own {
        latest: Mutex::new(Arc::new(ca.snapshot("/s"))),
        told: watch::Sender::new(7),
        asked: AtomicUsize::new(0),
    });
    let (stream, _theirs) =
        connect(&server.server(anyone()), &ca.source("/c").client(anyone())).await;
    let asked = server.asked.load(Ordering::SeqCst);
    let mut ended = pin!(stream.proof_ended());
    let waited = timeout(Duration::from_millis(50), &mut ended).await;
    assert!(waited.is_err(), "nothing has changed");
    // And where a policy of another test changed meanwhile.
    assert!(server.asked.load(Ordering::SeqCst) < asked + 20);

    *server.latest.lock().unwrap() = Arc::new(other.snapshot("/s"));
    server.told.send_modify(|number| *number += 1);
    timeout(SOON, ended).await.unwrap();
    stream.peer().revalidate().unwrap_err();
}

#[tokio::test]
async fn a_client_lets_go_of_a_server_that_it_trusts_no_more() {
    let (ca, other) = (
        TestAuthority::new("example.org"),
        TestAuthority::new("example.org"),
    );
    let client = ca.source("/c");
    let (_ours, mut theirs) =
        connect(&ca.source("/s").server(anyone()), &client.client(anyone())).await;
    client.publish(other.snapshot("/c"));
    let error = timeout(SOON, theirs.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_policy_that_is_replaced_ends_connections_that_it_would_not_let_in() {
    let ca = TestAuthority::new("example.org");
    let policy = Policy::new(exactly(CLIENT));
    let tls = ca.source("/s").server(policy.clone());
    let (mut stream, _theirs) = connect(&tls, &ca.source("/c").client(anyone())).await;
    policy.replace(anyone());
    stream.peer().revalidate().unwrap();
    policy.replace(exactly(spiffe_id!("spiffe://example.org/ops")));
    let error = timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let why = stream.peer().revalidate().unwrap_err();
    assert!(matches!(why, PeerError::Denied(_)), "{why}");
}

#[tokio::test]
async fn an_authorizer_with_a_changing_mind_is_asked_again_when_it_says_so() {
    let ca = TestAuthority::new("example.org");
    let allowed = Arc::new(AtomicUsize::new(1));
    let mind = Arc::clone(&allowed);
    let tls = ca
        .source("/s")
        .server(move |peer: &Peer| match mind.load(Ordering::SeqCst) {
            1 => Ok(()),
            _ => Err(Denied::new(peer, "welcome today")),
        });
    let (stream, _theirs) = connect(&tls, &ca.source("/c").client(anyone())).await;
    allowed.store(0, Ordering::SeqCst);
    policy::changed();
    stream.peer().revalidate().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn changes_of_trust_are_ignored_where_that_is_said_and_the_end_is_not() {
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("example.org", now);
    let server = ca.source("/s");
    let tls = server
        .server(anyone())
        .clock(clock.clone())
        .on_trust_change(TrustChange::Ignore);
    let client = holding(&ca, Duration::from_secs(60))
        .client(anyone())
        .clock(clock);
    let (stream, _theirs) = connect(&tls, &client).await;
    server.publish(IdentitySnapshot::new(vec![], BundleSet::default()));
    stream.peer().revalidate().unwrap();
    let begun = Instant::now();
    assert_eq!(stream.peer().ended().await, VerifyError::Expired.into());
    assert!((60..=62).contains(&begun.elapsed().as_secs()));
    assert_eq!(stream.peer().revalidate(), Err(VerifyError::Expired.into()));
}

#[tokio::test(start_paused = true)]
async fn it_is_time_to_part_in_the_last_tenth_and_not_at_one_moment_for_all() {
    let now = SystemClock.now();
    let ca = TestAuthority::at("example.org", now);
    let mut moments = Vec::new();
    for _ in 0..20 {
        let clock = Arc::new(TestClock::at(now));
        let tls = ca.source("/s").server(anyone()).clock(clock.clone());
        let client = holding(&ca, Duration::from_secs(1000))
            .client(anyone())
            .clock(clock);
        let (stream, _theirs) = connect(&tls, &client).await;
        let begun = Instant::now();
        assert_eq!(stream.parting().await, Parting::Due);
        moments.push(begun.elapsed().as_secs());
        stream.peer().revalidate().unwrap();
    }
    assert!(
        moments.iter().all(|at| (899..=980).contains(at)),
        "{moments:?}"
    );
    moments.sort_unstable();
    moments.dedup();
    assert!(moments.len() > 5, "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn last_words_go_out_and_no_more() {
    let now = SystemClock.now();
    let clock = Arc::new(TestClock::at(now));
    let ca = TestAuthority::at("example.org", now);
    let tls = ca.source("/s").server(anyone()).clock(clock.clone());
    let client = holding(&ca, Duration::from_secs(60))
        .client(anyone())
        .clock(clock);
    let (stream, mut theirs) = connect(&tls, &client).await;
    let mut stream = stream.with_last_words(Duration::from_secs(2));
    let ended = stream.proof_ended();
    let parted = stream.parting();
    assert_eq!(parted.await, Parting::Due);
    assert_eq!(ended.await, VerifyError::Expired.into());
    stream.write_all(b"bye").await.unwrap();
    stream.flush().await.unwrap();
    theirs.read_exact(&mut [0; 3]).await.unwrap();
    let begun = Instant::now();
    stream.read_u8().await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 2);
    stream.write_all(b"!").await.unwrap_err();
}

#[test]
fn a_peer_without_a_connection_was_judged_for_its_moment() {
    let ca = TestAuthority::new("example.org");
    let chain = [ca.svid("/c").leaf().der().clone()];
    let bundles = BundleSet::from(ca.bundle());
    let peer = x509_peer(&chain, &bundles, Role::Client, SystemClock.now()).unwrap();
    peer.revalidate().unwrap();
}

const SOON: Duration = Duration::from_secs(10);

fn holding(ca: &TestAuthority, lifetime: Duration) -> Arc<SnapshotCell> {
    let svid = ca.draft("/c").lifetime(lifetime).svid();
    let snapshot = IdentitySnapshot::new(vec![svid], ca.bundle().into());
    Arc::new(SnapshotCell::new(snapshot))
}

/// The server's end and the client's.
async fn connect(
    server: &ServerTls,
    client: &ClientTls,
) -> (PeerStream<DuplexStream>, PeerStream<DuplexStream>) {
    let (ours, theirs) = duplex(64 * 1024);
    let (acceptor, connector) = (server.acceptor(), client.connector());
    let (accepted, connected) = tokio::join!(acceptor.accept(ours), connector.connect(theirs));
    (accepted.unwrap(), connected.unwrap())
}
