use std::process::{Child, Command};

use super::*;

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_name_with_parentheses_and_spaces_moves_no_field() {
    let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
    for name in ["cat", "a b", ") R 1 2 3 (", "\u{fffd}"] {
        let stat = Stat::read(&format!("17 ({name}) {fields}")).unwrap();
        assert_eq!(stat.started, 4711, "{name}");
        assert!(!stat.has_ended);
    }
    assert!(Stat::read("17 (cat) Z 1").is_none());
    assert!(Stat::read("").is_none());
}

#[test]
fn a_process_that_ended_is_gone_and_tells_nothing() {
    let child = sleeper();
    let process = ProcessRef::by_pid(child.id() as i32).unwrap();
    process.check().unwrap();
    assert!(process.read("status").unwrap().contains("sleep"));
    end(child);
    for refused in [
        process.check(),
        process.read("status").map(drop),
        process.executable().map(drop),
        process.image().map(drop),
        process.link("exe").map(drop),
    ] {
        assert!(
            matches!(refused, Err(ProcessError::Gone { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_zombie_is_gone() {
    let mut child = sleeper();
    let process = ProcessRef::by_pid(child.id() as i32).unwrap();
    child.kill().unwrap();
    while process.check().is_ok() {
        std::thread::yield_now();
    }
    assert!(matches!(
        ProcessRef::by_pid(child.id() as i32),
        Err(ProcessError::Gone { .. })
    ));
    child.wait().unwrap();
}

#[test]
fn another_start_time_is_another_process() {
    let child = sleeper();
    let mut other = Pinned::open(child.id() as i32, None).unwrap();
    other.check().unwrap();
    other.started -= 1;
    assert!(matches!(other.check(), Err(ProcessError::Gone { .. })));
    end(child);
}

#[test]
fn no_process_has_such_a_number() {
    for pid in [0, -1, i32::MIN] {
        assert!(matches!(
            ProcessRef::by_pid(pid),
            Err(ProcessError::Invisible)
        ));
    }
    assert!(matches!(
        ProcessRef::by_pid(i32::MAX),
        Err(ProcessError::Gone { .. })
    ));
}

/// Ends a process and starts others until one of them has its number.
#[test]
fn pid_reuse() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    for _ in 0..200 {
        let child = sleeper();
        let pid = child.id();
        let process = ProcessRef::by_pid(pid as i32).unwrap();
        end(child);
        if let Err(why) = std::fs::write(LAST_PID, (pid - 1).to_string()) {
            eprintln!("LEFT OUT: pid_reuse: writing {LAST_PID}: {why}");
            return;
        }
        let other = sleeper();
        let reused = other.id() == pid;
        if reused {
            assert!(ProcessRef::by_pid(pid as i32).is_ok());
            assert!(matches!(process.check(), Err(ProcessError::Gone { .. })));
            assert!(process.read("status").is_err());
            assert!(process.image().is_err());
        }
        end(other);
        if reused {
            return;
        }
    }
    panic!("the number was never reused");
}
