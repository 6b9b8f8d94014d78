//! The agent's own identity as a pure machine: it does no I/O and reads no clock.
//!
//! An agent that cannot reach its server, or whose own SVID has ended, stays up and goes on serving
//! what is still valid. It ends when the server says that it is an agent no longer.

#[cfg(test)]
mod tests;

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
