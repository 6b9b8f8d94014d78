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
