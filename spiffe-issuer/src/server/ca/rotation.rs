//! When one authority follows the other. Pure: the time and the authorities go in, what is due
//! comes out. One machine for every sort of authority.

use std::time::{Duration, SystemTime};

use crate::domain::Standing;

/// Something that signs for a while.
pub trait Authority {
    /// When it was made.
    fn issued_at(&self) -> SystemTime;
    /// When it ends.
    fn not_after(&self) -> SystemTime;
}

/// The authorities of one sort: the one that signs, the one that will, and the one that did.
///
/// The one that did is kept until it ends: what it signed is still about, and an operator may want to
/// taint or revoke it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation<A> {
    /// There is none yet.
    Empty,
    /// One signs.
    Active {
        /// The one that signs.
        active: A,
        /// The one that signed before.
        old: Option<A>,
    },
    /// One signs, and the next one is made and published, so that all who verify can know it before
    /// they meet it.
    Prepared {
        /// The one that signs.
        active: A,
        /// The one that will.
        next: A,
        /// The one that signed before.
        old: Option<A>,
    },
}

/// The one step that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next one is to sign from now on.
    Activate,
    /// The next one is to be made.
    Prepare,
}

impl<A: Authority> Rotation<A> {
    /// The rotation of these authorities. A prepared one signs at once where there is none that
    /// could.
    #[must_use]
    pub fn of(active: Option<A>, next: Option<A>, old: Option<A>) -> Self {
        match (active, next) {
            (Some(active), Some(next)) => Self::Prepared { active, next, old },
            (Some(active), None) | (None, Some(active)) => Self::Active { active, old },
            (None, None) => Self::Empty,
        }
    }

    /// The step that is due now, if one is.
    #[must_use]
    pub fn due(&self, now: SystemTime) -> Option<Step> {
        match self {
            Self::Empty => Some(Step::Prepare),
            Self::Active { active, .. } => (now >= prepare_at(active)).then_some(Step::Prepare),
            Self::Prepared { active, .. } => (now >= activate_at(active)).then_some(Step::Activate),
        }
    }

    /// When to look again: the time of the next step.
    #[must_use]
    pub fn due_at(&self) -> Option<SystemTime> {
        match self {
            Self::Empty => None,
            Self::Active { active, .. } => Some(prepare_at(active)),
            Self::Prepared { active, .. } => Some(activate_at(active)),
        }
    }

    /// With the next one made. The very first signs at once: there is none that could sign before.
    /// One that was prepared and never signed is dropped.
    #[must_use]
    pub fn prepared(self, next: A) -> Self {
        match self {
            Self::Empty => Self::Active {
                active: next,
                old: None,
            },
            Self::Active { active, old } | Self::Prepared { active, old, .. } => {
                Self::Prepared { active, next, old }
            }
        }
    }

    /// With the next one signing, and the one that signed as the old one. Where none is prepared,
    /// nothing changes.
    #[must_use]
    pub fn activated(self) -> Self {
        match self {
            Self::Prepared { active, next, .. } => Self::Active {
                active: next,
                old: Some(active),
            },
            unprepared => unprepared,
        }
    }

    /// Without the old one: it was revoked.
    #[must_use]
    pub fn retired(self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Active { active, .. } => Self::Active { active, old: None },
            Self::Prepared { active, next, .. } => Self::Prepared {
                active,
                next,
                old: None,
            },
        }
    }

    /// All of them, with how far each has come: the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = (Standing, &A)> {
        [
            self.active().map(|active| (Standing::Active, active)),
            self.next().map(|next| (Standing::Prepared, next)),
            self.old().map(|old| (Standing::Old, old)),
        ]
        .into_iter()
        .flatten()
    }

    /// The one that signs.
    pub fn active(&self) -> Option<&A> {
        match self {
            Self::Empty => None,
            Self::Active { active, .. } | Self::Prepared { active, .. } => Some(active),
        }
    }

    /// The one that will.
    pub fn next(&self) -> Option<&A> {
        match self {
            Self::Prepared { next, .. } => Some(next),
            Self::Empty | Self::Active { .. } => None,
        }
    }

    /// The one that did.
    pub fn old(&self) -> Option<&A> {
        match self {
            Self::Empty => None,
            Self::Active { old, .. } | Self::Prepared { old, .. } => old.as_ref(),
        }
    }
}

/// The longest lifetime of what an authority signs that is never cut short by the authority's own
/// end: whatever signs has at least this long to live.
#[must_use]
pub fn longest_honoured(authority_lifetime: Duration) -> Duration {
    ACTIVATE.before_end(authority_lifetime)
}

/// The shortest lifetime of an authority that always honours this one of what it signs; none does
/// where that is too long.
#[must_use]
pub fn shortest_honouring(lifetime: Duration) -> Option<Duration> {
    (lifetime <= ACTIVATE.most).then(|| lifetime * ACTIVATE.part)
}

fn prepare_at(authority: &impl Authority) -> SystemTime {
    PREPARE.of(authority)
}

fn activate_at(authority: &impl Authority) -> SystemTime {
    ACTIVATE.of(authority)
}

/// How long before its end something is due: a part of the lifetime, with an upper bound.
struct Lead {
    part: u32,
    most: Duration,
}

impl Lead {
    fn before_end(&self, lifetime: Duration) -> Duration {
        (lifetime / self.part).min(self.most)
    }

    fn of(&self, authority: &impl Authority) -> SystemTime {
        let end = authority.not_after();
        // An end before the beginning leaves nothing to wait for.
        let lifetime = end
            .duration_since(authority.issued_at())
            .unwrap_or_default();
        end - self.before_end(lifetime)
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The next one is made this long before the end of the active one.
const PREPARE: Lead = Lead {
    part: 2,
    most: DAY.saturating_mul(30),
};

/// The next one signs from this long before the end of the active one.
const ACTIVATE: Lead = Lead {
    part: 6,
    most: DAY.saturating_mul(7),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Ca {
        from: u64,
        to: u64,
    }

    impl Authority for Ca {
        fn issued_at(&self) -> SystemTime {
            hour(self.from)
        }
        fn not_after(&self) -> SystemTime {
            hour(self.to)
        }
    }

    fn hour(h: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * h)
    }

    fn ca(from: u64, hours: u64) -> Ca {
        Ca {
            from,
            to: from + hours,
        }
    }

    #[test]
    fn each_step_falls_due_in_its_hour() {
        let empty = Rotation::<Ca>::Empty;
        assert_eq!(empty.due(hour(0)), Some(Step::Prepare));

        let active = empty.prepared(ca(0, 24));
        assert_eq!(active.due(hour(11)), None);
        assert_eq!(active.due(hour(12)), Some(Step::Prepare));

        let prepared = active.prepared(ca(12, 24));
        assert_eq!(prepared.due(hour(19)), None);
        assert_eq!(prepared.due(hour(20)), Some(Step::Activate));

        let active = prepared.activated();
        assert_eq!(active.old(), Some(&ca(0, 24)));
        assert_eq!(active.active(), Some(&ca(12, 24)));
        assert_eq!(active.due(hour(20)), None);
    }

    #[test]
    fn long_lives_are_followed_no_earlier_than_a_month_and_a_week_before_their_end() {
        let year = 365 * 24;
        for (hours, prepare, activate) in [
            (24, 12, 20),
            (60 * 24, 30 * 24, 53 * 24),
            (42 * 24, 21 * 24, 35 * 24),
            (year, year - 30 * 24, year - 7 * 24),
        ] {
            let active = Rotation::Empty.prepared(ca(0, hours));
            assert_eq!(active.due_at(), Some(hour(prepare)), "{hours} hours");
            let prepared = active.prepared(ca(1, hours));
            assert_eq!(prepared.due_at(), Some(hour(activate)), "{hours} hours");
        }
    }

    #[test]
    fn a_clock_that_jumped_ahead_makes_every_missed_step_due_at_once() {
        let late = Rotation::Empty.prepared(ca(0, 24));
        assert_eq!(late.due(hour(1000)), Some(Step::Prepare));
        let late = late.prepared(ca(1000, 24));
        assert_eq!(late.due(hour(1000)), Some(Step::Activate));
        assert_eq!(late.activated().due(hour(1000)), None);
    }

    #[test]
    fn activating_without_a_next_one_changes_nothing() {
        let active = Rotation::Empty.prepared(ca(0, 24));
        assert_eq!(active.clone().activated(), active);
    }

    #[test]
    fn one_that_is_retired_is_gone_and_the_others_stay() {
        let rotation = Rotation::Empty.prepared(ca(0, 24)).prepared(ca(12, 24));
        let rotation = rotation.activated();
        assert_eq!(rotation.clone().retired().old(), None);
        let rotation = rotation.prepared(ca(24, 24));
        let all: Vec<_> = rotation.all().map(|(standing, _)| standing).collect();
        assert_eq!(all, [Standing::Active, Standing::Prepared, Standing::Old]);
        let rotation = rotation.retired();
        assert_eq!(rotation.active(), Some(&ca(12, 24)));
        assert_eq!(rotation.next(), Some(&ca(24, 24)));
        assert_eq!(rotation.old(), None);
        assert_eq!(Rotation::<Ca>::Empty.retired(), Rotation::Empty);
    }

    #[test]
    fn preparing_again_replaces_what_never_signed() {
        let rotation = Rotation::Empty
            .prepared(ca(0, 24))
            .prepared(ca(1, 24))
            .prepared(ca(2, 24));
        assert_eq!(rotation.active(), Some(&ca(0, 24)));
        assert_eq!(rotation.next(), Some(&ca(2, 24)));
    }

    #[test]
    fn what_signs_lives_on_for_a_sixth_of_its_life_or_a_week() {
        assert_eq!(longest_honoured(DAY), DAY / 6);
        assert_eq!(longest_honoured(DAY * 365), DAY * 7);
        for lifetime in [DAY / 24, DAY, DAY * 7] {
            let needed = shortest_honouring(lifetime).unwrap();
            assert_eq!(longest_honoured(needed), lifetime);
        }
        assert_eq!(shortest_honouring(DAY * 8), None);
    }
}
