//! The agent's own identity as a pure machine: it does no I/O and reads no clock.
//!
//! An agent that cannot reach its server, or whose own SVID has ended, stays up and goes on serving
//! what is still valid. It ends when the server says that it is an agent no longer.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Where an agent stands with its server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lifecycle {
    /// It never had an identity, or lost it while it was down.
    Unattested {
        /// How many times attesting has failed.
        failures: u32,
    },
    /// It has an identity in force.
    Attested {
        /// Its times.
        term: Term,
    },
    /// It has an identity in force, and is getting the next one.
    Renewing {
        /// The times of the one in force.
        term: Term,
        /// How many times that has failed.
        failures: u32,
    },
    /// Its identity is of no use any more, and it is proving itself anew.
    Reattesting {
        /// How many times that has failed.
        failures: u32,
    },
    /// Its identity is of no use any more, and it cannot prove itself anew: it needs an operator.
    Lapsed,
    /// It is no agent any more.
    Ended(End),
}

/// The times of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When to get the next one.
    pub renew_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Whether the agent can prove itself anew without anybody's help.
    pub can_reattest: bool,
}

/// What befell the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A new identity is in force.
    Admitted(Term),
    /// The [`Action::Attest`] or [`Action::Renew`] that was asked for came to nothing.
    Failed(Why),
    /// One that signed our identity is not to be trusted any more.
    Tainted,
    /// The time of the last [`Action::Sleep`] has come.
    TimerFired,
    /// The server turned away another call that was made with the identity in force.
    TurnedAway(Why),
}

/// Why the server would not have us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// This agent was banned.
    Banned,
    /// The server does not know this agent, or this SVID of it, any more.
    Evicted,
    /// The SVID has expired by the server's clock.
    Expired,
    /// It may work later: the server is away, or busy.
    Later,
    /// The server wants proof, not the old identity.
    MustReattest,
    /// It will not work: what we ask, or offer as proof, is not good.
    Never,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Prove what we are, and ask for an identity.
    Attest,
    /// Forget our identity: it must not be found at the next start.
    Forget,
    /// Ask for the next identity with the one we have.
    Renew,
    /// Come back at this time.
    Sleep(SystemTime),
    /// End the process.
    Stop(End),
}

/// Why an agent is none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// It was banned.
    #[error("this agent is banned; an operator has to evict it before it can attest again")]
    Banned,
    /// It was evicted, and cannot attest by itself.
    #[error(
        "the server no longer knows this agent, and it cannot attest again by itself: start it with a new join token"
    )]
    Evicted,
    /// It never was let in.
    #[error(
        "this agent could not attest, and trying again would not help; the line above says why"
    )]
    Refused,
}

impl Lifecycle {
    /// The beginning, with the identity that was found on disk.
    #[must_use]
    pub fn start(found: Option<Term>, now: SystemTime) -> (Self, Vec<Action>) {
        match found {
            Some(term) if term.expires_at > now => attested(term),
            _ => (Self::Unattested { failures: 0 }, vec![Action::Attest]),
        }
    }

    /// What follows from an event. `luck`, from 0 to 1, spreads agents that wait together.
    #[must_use]
    pub fn handle(self, event: Event, now: SystemTime, luck: f64) -> (Self, Vec<Action>) {
        match (self, event) {
            // Late news of a life that is over.
            (Self::Ended(_), _) => (self, vec![]),
            (_, Event::Admitted(term)) => attested(term),
            (_, Event::Failed(Why::Banned) | Event::TurnedAway(Why::Banned)) => ended(End::Banned),
            (_, Event::Failed(why)) => self.failed(why, now, luck),
            (Self::Attested { term }, Event::Tainted) => {
                (Self::Renewing { term, failures: 0 }, vec![next(term)])
            }
            (_, Event::Tainted) => (self, vec![]),
            (_, Event::TimerFired) => self.woken(now, luck),
            (_, Event::TurnedAway(why)) => self.turned_away(why, now, luck),
        }
    }

    fn woken(self, now: SystemTime, luck: f64) -> (Self, Vec<Action>) {
        match self {
            Self::Attested { term } | Self::Renewing { term, .. } if term.expires_at <= now => {
                lost(term.can_reattest, now, luck)
            }
            // Woken before its time, as a stepped clock does.
            Self::Attested { term } if term.renew_at > now => attested(term),
            Self::Attested { term } => (Self::Renewing { term, failures: 0 }, vec![next(term)]),
            Self::Renewing { term, .. } => (self, vec![next(term)]),
            Self::Unattested { .. } | Self::Reattesting { .. } => (self, vec![Action::Attest]),
            // The clocks may have been set right meanwhile.
            Self::Lapsed => (self, vec![Action::Renew]),
            Self::Ended(_) => (self, vec![]),
        }
    }

    fn failed(self, why: Why, now: SystemTime, luck: f64) -> (Self, Vec<Action>) {
        match (self, why) {
            (Self::Unattested { .. }, Why::Never) => ended(End::Refused),
            (Self::Unattested { failures }, _) => {
                let failures = failures + 1;
                let sleep = sleep(failures, now, luck);
                (Self::Unattested { failures }, vec![sleep])
            }
            (Self::Renewing { term, .. }, Why::Later | Why::Never) if term.expires_at <= now => {
                lost(term.can_reattest, now, luck)
            }
            (Self::Renewing { term, failures }, Why::Later | Why::Never) => {
                let failures = failures + 1;
                let sleep = sleep(failures, now, luck);
                (Self::Renewing { term, failures }, vec![sleep])
            }
            // Proof that is not good today may be tomorrow, and what we have is served meanwhile.
            (Self::Reattesting { failures }, _) => {
                let failures = failures + 1;
                let sleep = sleep(failures, now, luck);
                (Self::Reattesting { failures }, vec![sleep])
            }
            (Self::Lapsed, Why::MustReattest) => lost(true, now, luck),
            (Self::Lapsed, Why::Expired | Why::Later | Why::Never) => lost(false, now, luck),
            _ => self.turned_away(why, now, luck),
        }
    }

    fn turned_away(self, why: Why, now: SystemTime, luck: f64) -> (Self, Vec<Action>) {
        match (self, why) {
            (Self::Attested { term } | Self::Renewing { term, .. }, Why::Expired) => {
                lost(term.can_reattest, now, luck)
            }
            (Self::Attested { term } | Self::Renewing { term, .. }, Why::Evicted)
                if !term.can_reattest =>
            {
                ended(End::Evicted)
            }
            (Self::Attested { .. } | Self::Renewing { .. }, Why::Evicted | Why::MustReattest) => {
                lost(true, now, luck)
            }
            (Self::Lapsed, Why::Evicted) => ended(End::Evicted),
            // That a call failed says nothing about our identity; and that it is of no use we know.
            _ => (self, vec![]),
        }
    }

    /// The identity that is in force, if one is.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        match self {
            Self::Attested { term } | Self::Renewing { term, .. } => Some(*term),
            _ => None,
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unattested { .. } => f.write_str("not attested yet"),
            Self::Attested { .. } => f.write_str("attested"),
            Self::Renewing { failures: 0, .. } => f.write_str("attested, renewing its SVID"),
            Self::Renewing { failures, .. } => {
                write!(f, "attested, but renewing its SVID failed {failures} times")
            }
            Self::Reattesting { .. } => f.write_str("its SVID is of no use; attesting anew"),
            Self::Lapsed => f.write_str(
                "its SVID has expired and it cannot attest by itself: start it with a new join token",
            ),
            Self::Ended(end) => end.fmt(f),
        }
    }
}

fn attested(term: Term) -> (Lifecycle, Vec<Action>) {
    let wake = term.renew_at.min(term.expires_at);
    (Lifecycle::Attested { term }, vec![Action::Sleep(wake)])
}

/// The identity is of no use any more.
fn lost(can_reattest: bool, now: SystemTime, luck: f64) -> (Lifecycle, Vec<Action>) {
    if can_reattest {
        // Not at once: this may befall many agents at one moment.
        let sleep = Action::Sleep(now + FIRST_PAUSE.mul_f64(luck));
        (Lifecycle::Reattesting { failures: 0 }, vec![sleep])
    } else {
        let sleep = Action::Sleep(now + LONGEST_PAUSE);
        (Lifecycle::Lapsed, vec![sleep])
    }
}

fn ended(end: End) -> (Lifecycle, Vec<Action>) {
    let actions = match end {
        // An identity on disk, if there is one, belongs to an earlier life and may still be good.
        End::Refused => vec![Action::Stop(end)],
        End::Banned | End::Evicted => vec![Action::Forget, Action::Stop(end)],
    };
    (Lifecycle::Ended(end), actions)
}

/// How an agent gets its next identity: who can prove itself anew does, because the server would
/// not renew.
fn next(term: Term) -> Action {
    if term.can_reattest {
        Action::Attest
    } else {
        Action::Renew
    }
}

fn sleep(failures: u32, now: SystemTime, luck: f64) -> Action {
    let growth = GROWTH.powi(failures.saturating_sub(1).min(40) as i32);
    let pause = LONGEST_PAUSE.min(FIRST_PAUSE.mul_f64(growth));
    Action::Sleep(now + pause.mul_f64(0.9 + 0.2 * luck))
}

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 60);
const GROWTH: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn term(can_reattest: bool) -> Term {
        Term {
            renew_at: at(1800),
            expires_at: at(3600),
            can_reattest,
        }
    }

    const NO_LUCK: f64 = 0.5;

    fn after(state: Lifecycle, event: Event, now: u64) -> (Lifecycle, Vec<Action>) {
        state.handle(event, at(now), NO_LUCK)
    }

    use Action::{Attest, Forget, Renew, Sleep, Stop};
    use Event::{Admitted, Failed, Tainted, TimerFired, TurnedAway};
    use Lifecycle::{Attested, Ended, Lapsed, Reattesting, Renewing, Unattested};

    #[test]
    fn it_begins_with_what_is_on_disk() {
        let term = term(false);
        for (found, now, state, action) in [
            (None, 0, Unattested { failures: 0 }, Attest),
            (Some(term), 0, Attested { term }, Sleep(at(1800))),
            (Some(term), 2000, Attested { term }, Sleep(at(1800))),
            (Some(term), 3600, Unattested { failures: 0 }, Attest),
        ] {
            assert_eq!(Lifecycle::start(found, at(now)), (state, vec![action]));
        }
    }

    #[test]
    fn it_renews_in_time_or_proves_itself_anew() {
        for (can_reattest, how) in [(false, Renew), (true, Attest)] {
            let term = term(can_reattest);
            let (state, actions) = after(Attested { term }, TimerFired, 1800);
            assert_eq!(state, Renewing { term, failures: 0 });
            assert_eq!(actions, [how]);
            let next = Term {
                renew_at: at(5000),
                ..term
            };
            let (state, actions) = after(state, Admitted(next), 1801);
            assert_eq!(state, Attested { term: next });
            assert_eq!(actions, [Sleep(at(3600))], "no later than its end");
        }
        let term = term(false);
        let (state, actions) = after(Attested { term }, TimerFired, 1700);
        assert_eq!((state, actions), (Attested { term }, vec![Sleep(at(1800))]));
    }

    #[test]
    fn a_tainted_identity_is_renewed_at_once() {
        let term = term(false);
        let renewing = Renewing { term, failures: 0 };
        assert_eq!(
            after(Attested { term }, Tainted, 0),
            (renewing, vec![Renew])
        );
        for state in [renewing, Unattested { failures: 0 }, Lapsed] {
            assert_eq!(after(state, Tainted, 0), (state, vec![]));
        }
    }

    #[test]
    fn renewal_failure_keeps_valid_svid() {
        let term = term(false);
        let (mut state, _) = after(Attested { term }, TimerFired, 1800);
        let mut now = 1800;
        for failures in 1..200 {
            let (next, actions) = after(state, Failed(Why::Later), now);
            if now >= 3600 {
                assert_eq!(next, Lapsed);
                return;
            }
            assert_eq!(next.term(), Some(term), "after {failures} failures");
            let [Sleep(until)] = actions[..] else {
                panic!("{actions:?}")
            };
            now = until.duration_since(at(0)).unwrap().as_secs() + 1;
            state = next;
        }
        panic!("it never ended");
    }

    #[test]
    fn pauses_grow_to_two_minutes_and_are_spread() {
        let pause = |failures, luck| match sleep(failures, at(0), luck) {
            Sleep(until) => until.duration_since(at(0)).unwrap().as_millis(),
            action => panic!("{action:?}"),
        };
        let pauses: Vec<_> = (1..=10).map(|failures| pause(failures, 0.5)).collect();
        let expected = [
            5_000, 7_500, 11_250, 16_875, 25_312, 37_968, 56_953, 85_429, 120_000, 120_000,
        ];
        assert_eq!(pauses, expected);
        assert_eq!((pause(9, 0.0), pause(9, 1.0)), (108_000, 132_000));
        assert_eq!(pause(u32::MAX, 0.5), 120_000);
    }

    #[test]
    fn what_a_failure_means_depends_on_where_the_agent_stands() {
        let (token, proof) = (term(false), term(true));
        let renewing = |term, failures| Renewing { term, failures };
        let reattesting = |failures| Reattesting { failures };
        let soon = Sleep(at(2000) + Duration::from_millis(2500));
        let (later, much_later) = (Sleep(at(2005)), Sleep(at(2120)));
        let gone = vec![Forget, Stop(End::Evicted)];
        for (state, why, next, actions) in [
            // An agent that cannot prove itself anew.
            (
                renewing(token, 0),
                Why::Later,
                renewing(token, 1),
                vec![later],
            ),
            (
                renewing(token, 0),
                Why::Never,
                renewing(token, 1),
                vec![later],
            ),
            (renewing(token, 0), Why::Expired, Lapsed, vec![much_later]),
            (
                renewing(token, 0),
                Why::MustReattest,
                reattesting(0),
                vec![soon],
            ),
            (
                renewing(token, 0),
                Why::Evicted,
                Ended(End::Evicted),
                gone.clone(),
            ),
            // One that can.
            (
                renewing(proof, 3),
                Why::MustReattest,
                reattesting(0),
                vec![soon],
            ),
            (renewing(proof, 3), Why::Evicted, reattesting(0), vec![soon]),
            (renewing(proof, 3), Why::Expired, reattesting(0), vec![soon]),
            (reattesting(0), Why::Never, reattesting(1), vec![later]),
            (reattesting(0), Why::Later, reattesting(1), vec![later]),
            // One that never was let in.
            (
                Unattested { failures: 0 },
                Why::Later,
                Unattested { failures: 1 },
                vec![later],
            ),
            (
                Unattested { failures: 0 },
                Why::Never,
                Ended(End::Refused),
                vec![Stop(End::Refused)],
            ),
            // One that waits for its operator.
            (Lapsed, Why::Expired, Lapsed, vec![much_later]),
            (Lapsed, Why::Later, Lapsed, vec![much_later]),
            (Lapsed, Why::MustReattest, reattesting(0), vec![soon]),
            (Lapsed, Why::Evicted, Ended(End::Evicted), gone),
        ] {
            let got = after(state, Failed(why), 2000);
            assert_eq!(got, (next, actions), "{state:?} {why:?}");
        }
    }

    #[test]
    fn another_call_that_is_turned_away_counts_only_against_an_identity_in_force() {
        let (token, proof) = (term(false), term(true));
        let soon = Sleep(at(2000) + Duration::from_millis(2500));
        let reattesting = Reattesting { failures: 0 };
        for (term, why, next, actions) in [
            (token, Why::Later, Attested { term: token }, vec![]),
            (token, Why::Never, Attested { term: token }, vec![]),
            (
                token,
                Why::Evicted,
                Ended(End::Evicted),
                vec![Forget, Stop(End::Evicted)],
            ),
            (token, Why::Expired, Lapsed, vec![Sleep(at(2120))]),
            (token, Why::MustReattest, reattesting, vec![soon]),
            (proof, Why::Evicted, reattesting, vec![soon]),
            (proof, Why::Expired, reattesting, vec![soon]),
        ] {
            let got = after(Attested { term }, TurnedAway(why), 2000);
            assert_eq!(got, (next, actions), "{why:?}");
        }
        for state in [
            Unattested { failures: 2 },
            Reattesting { failures: 2 },
            Lapsed,
        ] {
            for why in [Why::Expired, Why::Later, Why::MustReattest, Why::Never] {
                assert_eq!(
                    after(state, TurnedAway(why), 2000),
                    (state, vec![]),
                    "{why:?}"
                );
            }
        }
    }

    #[test]
    fn banned_is_the_end_wherever_it_stands() {
        let term = term(true);
        for state in [
            Unattested { failures: 0 },
            Attested { term },
            Renewing { term, failures: 1 },
            Reattesting { failures: 2 },
            Lapsed,
        ] {
            for event in [Failed(Why::Banned), TurnedAway(Why::Banned)] {
                let (state, actions) = after(state, event, 0);
                assert_eq!(state, Ended(End::Banned));
                assert_eq!(actions, [Forget, Stop(End::Banned)]);
                for event in [Admitted(term), Failed(Why::Later), TimerFired] {
                    assert_eq!(after(state, event, 1), (state, vec![]), "{event:?}");
                }
            }
        }
    }

    #[test]
    fn one_that_lapsed_still_looks_whether_the_clocks_were_set_right() {
        let term = term(false);
        let (state, actions) = after(Attested { term }, TimerFired, 3600);
        assert_eq!((state, &actions[..]), (Lapsed, &[Sleep(at(3720))][..]));
        assert_eq!(after(state, TimerFired, 3720), (Lapsed, vec![Renew]));
        assert_eq!(after(state, Admitted(term), 3720).0, Attested { term });
    }

    #[test]
    fn no_sequence_of_events_leaves_it_without_a_next_step() {
        let mut random = fastrand::Rng::with_seed(3);
        let whys = [
            Why::Banned,
            Why::Evicted,
            Why::Expired,
            Why::Later,
            Why::MustReattest,
            Why::Never,
        ];
        for _ in 0..2_000 {
            let found = random.bool().then(|| term(random.bool()));
            let (mut state, mut actions) = Lifecycle::start(found, at(0));
            let mut now = 0;
            let mut asleep = false;
            for _ in 0..30 {
                for action in &actions {
                    asleep = matches!(action, Sleep(_));
                }
                let asks = actions.iter().any(|a| matches!(a, Attest | Renew));
                if let Ended(_) = state {
                    break;
                }
                assert!(asks || asleep, "{state:?} is stuck");
                now += random.u64(..500);
                let event = if asks {
                    asleep = false;
                    match random.u8(..3) {
                        0 => Admitted(Term {
                            renew_at: at(now + 1800),
                            expires_at: at(now + 3600),
                            can_reattest: random.bool(),
                        }),
                        _ => Failed(whys[random.usize(..whys.len())]),
                    }
                } else if random.bool() {
                    TimerFired
                } else {
                    TurnedAway(whys[random.usize(..whys.len())])
                };
                (state, actions) = state.handle(event, at(now), random.f64());
            }
        }
    }
}
