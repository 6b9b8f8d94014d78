use std::process::{Child, Command};

use super::*;
use crate::domain::Selector;

/// A process that sleeps until the test is over.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> (Self, ProcessRef) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = ProcessRef::by_pid(child.id() as i32).unwrap();
        (Self(child), process)
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Clone, Copy)]
enum Behaviour {
    Finds(&'static str),
    FindsNothing,
    Fails,
    Hangs,
}

#[async_trait]
impl WorkloadAttestor for Behaviour {
    async fn attest(&self, _: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        match self {
            Self::Finds(selector) => Ok([selector.parse().unwrap()].into()),
            Self::FindsNothing => Ok(SelectorSet::new()),
            Self::Fails => Err(WorkloadError::Stopped),
            Self::Hangs => std::future::pending().await,
        }
    }
}

async fn attested(behaviours: &[Behaviour]) -> Result<Found, WorkloadError> {
    let (_sleeper, process) = Sleeper::start();
    attestors(behaviours).attest(&process).await
}

fn attestors(behaviours: &[Behaviour]) -> WorkloadAttestors {
    let named = behaviours.iter().map(|behaviour| {
        let attestor: Arc<dyn WorkloadAttestor> = Arc::new(*behaviour);
        let name = match behaviour {
            Behaviour::Hangs => "hangs",
            _ => "other",
        };
        (name, attestor)
    });
    WorkloadAttestors::new(named.collect())
}

fn selectors(texts: &[&str]) -> SelectorSet {
    let parsed = texts.iter().map(|text| text.parse::<Selector>().unwrap());
    parsed.collect()
}

#[tokio::test(start_paused = true)]
async fn what_all_attestors_find_is_put_together() {
    use Behaviour::{Fails, Finds, FindsNothing, Hangs};
    let (a, b) = (Finds("a:1"), Finds("b:2"));
    for (behaviours, found, failed) in [
        (&[a, b][..], &["a:1", "b:2"][..], &[][..]),
        (&[a, FindsNothing], &["a:1"], &[]),
        (&[FindsNothing], &[], &[]),
        // Selectors that did arrive count, but it is said that others did not.
        (&[a, Fails], &["a:1"], &["other"]),
        (&[FindsNothing, Hangs], &[], &["hangs"]),
    ] {
        let answer = attested(behaviours).await.unwrap();
        assert_eq!(answer.selectors, selectors(found));
        assert_eq!(answer.failed, failed);
    }
}

#[tokio::test(start_paused = true)]
async fn attestor_error_is_unavailable() {
    use Behaviour::{Fails, Hangs};
    for behaviours in [&[Fails][..], &[Fails, Hangs], &[Hangs]] {
        let error = attested(behaviours).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.told().unwrap(), "workload attestation failed");
    }
}

#[tokio::test(start_paused = true)]
async fn one_deadline_holds_for_all() {
    let begun = Instant::now();
    let hanging = [Behaviour::Hangs; 3];
    attested(&hanging).await.unwrap_err();
    assert_eq!(begun.elapsed(), DEADLINE);
}

/// Ends the process it is asked about, and then finds something.
struct Killer(std::sync::Mutex<Sleeper>);

#[async_trait]
impl WorkloadAttestor for Killer {
    async fn attest(&self, _: &ProcessRef) -> Result<SelectorSet, WorkloadError> {
        self.0.lock().unwrap().end();
        Ok(selectors(&["a:1"]))
    }
}

#[tokio::test]
async fn who_ends_meanwhile_has_no_selectors() {
    let (sleeper, process) = Sleeper::start();
    let killer: Arc<dyn WorkloadAttestor> = Arc::new(Killer(sleeper.into()));
    let attestors = WorkloadAttestors::new(vec![("killer", killer)]);
    let error = attestors.attest(&process).await.unwrap_err();
    assert!(
        matches!(error, WorkloadError::Process(ProcessError::Gone { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_was_found_stands_until_the_process_runs_another_program() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let script = "echo; read go; exec sh -c 'echo; read go; exec cat'";
    let shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shell = Sleeper(shell);
    let mut stdin = shell.0.stdin.take().unwrap();
    let mut stdout = BufReader::new(shell.0.stdout.take().unwrap());
    let mut wait = move || stdout.read_line(&mut String::new()).unwrap();
    wait();
    let process = ProcessRef::by_pid(shell.0.id() as i32).unwrap();
    let attestors = attestors(&[Behaviour::Finds("a:1")]);
    let found = attestors.attest(&process).await.unwrap();

    // The same program again is no other program.
    stdin.write_all(b"\n").unwrap();
    wait();
    found.check(&process).unwrap();

    stdin.write_all(b"\n\n").unwrap();
    wait();
    let error = found.check(&process).unwrap_err();
    assert!(matches!(error, WorkloadError::Replaced { .. }), "{error:?}");
}
