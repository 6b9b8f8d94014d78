//! Processes that we started, and only those: their output, their readiness, their end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{self, Instant},
};

use crate::trouble::Trouble;

/// Processes in the order in which they were started.
pub(crate) struct Processes {
    logs: PathBuf,
    running: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
    /// How many bytes of the log were looked at.
    seen: usize,
}

/// One of [`Processes`].
#[derive(Clone, Copy)]
pub(crate) struct Handle(usize);

impl Processes {
    pub(crate) fn in_folder(logs: &Path) -> Self {
        Self {
            logs: logs.to_path_buf(),
            running: Vec::new(),
        }
    }

    /// Starts a program. All that it prints goes to a log, of which lines can be awaited.
    pub(crate) fn start(&mut self, name: &str, mut command: Command) -> Result<Handle, Trouble> {
        let log = self
            .logs
            .join(format!("{}-{name}.log", self.running.len() + 1));
        let starting = |source| Trouble::io(format!("starting {name}"), source);
        let out = File::create(&log).map_err(starting)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(starting)?)
            .stderr(out)
            // Out of reach of Ctrl-C: it is for us to end them, last first.
            .process_group(0)
            // The last resort, for a panic of ours.
            .kill_on_drop(true)
            .spawn()
            .map_err(starting)?;
        self.running.push(Process {
            name: name.to_owned(),
            // Nobody has waited for it yet, so there is one.
            pid: child.id().unwrap_or_default(),
            child,
            log,
            seen: 0,
        });
        Ok(Handle(self.running.len() - 1))
    }

    pub(crate) fn pid(&self, of: Handle) -> u32 {
        self.running[of.0].pid
    }

    /// Fails if a process that should be running is not.
    pub(crate) fn check(&mut self, of: Handle, before: &str) -> Result<(), Trouble> {
        self.running[of.0].check(before)
    }

    /// Waits for the next line of the log in which `find` finds something.
    pub(crate) async fn line<T>(
        &mut self,
        of: Handle,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Trouble> {
        let process = &mut self.running[of.0];
        let deadline = Instant::now() + limit;
        loop {
            // Asked first: what it printed before it ended is there to be read.
            let ended = process.status()?;
            if let Some(found) = process.unseen_lines()?.find_map(|line| find(&line)) {
                return Ok(found);
            }
            if let Some(status) = ended {
                return Err(process.ended(status, what));
            }
            if Instant::now() >= deadline {
                return Err(Trouble::TimedOut {
                    what: what.to_owned(),
                    limit,
                });
            }
            time::sleep(POLL).await;
        }
    }

    /// All lines of the log that were not looked at before.
    pub(crate) fn lines(&mut self, of: Handle) -> Result<Vec<String>, Trouble> {
        Ok(self.running[of.0].unseen_lines()?.collect())
    }

    /// Waits until a process ends by itself.
    pub(crate) async fn ended(
        &mut self,
        of: Handle,
        limit: Duration,
    ) -> Result<ExitStatus, Trouble> {
        let process = &mut self.running[of.0];
        match time::timeout(limit, process.child.wait()).await {
            Ok(ended) => ended.map_err(|e| Trouble::io(format!("awaiting {}", process.name), e)),
            Err(_) => Err(Trouble::TimedOut {
                what: format!("the end of {}", process.name),
                limit,
            }),
        }
    }

    /// Ends what still runs, last first, and tells whom; the first who did not take it well is the
    /// error.
    pub(crate) async fn end(&mut self) -> Result<Vec<String>, Trouble> {
        let mut outcome = Ok(Vec::new());
        while let Some(mut process) = self.running.pop() {
            outcome = match (outcome, process.end().await) {
                (Ok(mut names), Ok(true)) => {
                    names.push(process.name);
                    Ok(names)
                }
                (Ok(_), Err(trouble)) => Err(trouble),
                (outcome, _) => outcome,
            };
        }
        outcome
    }

    /// The ends of the logs.
    pub(crate) fn last_words(&self) -> Vec<(String, String)> {
        let words = self.running.iter().map(|process| {
            let log = fs::read(&process.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LAST_WORDS)..];
            (process.name.clone(), tail.join("\n"))
        });
        words.filter(|(_, words)| !words.is_empty()).collect()
    }
}

impl Process {
    /// How it ended, if it has.
    fn status(&mut self) -> Result<Option<ExitStatus>, Trouble> {
        self.child
            .try_wait()
            .map_err(|e| Trouble::io(format!("asking after {}", self.name), e))
    }

    fn check(&mut self, before: &str) -> Result<(), Trouble> {
        match self.status()? {
            Some(status) => Err(self.ended(status, before)),
            None => Ok(()),
        }
    }

    fn ended(&self, status: ExitStatus, before: &str) -> Trouble {
        Trouble::Ended {
            name: self.name.clone(),
            status,
            what: before.to_owned(),
        }
    }

    /// Whole lines that were not looked at before. Those that are taken count as seen.
    fn unseen_lines(&mut self) -> Result<impl Iterator<Item = String>, Trouble> {
        let log = fs::read(&self.log)
            .map_err(|e| Trouble::io(format!("reading the log of {}", self.name), e))?;
        let seen = &mut self.seen;
        let mut rest = log;
        rest.drain(..(*seen).min(rest.len()));
        Ok(std::iter::from_fn(move || {
            let end = rest.iter().position(|&byte| byte == b'\n')?;
            let line: Vec<u8> = rest.drain(..=end).collect();
            *seen += line.len();
            Some(String::from_utf8_lossy(&line[..end]).into_owned())
        }))
    }

    /// Asks it to end, and insists if it does not. Tells whether it still ran.
    async fn end(&mut self) -> Result<bool, Trouble> {
        if self.status()?.is_some() {
            return Ok(false);
        }
        // A child that we have not waited for keeps its number, so nobody else gets this signal.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let name = &self.name;
        let ending = |source| Trouble::io(format!("ending {name}"), source);
        match time::timeout(PATIENCE, self.child.wait()).await {
            Ok(ended) => match ended.map_err(ending)? {
                status if status.success() => Ok(true),
                status => Err(Trouble::Status {
                    name: name.clone(),
                    status,
                }),
            },
            Err(_) => {
                self.child.kill().await.map_err(ending)?;
                Err(Trouble::TimedOut {
                    what: format!("the end of {name} after SIGTERM"),
                    limit: PATIENCE,
                })
            }
        }
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) async fn output(mut command: Command) -> Result<String, Trouble> {
    let shown = {
        let command = command.as_std();
        let program = Path::new(command.get_program()).file_name();
        let words = program.into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    };
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = time::timeout(PATIENCE, running)
        .await
        .map_err(|_| Trouble::TimedOut {
            what: format!("the end of `{shown}`"),
            limit: PATIENCE,
        })?
        .map_err(|source| Trouble::io(format!("running `{shown}`"), source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Trouble::Command {
        command: shown,
        status: output.status,
        said: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);
const LAST_WORDS: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn started(script: &str) -> (tempfile::TempDir, Processes, Handle) {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = Processes::in_folder(folder.path());
        let handle = processes.start("it", shell(script)).unwrap();
        (folder, processes, handle)
    }

    fn number(line: &str) -> Option<u32> {
        line.parse().ok()
    }

    #[tokio::test]
    async fn lines_are_found_in_turn_also_after_the_end() {
        let (_folder, mut processes, it) = started("echo noise; echo 1; echo 2");
        for expected in [1, 2] {
            let found = processes.line(it, "a number", PATIENCE, number).await;
            assert_eq!(found.unwrap(), expected);
        }
        let missing = processes.line(it, "a number", PATIENCE, number).await;
        let message = missing.unwrap_err().to_string();
        assert_eq!(message, "it ended (exit status: 0) before a number");
    }

    #[tokio::test]
    async fn what_never_comes_is_not_awaited_for_ever() {
        let (_folder, mut processes, it) = started("echo noise; exec sleep 60");
        let missing = processes.line(it, "a number", POLL, number).await;
        assert!(matches!(missing, Err(Trouble::TimedOut { .. })));
        let words = processes.last_words();
        assert_eq!(words, [("it".to_owned(), "noise".to_owned())]);
        let ended = processes.end().await;
        let message = ended.unwrap_err().to_string();
        assert!(
            message.starts_with("it did not end well: signal: 15"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn those_that_still_run_are_ended_last_first() {
        let ends_well = "trap 'exit 0' TERM; echo 1; while :; do sleep 0.01; done";
        let (_folder, mut processes, first) = started(ends_well);
        let over = processes.start("over", shell("exit 3")).unwrap();
        let last = processes.start("last", shell(ends_well)).unwrap();
        for running in [first, last] {
            let ready = processes.line(running, "a number", PATIENCE, number).await;
            assert_eq!(ready.unwrap(), 1);
        }
        assert!(!processes.ended(over, PATIENCE).await.unwrap().success());
        assert_eq!(processes.end().await.unwrap(), ["last", "it"]);
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_what_it_said() {
        let failed = output(shell("echo no such entry >&2; exit 1")).await;
        let message = failed.unwrap_err().to_string();
        assert!(
            message.ends_with("failed (exit status: 1): no such entry"),
            "{message}"
        );
    }
}
