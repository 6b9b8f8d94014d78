use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::*;
use crate::attestation::workload::ProcessError;

/// A child that ends with the test.
struct Running(Child);

impl Running {
    fn of(command: &mut Command) -> (Self, ProcessRef) {
        let child = command.spawn().unwrap();
        let process = ProcessRef::by_pid(child.id() as i32).unwrap();
        (Self(child), process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of `sleep`, with `tail` behind it, so that the test has a program of its own.
///
/// A shell writes it: were it written here, a child of another test could inherit the file while
/// it is open for writing, and then it could not be executed.
fn program(dir: &tempfile::TempDir, name: &str, tail: &str) -> PathBuf {
    let copy = dir.path().join(name);
    let script = "cp \"$(command -v sleep)\" \"$0\" && printf %s \"$1\" >> \"$0\"";
    let made = Command::new("sh")
        .args(["-c", script])
        .args([&copy, Path::new(tail)])
        .status();
    assert!(made.unwrap().success());
    copy
}

fn values<'a>(found: &'a SelectorSet, name: &str) -> Vec<&'a str> {
    let prefix = format!("{name}:");
    let all = found
        .iter()
        .inspect(|selector| assert_eq!(selector.kind(), "unix"));
    all.filter_map(|selector| selector.value().strip_prefix(&*prefix))
        .collect()
}

async fn attested(attestor: &Unix, process: &ProcessRef) -> SelectorSet {
    attestor.attest(process).await.unwrap()
}

fn sha256_of(path: &Path) -> String {
    let out = Command::new("sha256sum").arg(path).output().unwrap().stdout;
    String::from_utf8(out).unwrap()[..64].to_owned()
}

#[tokio::test]
async fn owners_are_told_by_number_and_name() {
    let mut sleep = Command::new("sleep");
    sleep.arg("60");
    let as_root = Uid::effective().is_root();
    if as_root {
        // Numbers that have no names.
        sleep.uid(54_321).gid(54_322);
    }
    let (_running, process) = Running::of(&mut sleep);
    let found = attested(&Unix::without_programs(), &process).await;
    if as_root {
        assert_eq!(values(&found, "uid"), ["54321"]);
        assert_eq!(values(&found, "gid"), ["54322"]);
        assert!(values(&found, "user").is_empty());
    } else {
        assert_eq!(values(&found, "uid"), [Uid::effective().to_string()]);
    }
    assert!(values(&found, "path").is_empty());
    assert!(values(&found, "sha256").is_empty());

    let own = ProcessRef::by_pid(std::process::id() as i32).unwrap();
    let found = attested(&Unix::without_programs(), &own).await;
    if as_root {
        assert_eq!(values(&found, "user"), ["root"]);
        assert_eq!(values(&found, "group"), ["root"]);
    }
    let groups = nix::unistd::getgroups().unwrap();
    let mut groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
    groups.sort();
    groups.dedup();
    assert_eq!(values(&found, "supplementary_gid"), groups);
}

#[test]
fn the_effective_ids_count() {
    let status = "Name:\tx\\nUid:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 11 \n";
    let owners = Owners::read(status).unwrap();
    assert_eq!((owners.uid, owners.gid), (2, 6));
    assert_eq!(owners.supplementary, [10, 11]);
    for bad in ["", "Uid:\t1", "Uid:\ta\tb\nGid:\t1\t2\nGroups:"] {
        assert!(Owners::read(bad).is_none(), "{bad}");
    }
}

#[tokio::test]
async fn the_program_is_told_by_path_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(&dir, "app", "");
    let (_running, process) = Running::of(Command::new(&path).arg("60"));
    let size = fs::metadata(&path).unwrap().len() as i64;
    for (limit, hashed) in [(0, true), (size, true), (size - 1, false), (-1, false)] {
        let found = attested(&Unix::with_programs(limit), &process).await;
        assert_eq!(values(&found, "path"), [path.to_str().unwrap()]);
        let expected = if hashed {
            vec![sha256_of(&path)]
        } else {
            vec![]
        };
        assert_eq!(values(&found, "sha256"), expected, "limit {limit}");
    }
}

#[tokio::test]
async fn deleted_exe() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(&dir, "app", "");
    let hash = sha256_of(&path);
    let (_running, process) = Running::of(Command::new(&path).arg("60"));
    fs::remove_file(&path).unwrap();
    // Whoever can write there may put anything at the path, also at the one the kernel now shows.
    fs::write(&path, "another").unwrap();
    fs::write(dir.path().join("app (deleted)"), "another").unwrap();
    let found = attested(&Unix::with_programs(0), &process).await;
    assert!(values(&found, "path").is_empty(), "{found:?}");
    assert_eq!(values(&found, "sha256"), [hash], "the program that runs");
}

/// Runs a program at `path` in a mount namespace where another program lies there.
fn namespaced(path: &Path, other: &Path) -> Option<(Running, ProcessRef)> {
    let script = format!(
        "mount --bind '{}' '{}' && exec '{}' 60",
        other.display(),
        path.display(),
        path.display()
    );
    let flags = if Uid::effective().is_root() {
        "-m"
    } else {
        "-rm"
    };
    let mut unshare = Command::new("unshare");
    unshare.args([flags, "sh", "-c", &script]);
    let (mut running, process) = Running::of(unshare.stderr(Stdio::null()));
    loop {
        if running.0.try_wait().unwrap().is_some() {
            eprintln!("LEFT OUT: mount namespaces cannot be made here");
            return None;
        }
        if process
            .link("exe")
            .is_ok_and(|exe| exe.ends_with(path.file_name().unwrap()))
        {
            return Some((running, process));
        }
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn sha256_of_namespaced_binary() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(&dir, "app", "");
    let other = program(&dir, "other", "another");
    if let Some((_running, process)) = namespaced(&path, &other) {
        let found = attested(&Unix::with_programs(0), &process).await;
        assert_eq!(values(&found, "sha256"), [sha256_of(&other)]);
    }
}

#[tokio::test]
async fn path_selector_absent_across_mntns() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(&dir, "app", "");
    // Even where the same file lies at the same path in both.
    if let Some((_running, process)) = namespaced(&path, &path) {
        let found = attested(&Unix::with_programs(0), &process).await;
        assert!(values(&found, "path").is_empty(), "{found:?}");
        assert_eq!(values(&found, "sha256"), [sha256_of(&path)]);
    }
}

#[tokio::test]
async fn a_process_that_ended_is_an_error_and_no_empty_set() {
    let (running, process) = Running::of(Command::new("sleep").arg("60"));
    drop(running);
    for attestor in [Unix::without_programs(), Unix::with_programs(0)] {
        let error = attestor.attest(&process).await.unwrap_err();
        assert!(
            matches!(error, WorkloadError::Process(ProcessError::Gone { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn who_gives_up_again_and_again_takes_no_more_threads_than_who_waits() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(2 * AT_ONCE)
        .enable_all()
        .build()
        .unwrap();
    let attestor = Unix::with_programs(0);
    let uid = nix::unistd::geteuid().as_raw();
    let process = ProcessRef::by_pid(std::process::id() as i32).unwrap();
    // As if a huge program of this user were being hashed.
    let turn = attestor.programs.as_ref().unwrap().hashes.turns.of(uid);
    let hashing = turn.lock().unwrap();
    let others = runtime.block_on(async {
        for _ in 0..10 * AT_ONCE {
            assert!(attestor.attest(&process).now_or_never().is_none());
        }
        timeout(Duration::from_secs(20), spawn_blocking(|| ())).await
    });
    drop(hashing);
    assert!(others.is_ok(), "no thread is left for anybody else");
    let found = runtime.block_on(attestor.attest(&process)).unwrap();
    assert_eq!(values(&found, "sha256").len(), 1);
}
