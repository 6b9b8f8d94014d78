//! Whether a peer is still good while its connection lasts.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CommonState;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::CertificateDer;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::HandshakeError;
use super::verdict::Verdict;
use crate::authorizer::Authorizer;
use crate::clock::{Clock, sleep_until};
use crate::policy;
use crate::source::IdentitySource;
use crate::telemetry;
use crate::verify::{self, Peer, PeerError, Role, VerifyError, x509_peer_with};
use crate::with_causes;
use crate::woken::Woken;
use crate::x509::Certificate;

/// What becomes of a connection when trust or policy change while it lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustChange {
    /// Nothing. It ends when a certificate of the peer does, and not before.
    Ignore,
    /// The peer is judged again, and the connection ends if it is turned away.
    #[default]
    Revalidate,
}

/// What peers are judged with again: one for all connections of an acceptor or a connector.
pub(super) struct Court {
    pub(super) source: Arc<dyn IdentitySource>,
    pub(super) allow: Arc<dyn Authorizer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) on_change: TrustChange,
    /// How many connections have a peer.
    pub(super) connections: AtomicU32,
}

/// Which trust and which policies there are: where it is another one, verdicts may be others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moment {
    generation: u64,
    epoch: u64,
}

impl Court {
    pub(super) fn moment(&self) -> Moment {
        Moment {
            generation: self.source.generation(),
            epoch: policy::epoch(),
        }
    }

    /// Judges a peer by what it presents.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: SystemTime,
    ) -> Result<Peer, PeerError> {
        // Before the snapshot, and not asked of it: a change in between is seen by the next look, and
        // sources that are not ours number nothing but what they tell.
        let generation = self.source.generation();
        // One snapshot for the whole verdict: a rotation meanwhile is the next one's matter.
        let snapshot = self.source.snapshot();
        let (algorithms, bundles) = (self.algorithms.all, snapshot.bundles());
        let at = |moment| x509_peer_with(algorithms, chain, bundles, role, moment);
        let peer = at(now).inspect_err(|why| {
            if matches!(why, VerifyError::Expired | VerifyError::NotYetValid)
                && let Some(Ok(leaf)) = chain.first().map(|leaf| Certificate::from_der(leaf))
            {
                telemetry::peer_clock_skew(&leaf, now, |valid| at(valid).is_ok());
            }
        });
        let peer = peer?.judged_at(generation);
        self.allow.authorize(&peer)?;
        Ok(peer)
    }

    /// The verdict on a handshake that is done. In one that resumes a session rustls asks no
    /// verifier, so that the peer is judged here: by what it presented when the session began.
    pub(super) fn verdict(
        &self,
        noted: Option<Verdict>,
        session: &CommonState,
        role: Role,
    ) -> Option<Verdict> {
        noted.or_else(|| {
            let chain = session.peer_certificates()?;
            let verdict = self.judge(chain, role, self.clock.now());
            Some(verdict.map_err(HandshakeError::from))
        })
    }

    /// After a change all connections want to be judged at once. Those on which nothing happens can
    /// wait a moment, so that half of the machine is left to the requests of the others.
    async fn give_way(&self) {
        let all = 2 * JUDGEMENT * self.connections.load(Ordering::Relaxed);
        if all < Duration::from_millis(1) {
            return yield_now().await;
        }
        sleep(all.mul_f64(fastrand::f64())).await;
    }
}

/// The standing of one connection's peer.
pub(super) struct Standing {
    court: Arc<Court>,
    side: Role,
    /// As it was last found good. Held while judging: whoever comes meanwhile waits for the verdict.
    peer: Mutex<Peer>,
    /// What that verdict holds for.
    generation: AtomicU64,
    epoch: AtomicU64,
    /// When it ends, in whole seconds since 1970, as certificates count.
    end: AtomicU64,
    ended: OnceLock<PeerError>,
    /// Wakes those who wait for the end, whoever it was that found out.
    turned_away: Notify,
    /// Whether it was time to part from the peer.
    parted: AtomicBool,
}

impl Standing {
    /// The standing of a peer that was judged a moment ago. It may have been so with a snapshot or
    /// a policy that are gone by now; the first look tells.
    pub(super) fn new(court: Arc<Court>, peer: Peer, began_at: Moment) -> Self {
        court.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            court,
            side: match peer.role() {
                Role::Client => Role::Server,
                Role::Server => Role::Client,
            },
            generation: peer.generation().into(),
            epoch: began_at.epoch.into(),
            end: end_of(&peer).into(),
            peer: Mutex::new(peer),
            ended: OnceLock::new(),
            turned_away: Notify::new(),
            parted: AtomicBool::new(false),
        }
    }

    /// Whether the last verdict stands: the fast path of each request.
    pub(super) fn is_current(&self) -> bool {
        self.ended.get().is_none() && !self.has_changed() && self.court.clock.now() < self.end()
    }

    fn has_changed(&self) -> bool {
        self.court.on_change == TrustChange::Revalidate
            && (self.generation.load(Ordering::Acquire) != self.court.source.generation()
                || self.epoch.load(Ordering::Acquire) != policy::epoch())
    }

    /// From when on the proof does not hold, whatever else happens.
    pub(super) fn end(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.end.load(Ordering::Acquire))
    }

    /// Our side: the one that the peer is not on.
    pub(super) fn side(&self) -> Role {
        self.side
    }

    /// Notes that it is time to part from the peer.
    pub(super) fn part(&self) {
        self.parted.store(true, Ordering::Relaxed);
    }

    /// Why the connection ended, as a word, if it ends now.
    pub(super) fn end_reason(&self) -> &'static str {
        match self.ended.get() {
            Some(why) => why.reason(),
            None if self.parted.load(Ordering::Relaxed) => "parted",
            None => "closed",
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.court.clock
    }

    /// Waits for a change of trust or policy, and lets others go first then.
    async fn changed(&self, trust: &mut watch::Receiver<u64>, policies: &mut watch::Receiver<()>) {
        tokio::select! {
            () = changed(trust) => {}
            () = changed(policies) => {}
        }
        self.court.give_way().await;
    }

    fn judge_again(&self) -> Result<(), PeerError> {
        let mut peer = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_current() {
            return Ok(());
        }
        // Before the verdict: a change while we judge is seen by the next look.
        let epoch = policy::epoch();
        let again = self.verdict(&peer).map_err(|why| {
            // Told once, however often it is asked.
            let end = self.ended.get_or_init(|| {
                telemetry::judged_again(self.side, telemetry::REFUSED, why.reason());
                tracing::info!(peer = %peer.id(), error = %with_causes(&why), "a connection outlived its peer's standing");
                why
            });
            self.turned_away.notify_waiters();
            end.clone()
        })?;
        telemetry::judged_again(self.side, telemetry::OK, "");
        self.generation.store(again.generation(), Ordering::Release);
        self.epoch.store(epoch, Ordering::Release);
        self.end.store(end_of(&again), Ordering::Release);
        *peer = again;
        Ok(())
    }

    fn verdict(&self, peer: &Peer) -> Result<Peer, PeerError> {
        if let Some(why) = self.ended.get() {
            return Err(why.clone());
        }
        let now = self.court.clock.now();
        if self.court.on_change == TrustChange::Ignore {
            return match now < self.end() {
                true => Ok(peer.clone()),
                false => Err(VerifyError::Expired.into()),
            };
        }
        self.court.judge(peer.certificates(), peer.role(), now)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.court.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl verify::Standing for Standing {
    fn revalidate(&self) -> Result<(), PeerError> {
        match self.is_current() {
            true => Ok(()),
            false => self.judge_again(),
        }
    }

    fn ended(self: Arc<Self>) -> verify::Ended {
        Woken::new(async move {
            // Before the first look: what is published in between is seen.
            let mut trust = self.court.source.subscribe();
            let mut policies = policy::subscribe();
            loop {
                let turned_away = self.turned_away.notified();
                // Judged in one go, holding nothing: whoever waits here may not be polled for long.
                if let Err(why) = self.revalidate() {
                    return why;
                }
                tokio::select! {
                    () = turned_away => {}
                    () = self.changed(&mut trust, &mut policies) => {}
                    () = sleep_until(&*self.court.clock, self.end()) => {}
                }
            }
        })
    }
}

/// The first second in which a certificate does not hold any more: it holds through its last one.
fn end_of(peer: &Peer) -> u64 {
    let not_after = peer.not_after().duration_since(UNIX_EPOCH);
    not_after.map_or(0, |since| since.as_secs() + 1)
}

/// Waits for a change. Of a source that is gone there is none.
async fn changed<T>(changes: &mut watch::Receiver<T>) {
    if changes.changed().await.is_err() {
        pending().await
    }
}

/// What it costs to judge a peer, and rather more.
const JUDGEMENT: Duration = Duration::from_micros(125);
