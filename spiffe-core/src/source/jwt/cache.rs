//! The tokens that are kept, and what to do when one is asked for. It fetches nothing and reads no
//! clock.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::JwtSourceError;
use crate::SpiffeId;
use crate::backoff::Backoff;
use crate::jwt::JwtSvid;

/// What tells tokens apart: whose they are, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) id: Option<SpiffeId>,
    pub(super) audience: BTreeSet<String>,
}

/// How a fetch ended.
pub(super) type Landed = Result<JwtSvid, JwtSourceError>;

/// A fetch that is under way, and how it ends. All who want the same wait for the same one.
pub(super) type Flight = watch::Receiver<Option<Landed>>;

/// What to do for who asks for a token.
pub(super) enum Plan {
    /// There is none: start a fetch, tell this one how it ends, and wait as well.
    Fetch(watch::Sender<Option<Landed>>, Flight),
    /// Here it is.
    Give(JwtSvid),
    /// Here it is, and it is time to fetch the next one.
    GiveAndRenew(JwtSvid, watch::Sender<Option<Landed>>),
    /// There is none yet: wait for the fetch that is under way.
    Join(Flight),
}

pub(super) struct Cache {
    slots: HashMap<Key, Slot>,
    waits: (Duration, Duration),
}

#[derive(Default)]
struct Slot {
    held: Option<Held>,
    flight: Option<Flight>,
    failing: Option<Failing>,
}

struct Held {
    svid: JwtSvid,
    renew_at: SystemTime,
}

/// A renewal that failed, and is not tried again too soon.
struct Failing {
    backoff: Backoff,
    retry_at: SystemTime,
}

impl Cache {
    /// `waits` are the ceilings of the first and of the longest wait after a renewal failed.
    pub(super) fn new(waits: (Duration, Duration)) -> Self {
        Self {
            slots: HashMap::new(),
            waits,
        }
    }

    /// What to do for who asks.
    pub(super) fn ask(&mut self, key: &Key, now: SystemTime) -> Plan {
        if !self.slots.contains_key(key) {
            self.make_room(now);
        }
        self.slots.entry(key.clone()).or_default().ask(now)
    }

    /// Takes how a fetch ended. `withdraw` says whether an end in error takes the old token with it.
    pub(super) fn land(
        &mut self,
        key: &Key,
        landed: &Landed,
        withdraw: bool,
        now: SystemTime,
        seed: u64,
    ) {
        let (min, max) = self.waits;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.flight = None;
        match landed {
            Ok(svid) => {
                let left = svid.expires_at().duration_since(now).unwrap_or_default();
                slot.failing = None;
                slot.held = Some(Held {
                    svid: svid.clone(),
                    // Half of what is left and not of the whole: an agent that hands out the token
                    // it has is not asked again at once.
                    renew_at: now + left / 2,
                });
            }
            Err(_) if withdraw => slot.held = None,
            Err(_) => {
                let mut backoff = match slot.failing.take() {
                    Some(failing) => failing.backoff,
                    None => Backoff::new(min, max, seed),
                };
                let retry_at = now + backoff.next();
                slot.failing = Some(Failing { backoff, retry_at });
            }
        }
        if slot.held.is_none() {
            self.slots.remove(key);
        }
    }

    /// Whom to ask for is told from outside, so what is kept has a bound.
    fn make_room(&mut self, now: SystemTime) {
        if self.slots.len() < MAX_SLOTS {
            return;
        }
        self.slots
            .retain(|_, slot| slot.flight().is_some() || slot.valid(now).is_some());
        while self.slots.len() >= MAX_SLOTS {
            let idle = self
                .slots
                .iter()
                .filter(|(_, slot)| slot.flight().is_none());
            let next_to_end = idle.min_by_key(|(_, slot)| slot.held.as_ref().map(|h| h.renew_at));
            let Some(key) = next_to_end.map(|(key, _)| key.clone()) else {
                return;
            };
            self.slots.remove(&key);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Slot {
    fn ask(&mut self, now: SystemTime) -> Plan {
        let Some(held) = self.valid(now) else {
            return match self.flight() {
                Some(flight) => Plan::Join(flight.clone()),
                None => {
                    let (teller, flight) = watch::channel(None);
                    self.flight = Some(flight.clone());
                    Plan::Fetch(teller, flight)
                }
            };
        };
        let svid = held.svid.clone();
        let too_soon = matches!(&self.failing, Some(failing) if now < failing.retry_at);
        if now < held.renew_at || self.flight().is_some() || too_soon {
            return Plan::Give(svid);
        }
        let (teller, flight) = watch::channel(None);
        self.flight = Some(flight);
        Plan::GiveAndRenew(svid, teller)
    }

    /// The fetch that is under way. One that ended without a word, as by a panic, is none.
    fn flight(&self) -> Option<&Flight> {
        let flight = self.flight.as_ref();
        flight.filter(|flight| flight.has_changed().is_ok())
    }

    fn valid(&self, now: SystemTime) -> Option<&Held> {
        self.held
            .as_ref()
            .filter(|held| now < held.svid.expires_at())
    }
}

/// How many tokens are kept.
const MAX_SLOTS: usize = 1000;

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::testing::TestAuthority;

    const SECOND: Duration = Duration::from_secs(1);

    fn cache() -> Cache {
        Cache::new((SECOND, 30 * SECOND))
    }

    fn key(audience: &str) -> Key {
        Key {
            id: None,
            audience: [audience.to_owned()].into(),
        }
    }

    fn token() -> (JwtSvid, SystemTime) {
        let now = SystemClock.now();
        // Tokens end at a whole second.
        let svid = TestAuthority::at("a.test", now).jwt_svid("/web", &["db"]);
        let from = svid.expires_at() - 300 * SECOND;
        (svid, from)
    }

    fn failed() -> Landed {
        Err(JwtSourceError::Shutdown)
    }

    #[test]
    fn the_first_fetches_and_the_others_join() {
        let (svid, now) = token();
        let (mut cache, key) = (cache(), key("db"));
        let first = cache.ask(&key, now);
        assert!(matches!(first, Plan::Fetch(..)));
        assert!(matches!(cache.ask(&key, now), Plan::Join(_)));
        cache.land(&key, &Ok(svid), false, now, 1);
        assert!(matches!(cache.ask(&key, now), Plan::Give(_)));
    }

    #[test]
    fn a_fetch_that_went_away_without_a_word_is_made_again() {
        let (svid, now) = token();
        let (mut cache, key) = (cache(), key("db"));
        drop(cache.ask(&key, now));
        assert!(matches!(cache.ask(&key, now), Plan::Fetch(..)));
        cache.land(&key, &Ok(svid), false, now, 1);
        let half = now + 150 * SECOND;
        drop(cache.ask(&key, half));
        assert!(matches!(cache.ask(&key, half), Plan::GiveAndRenew(..)));
    }

    #[test]
    fn half_of_its_life_a_token_is_given_and_then_renewed_once_at_a_time() {
        let (svid, now) = token();
        let (mut cache, key) = (cache(), key("db"));
        cache.ask(&key, now);
        cache.land(&key, &Ok(svid.clone()), false, now, 1);
        assert!(matches!(cache.ask(&key, now + 149 * SECOND), Plan::Give(_)));
        let half = now + 150 * SECOND;
        let renewal = cache.ask(&key, half);
        assert!(matches!(renewal, Plan::GiveAndRenew(..)));
        assert!(matches!(cache.ask(&key, half), Plan::Give(_)));

        cache.land(&key, &failed(), false, half, 1);
        let mut renewals = 0;
        for second in 150..300 {
            match cache.ask(&key, now + second * SECOND) {
                Plan::Give(_) => {}
                Plan::GiveAndRenew(..) => {
                    renewals += 1;
                    cache.land(&key, &failed(), false, now + second * SECOND, 1);
                }
                Plan::Fetch(..) | Plan::Join(_) => panic!("it is valid still at {second} s"),
            }
        }
        assert!((5..40).contains(&renewals), "{renewals}");
        assert!(matches!(
            cache.ask(&key, svid.expires_at()),
            Plan::Fetch(..)
        ));
    }

    #[test]
    fn a_refusal_that_withdraws_takes_the_token() {
        let (svid, now) = token();
        let (mut cache, key) = (cache(), key("db"));
        cache.ask(&key, now);
        cache.land(&key, &Ok(svid), false, now, 1);
        cache.ask(&key, now + 150 * SECOND);
        cache.land(&key, &failed(), true, now + 150 * SECOND, 1);
        assert!(matches!(
            cache.ask(&key, now + 150 * SECOND),
            Plan::Fetch(..)
        ));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let (svid, now) = token();
        let mut cache = cache();
        for number in 0..2 * MAX_SLOTS {
            let key = key(&number.to_string());
            cache.ask(&key, now);
            cache.land(&key, &Ok(svid.clone()), false, now, 1);
        }
        assert_eq!(cache.len(), MAX_SLOTS);

        let failing = key("failing");
        cache.ask(&failing, now);
        cache.land(&failing, &failed(), false, now, 1);
        assert!(cache.len() < MAX_SLOTS, "what was not got is not kept");
    }
}
