//! A `JwtSource` against a Workload API that follows a script, on paused time.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spiffe_core::bundle::BundleSet;
use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::source::{JwtSource, JwtSourceBuilder, JwtSourceError, SourceError};
use spiffe_core::testing::{FakeWorkloadApi, Rpc, TestAuthority, TestClock};
use spiffe_core::verify::VerifyJwtError;
use spiffe_core::workload_api::WhenDenied;
use spiffe_core::{IdentitySource, SpiffeId, spiffe_id, with_causes};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const DB: SpiffeId = spiffe_id!("spiffe://a.test/db");
const SECOND: Duration = Duration::from_secs(1);

/// A workload with its agent and the authority behind it, which mints tokens of five minutes.
struct World {
    authority: Arc<TestAuthority>,
    api: FakeWorkloadApi,
    clock: TestClock,
}

impl World {
    fn new() -> Self {
        let now = SystemClock.now();
        let world = Self {
            authority: Arc::new(TestAuthority::at("a.test", now)),
            api: FakeWorkloadApi::in_memory(),
            clock: TestClock::at(now),
        };
        world
            .api
            .publish_bundles(&BundleSet::from(world.authority.bundle()));
        world.mint();
        world
    }

    fn mint(&self) {
        let (authority, clock) = (Arc::clone(&self.authority), self.clock);
        self.api.mint_jwt(move |audience| {
            let now = seconds(clock.now());
            let svid = |path| {
                let draft = authority.jwt_draft(path, audience);
                draft.claim("iat", now).claim("exp", now + 300).jwt_svid()
            };
            vec![svid("/web"), svid("/db")]
        });
    }

    fn builder(&self) -> JwtSourceBuilder {
        JwtSource::builder()
            .endpoint(self.api.endpoint())
            .clock(Arc::new(self.clock))
    }

    async fn connected() -> (Self, JwtSource) {
        let world = Self::new();
        let source = world.builder().connect().await.unwrap();
        (world, source)
    }

    fn fetches(&self) -> usize {
        self.api.calls_of(Rpc::JwtSvid)
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_per_subject_and_audience_set() {
    let (world, source) = World::connected().await;
    let first = source.svid(["db", "queue"]).await.unwrap();
    assert_eq!(*first.id(), WEB);
    for again in [
        source.svid(["queue", "db"]).await.unwrap(),
        source.clone().svid(["db", "queue", "db"]).await.unwrap(),
    ] {
        assert_eq!(again.token(), first.token(), "the order is of no account");
    }
    assert_eq!(world.fetches(), 1);

    assert_eq!(source.svid(["db"]).await.unwrap().audience(), ["db"]);
    assert_eq!(*source.svid_of(&DB, ["db"]).await.unwrap().id(), DB);
    assert_eq!(world.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_same_at_once_asks_once() {
    let (world, source) = World::connected().await;
    world.api.answer_after(2 * SECOND);
    let (a, b, c) = tokio::join!(
        source.svid(["db"]),
        source.svid(["db"]),
        source.svid(["queue"])
    );
    assert_eq!(a.unwrap().token(), b.unwrap().token());
    assert_eq!(c.unwrap().audience(), ["queue"]);
    assert_eq!(world.fetches(), 2);
}

// One lock around the call would make each wait for the other (sdk B11).
#[tokio::test(start_paused = true)]
async fn one_slow_audience_does_not_hold_up_another() {
    let (world, source) = World::connected().await;
    let begin = Instant::now();
    world.api.answer_after(2 * SECOND);
    let mut all = JoinSet::new();
    for audience in ["a", "b", "c", "d"] {
        let source = source.clone();
        all.spawn(async move { source.svid([audience]).await });
    }
    for svid in all.join_all().await {
        assert!(svid.is_ok());
    }
    assert_eq!(begin.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_does_not_stop_the_others() {
    let (world, source) = World::connected().await;
    world.api.answer_after(10 * SECOND);
    let other = source.clone();
    let mut waits = JoinSet::new();
    waits.spawn(async move { other.svid(["db"]).await });
    assert!(timeout(SECOND, source.svid(["db"])).await.is_err());
    assert!(waits.join_next().await.unwrap().unwrap().is_ok());
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_at_half_life_while_the_old_one_is_given() {
    let (world, source) = World::connected().await;
    let first = source.svid(["db"]).await.unwrap();
    world.api.answer_after(5 * SECOND);
    sleep(149 * SECOND).await;
    assert_eq!(source.svid(["db"]).await.unwrap().token(), first.token());
    assert_eq!(world.fetches(), 1);

    sleep(2 * SECOND).await;
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(source.svid(["db"]).await.unwrap().token(), first.token());
    }
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "nobody waits for a renewal"
    );
    sleep(6 * SECOND).await;
    let second = source.svid(["db"]).await.unwrap();
    assert_ne!(second.token(), first.token());
    assert_eq!(world.fetches(), 2);
}

// conformance: WE-21+ WE-21-
#[tokio::test(start_paused = true)]
async fn renewal_failure_keeps_a_valid_token_to_its_end_and_no_longer() {
    let (world, source) = World::connected().await;
    let first = source.svid(["db"]).await.unwrap();
    world.api.go_away();
    for _ in 0..29 {
        sleep(10 * SECOND).await;
        assert_eq!(source.svid(["db"]).await.unwrap().token(), first.token());
    }
    sleep(11 * SECOND).await;
    let why = source.svid(["db"]).await.unwrap_err();
    assert!(matches!(why, JwtSourceError::Fetch(_)), "{why}");

    world.api.come_back();
    assert!(source.svid(["db"]).await.is_ok());
}

// conformance: WA-22+ WA-22-
#[tokio::test(start_paused = true)]
async fn a_denied_renewal_withdraws_the_token() {
    for (when_denied, kept) in [
        (WhenDenied::Withdraw, false),
        (WhenDenied::KeepUntilExpiry, true),
    ] {
        let world = World::new();
        let source = world.builder().when_denied(when_denied).connect().await;
        let source = source.unwrap();
        source.svid(["db"]).await.unwrap();
        world.api.refuse(Code::PermissionDenied);
        sleep(160 * SECOND).await;
        // This one is given, and finds out.
        source.svid(["db"]).await.unwrap();
        sleep(SECOND).await;
        let again = source.svid(["db"]).await;
        assert_eq!(again.is_ok(), kept, "{when_denied:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_typed_and_tells() {
    let (world, source) = World::connected().await;
    let none: [&str; 0] = [];
    for why in [
        source.svid(none).await.unwrap_err(),
        source.svid(["db", ""]).await.unwrap_err(),
    ] {
        assert!(matches!(why, JwtSourceError::NoAudience));
    }
    let other = spiffe_id!("spiffe://a.test/other");
    let why = source.svid_of(&other, ["db"]).await.unwrap_err();
    assert_eq!(
        with_causes(&why),
        "no JWT-SVID: the agent answered PermissionDenied: as the test wants it"
    );
    world.api.go_away();
    let why = source.svid(["new"]).await.unwrap_err();
    assert!(matches!(why, JwtSourceError::Fetch(_)), "{why}");
    let clone = source.clone();
    source.shutdown().await;
    let why = clone.svid(["newer"]).await.unwrap_err();
    assert!(matches!(why, JwtSourceError::Shutdown), "{why}");
    assert!(clone.health().stopped);
    assert!(matches!(
        clone.ready().await,
        Ok(()) | Err(SourceError::Shutdown)
    ));
}

// conformance: WA-33+ WA-33- WA-37+ WA-37- WA-41+ WA-41-
#[tokio::test(start_paused = true)]
async fn tokens_are_verified_with_the_bundles_of_the_moment() {
    let (world, source) = World::connected().await;
    let token = source.svid(["db"]).await.unwrap();
    assert_eq!(*source.verify(token.token(), &["db"]).unwrap().id(), WEB);
    let none: [&str; 0] = [];
    let why = source.verify(token.token(), &none).unwrap_err();
    assert_eq!(why, VerifyJwtError::NoExpectedAudience);

    let friend = TestAuthority::at("b.test", SystemClock.now());
    let foreign = friend.jwt_svid("/x", &["db"]);
    let unknown = VerifyJwtError::UnknownTrustDomain(friend.trust_domain().clone());
    let judge = || source.verify(foreign.token(), &["db"]).map(drop);
    assert_eq!(judge(), Err(unknown.clone()));
    let mut changed = source.subscribe();
    let both = [world.authority.bundle(), friend.bundle()];
    world.api.publish_bundles(&both.into_iter().collect());
    changed.changed().await.unwrap();
    assert_eq!(judge(), Ok(()));
    world
        .api
        .publish_bundles(&BundleSet::from(world.authority.bundle()));
    changed.changed().await.unwrap();
    assert_eq!(judge(), Err(unknown), "what is left out is gone");
    assert!(source.snapshot().svid().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_first_wait_is_bounded_and_says_what_to_check() {
    let api = FakeWorkloadApi::in_memory();
    let builder = JwtSource::builder().endpoint(api.endpoint());
    let begin = Instant::now();
    let why = builder.clone().connect().await.unwrap_err();
    assert_eq!(begin.elapsed(), 30 * SECOND);
    assert!(
        why.to_string()
            .starts_with("no trust bundle from memory within 30s: check that"),
        "{why}"
    );
    api.refuse(Code::Unimplemented);
    let why = builder.connect().await.unwrap_err();
    assert!(matches!(why, SourceError::Refused { .. }), "{why}");
}
