//! Whether the process lives and can serve, as each of its parts sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The health of a process: live while no part is dead, ready while every part is.
///
/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Health {
    report: Arc<watch::Sender<Report>>,
}

/// One part's say in the health of the process.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    report: Arc<watch::Sender<Report>>,
    tolerated: u32,
    failures: u32,
}

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It cannot come back by itself; the process should be started anew.
    Dead(String),
    /// It does its work.
    Ready,
    /// It has not begun its work yet.
    Starting,
    /// It cannot do its work, but may be able to later.
    Unready(String),
}

/// How every part is at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    parts: BTreeMap<&'static str, State>,
}

impl Health {
    /// The health of a process without parts, which is not ready.
    pub fn new() -> Self {
        let (report, _) = watch::channel(Report::default());
        Self {
            report: Arc::new(report),
        }
    }

    /// A new part, which starts.
    pub fn part(&self, name: &'static str) -> Part {
        let part = Part {
            name,
            report: self.report.clone(),
            tolerated: 0,
            failures: 0,
        };
        part.set(State::Starting);
        part
    }

    /// How everything is now.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Part {
    /// Lets so many failures in a row pass before the part counts as not ready.
    #[must_use]
    pub fn tolerating(self, failures: u32) -> Self {
        Self {
            tolerated: failures,
            ..self
        }
    }

    /// The name of the part.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// It did its work.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.set(State::Ready);
    }

    /// It failed and will try again. A part that was never ready stays as it is until then.
    pub fn failed(&mut self, why: impl fmt::Display) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > self.tolerated {
            self.set(State::Unready(why.to_string()));
        }
    }

    /// It cannot do its work at the moment, whatever happened before.
    pub fn unready(&self, why: impl fmt::Display) {
        self.set(State::Unready(why.to_string()));
    }

    /// It will not come back.
    pub fn died(&self, why: impl fmt::Display) {
        self.set(State::Dead(why.to_string()));
    }

    fn set(&self, state: State) {
        self.report.send_if_modified(|report| {
            let changed = report.parts.get(self.name) != Some(&state);
            report.parts.insert(self.name, state);
            changed
        });
    }
}

impl Report {
    /// Whether nothing keeps the process from coming to serve again.
    pub fn is_live(&self) -> bool {
        let mut states = self.parts.values();
        states.all(|state| !matches!(state, State::Dead(_)))
    }

    /// Whether the process can serve.
    pub fn is_ready(&self) -> bool {
        let mut states = self.parts.values();
        !self.parts.is_empty() && states.all(|state| *state == State::Ready)
    }

    /// Every part by its name.
    pub fn parts(&self) -> &BTreeMap<&'static str, State> {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_and_ready_follow_from_the_parts() {
        let unready = || State::Unready("no route".to_owned());
        let dead = || State::Dead("no key".to_owned());
        for (states, live, ready) in [
            (vec![], true, false),
            (vec![State::Starting], true, false),
            (vec![State::Ready], true, true),
            (vec![State::Ready, State::Starting], true, false),
            (vec![State::Ready, unready()], true, false),
            (vec![State::Ready, dead()], false, false),
            (vec![State::Ready, State::Ready], true, true),
        ] {
            let parts = ["a", "b"].into_iter().zip(states.clone()).collect();
            let report = Report { parts };
            assert_eq!(
                (report.is_live(), report.is_ready()),
                (live, ready),
                "{states:?}"
            );
        }
    }

    #[test]
    fn a_part_is_unready_once_it_failed_more_often_than_is_tolerated() {
        let health = Health::new();
        let mut part = health.part("rotation").tolerating(2);
        part.succeeded();
        for ready in [true, true, false] {
            part.failed("no key");
            assert_eq!(health.report().is_ready(), ready);
        }
        assert_eq!(
            health.report().parts()["rotation"],
            State::Unready("no key".to_owned())
        );

        part.succeeded();
        part.failed("no key");
        assert!(health.report().is_ready(), "a success did not end the row");
    }

    #[test]
    fn only_changes_are_told() {
        let health = Health::new();
        let mut part = health.part("sync");
        let mut seen = health.subscribe();
        part.succeeded();
        assert!(seen.has_changed().unwrap());
        assert!(seen.borrow_and_update().is_ready());
        part.succeeded();
        assert!(!seen.has_changed().unwrap());
        part.died("banned");
        assert!(!seen.borrow_and_update().is_live());
    }
}
