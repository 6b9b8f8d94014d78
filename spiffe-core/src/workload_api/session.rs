//! The watch as a pure machine: what befell the stream goes in, what to do about it comes out.

use std::time::{Duration, SystemTime};

use crate::backoff::Backoff;

/// What befell the stream.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// It could not be opened, or it ended.
    Broke(Break),
    /// It is open.
    Opened,
    /// The time to wait is over.
    TimerFired,
    /// There was a message that nothing could be taken from.
    Unusable,
    /// There was a message.
    Update(T),
}

/// What an end of the stream means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The agent has no identity for us, or no more. It may have one later.
    Denied,
    /// Whom the identity is of is gone for good.
    #[cfg_attr(
        all(not(test), not(feature = "incubating-broker")),
        expect(dead_code, reason = "only brokers outlive the workload")
    )]
    Gone,
    /// Trying again cannot help: we are not understood.
    Lasting,
    /// The agent is away, or not ready.
    Passing,
}

/// What becomes of an identity when the agent says that there is none any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenDenied {
    /// It is kept until it expires. That is for agents which deny what they do not know yet.
    KeepUntilExpiry,
    /// It is withdrawn at once.
    #[default]
    Withdraw,
}

/// What the world shall learn of.
#[derive(Debug)]
pub(super) enum Action<T> {
    /// Replace what is known.
    Publish(T),
    /// Take back what was given.
    Withdraw,
}

/// What is waited for. The driver looks here for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The stream is to be opened.
    Connecting,
    /// The next message.
    Live,
    /// Nothing any more.
    Stopped,
    /// That it is so late.
    Waiting { until: SystemTime },
}

/// The watch. It does no I/O and reads no clock.
#[derive(Debug)]
pub(super) struct Session {
    state: State,
    backoff: Backoff,
    when_denied: WhenDenied,
    pause_when_denied: Duration,
}

impl Session {
    /// A watch that opens its stream first.
    pub(super) fn new(backoff: Backoff, when_denied: WhenDenied) -> Self {
        Self {
            state: State::Connecting,
            backoff,
            when_denied,
            pause_when_denied: Duration::ZERO,
        }
    }

    /// The same watch, which waits no less than that after a denial.
    pub(super) fn with_pause_when_denied(self, pause_when_denied: Duration) -> Self {
        Self {
            pause_when_denied,
            ..self
        }
    }

    /// What is waited for now.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Takes an event.
    pub(super) fn handle<T>(&mut self, event: Event<T>, now: SystemTime) -> Option<Action<T>> {
        match (self.state, event) {
            (State::Connecting, Event::Opened) => {
                self.state = State::Live;
                None
            }
            (State::Live, Event::Update(snapshot)) => {
                self.backoff.reset();
                Some(Action::Publish(snapshot))
            }
            (State::Live, Event::Unusable) => {
                self.backoff.reset();
                None
            }
            (State::Waiting { .. }, Event::TimerFired) => {
                self.state = State::Connecting;
                None
            }
            (State::Connecting | State::Live, Event::Broke(why)) => self.end(why, now),
            // Late news of a stream we have left.
            _ => None,
        }
    }

    fn end<T>(&mut self, why: Break, now: SystemTime) -> Option<Action<T>> {
        let pause = match why {
            Break::Denied => self.pause_when_denied,
            Break::Gone | Break::Lasting | Break::Passing => Duration::ZERO,
        };
        self.state = match why {
            Break::Gone | Break::Lasting => State::Stopped,
            Break::Denied | Break::Passing => State::Waiting {
                until: now + self.backoff.next().max(pause),
            },
        };
        let withdraw = match why {
            Break::Denied => self.when_denied == WhenDenied::Withdraw,
            Break::Gone => true,
            Break::Lasting | Break::Passing => false,
        };
        withdraw.then_some(Action::Withdraw)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    type Event = super::Event<()>;

    fn session() -> Session {
        that(WhenDenied::Withdraw)
    }

    fn that(when_denied: WhenDenied) -> Session {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 3);
        Session::new(backoff, when_denied)
    }

    fn live() -> Session {
        let mut session = session();
        session.handle(Event::Opened, UNIX_EPOCH);
        session
    }

    // conformance: WE-19- WE-21+ WE-22+ WE-23-
    #[test]
    fn each_end_has_its_consequence() {
        for (mut session, why) in [
            (session(), Break::Passing),
            (session(), Break::Denied),
            (session(), Break::Lasting),
            (session(), Break::Gone),
            (live(), Break::Passing),
            (live(), Break::Denied),
            (live(), Break::Lasting),
            (live(), Break::Gone),
        ] {
            let action = session.handle(Event::Broke(why), UNIX_EPOCH);
            let withdrawn = matches!(action, Some(Action::Withdraw));
            let withdraws = matches!(why, Break::Denied | Break::Gone);
            assert_eq!(withdrawn, withdraws, "{why:?}");
            let stopped = session.state() == State::Stopped;
            let stops = matches!(why, Break::Gone | Break::Lasting);
            assert_eq!(stopped, stops, "{why:?}");
        }
    }

    // conformance: WE-21+
    #[test]
    fn who_wants_to_keep_a_denied_identity_does_and_asks_again() {
        let mut session = that(WhenDenied::KeepUntilExpiry);
        session.handle(Event::Opened, UNIX_EPOCH);
        let action = session.handle(Event::Broke(Break::Denied), UNIX_EPOCH);
        assert!(action.is_none());
        assert!(matches!(session.state(), State::Waiting { .. }));
    }

    #[test]
    fn whoever_is_gone_keeps_nothing_and_a_denial_can_cost_a_pause() {
        let pause = Duration::from_secs(30);
        let mut session = that(WhenDenied::KeepUntilExpiry).with_pause_when_denied(pause);
        assert!(wait(&mut session) <= Duration::from_millis(500));
        session.handle(Event::Broke(Break::Denied), UNIX_EPOCH);
        let until = UNIX_EPOCH + pause;
        assert_eq!(session.state(), State::Waiting { until });
        session.handle(Event::TimerFired, until);
        let action = session.handle(Event::Broke(Break::Gone), until);
        assert!(matches!(action, Some(Action::Withdraw)));
        assert_eq!(session.state(), State::Stopped);
    }

    // conformance: WE-21+
    #[test]
    fn waits_grow_until_a_message_comes() {
        let mut session = session();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            longest = longest.max(wait(&mut session));
        }
        assert!(longest > Duration::from_secs(8), "{longest:?}");

        session.handle(Event::Opened, UNIX_EPOCH);
        session.handle(Event::Update(()), UNIX_EPOCH);
        assert!(wait(&mut session) <= Duration::from_millis(500));
    }

    #[test]
    fn an_open_stream_alone_does_not_shorten_the_waits() {
        let mut session = session();
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            session.handle(Event::Opened, UNIX_EPOCH);
            longest = longest.max(wait(&mut session));
        }
        assert!(longest > Duration::from_secs(8), "{longest:?}");
    }

    #[test]
    fn late_news_changes_nothing() {
        let mut session = session();
        session.handle(Event::Broke(Break::Lasting), UNIX_EPOCH);
        for event in [
            Event::Broke(Break::Denied),
            Event::Opened,
            Event::TimerFired,
            Event::Unusable,
            Event::Update(()),
        ] {
            assert!(session.handle(event, UNIX_EPOCH).is_none());
            assert_eq!(session.state(), State::Stopped);
        }
    }

    /// Breaks the stream, sits out the wait and tells how long it was.
    fn wait(session: &mut Session) -> Duration {
        session.handle(Event::Broke(Break::Passing), UNIX_EPOCH);
        let State::Waiting { until } = session.state() else {
            panic!("{:?}", session.state());
        };
        session.handle(Event::TimerFired, until);
        assert_eq!(session.state(), State::Connecting);
        until.duration_since(UNIX_EPOCH).unwrap()
    }
}
