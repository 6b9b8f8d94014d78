//! What the command lines of server and agent do in the same way: read the configuration file with
//! what flags lay over it, tell its faults, log, and say how it ended.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::{Clock, SystemClock};
use spiffe_core::with_causes;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::flags::{Flags, Refused};
use super::tree::{Io, Outcome, Told};
use crate::config::{self, Checked, Issues, Node, Value};
use crate::runtime::telemetry::{Log, Telemetry};
use crate::runtime::{Shutdown, TaskError, signals};

/// What goes wrong, whatever it is.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// What the command line of a daemon can say about its configuration.
pub(super) struct Daemon<C> {
    /// What it is: `server` or `agent`. Its block of the file is called that, too.
    pub(super) kind: &'static str,
    /// The file that is read where the command line names none.
    pub(super) file: &'static str,
    /// Flags that take the place of a setting.
    pub(super) settings: &'static [Overlay],
    /// Flags that switch a setting on.
    pub(super) switches: &'static [Overlay],
    /// Reads the whole file.
    pub(super) read: fn(&Node) -> Result<Checked<C>, Issues>,
    /// How it is to log.
    pub(super) log: fn(&C) -> &Log,
}

/// A flag's name, the setting that it takes the place of, and what that is for.
pub(super) type Overlay = (&'static str, &'static str, &'static str);

impl<C> Daemon<C> {
    /// Tells whether the configuration is good, and does nothing with it.
    pub(super) fn validate(&self, io: &mut Io<'_>, args: &[String]) -> Outcome {
        let kind = self.kind;
        match self.configured("validate", args) {
            Ok(Checked { warnings, .. }) => {
                for warning in warnings {
                    writeln!(io.out, "warning: {warning}")?;
                }
                writeln!(io.out, "SPIRE {kind} configuration file is valid.")?;
                Ok(())
            }
            // A command line that is wrong says nothing about the file.
            Err(error) if error.is::<Refused>() => Err(error),
            Err(error) => {
                let faults = with_causes(&*error);
                // Several faults are a list; one is the end of the sentence.
                let between = if faults.contains('\n') { '\n' } else { ' ' };
                let what = format!("SPIRE {kind} configuration file is invalid:{between}{faults}");
                Err(told(io, what))
            }
        }
    }

    /// Runs the daemon with its configuration until its work has come to an end. Why it ended early
    /// goes to the log, and to the shell where the log is elsewhere.
    pub(super) fn run<W>(
        &self,
        io: &mut Io<'_>,
        args: &[String],
        work: impl FnOnce(C, Arc<dyn Clock>, LogRotation) -> W,
    ) -> Outcome
    where
        W: Future<Output = Result<(), Failure>>,
    {
        let clock = Arc::new(SystemClock);
        let (configured, telemetry) = match self.logging(args, clock.clone()) {
            Err(error) if !error.is::<Refused>() => return Err(told(io, with_causes(&*error))),
            ready => ready?,
        };
        let log_is_elsewhere = (self.log)(&configured).file.is_some();
        let outcome = finished(async {
            let asked = signal(SignalKind::user_defined2())?;
            work(configured, clock, LogRotation { asked, telemetry }).await
        });
        outcome.map_err(|error| {
            let why = with_causes(&*error);
            tracing::error!(error = %why, "{} crashed", capitalized(self.kind));
            match log_is_elsewhere {
                true => told(io, why),
                false => Box::new(Told),
            }
        })
    }

    /// The configuration, once what there is to warn of is in the log.
    fn logging(&self, args: &[String], clock: Arc<dyn Clock>) -> Result<(C, Telemetry), Failure> {
        let Checked { value, warnings } = self.configured("run", args)?;
        let telemetry = (self.log)(&value).start(clock)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok((value, telemetry))
    }

    /// What the file says, with what the flags lay over it.
    fn configured(&self, command: &str, args: &[String]) -> Result<Checked<C>, Failure> {
        let mut file = self.file.to_owned();
        let mut expand_env = false;
        let mut laid = vec![String::new(); self.settings.len()];
        let mut switched = vec![false; self.switches.len()];
        let mut flags = Flags::of(command)
            .flag("config", "The configuration `file`", &mut file)
            .flag(
                "expandEnv",
                "Replace $VARIABLES in the configuration file",
                &mut expand_env,
            );
        for ((flag, _, usage), value) in self.settings.iter().zip(&mut laid) {
            flags = flags.flag(flag, usage, value);
        }
        for ((flag, _, usage), value) in self.switches.iter().zip(&mut switched) {
            flags = flags.flag(flag, usage, value);
        }
        flags.parse(args)?;

        let mut root = config::load(Path::new(&file), expand_env)?;
        let laid = self.settings.iter().zip(laid);
        for ((flag, key, _), value) in laid.filter(|(_, value)| !value.is_empty()) {
            root.overlay(&[self.kind, key], Value::Text(value), &format!("-{flag}"));
        }
        let switched = self.switches.iter().zip(switched);
        for ((flag, key, _), on) in switched.filter(|(_, on)| *on) {
            root.overlay(&[self.kind, key], Value::Bool(on), &format!("-{flag}"));
        }
        Ok((self.read)(&root)?)
    }
}

/// Opens the log file anew whenever the process is asked to, by whoever has moved the old one away.
pub(super) struct LogRotation {
    asked: Signal,
    telemetry: Telemetry,
}

impl LogRotation {
    /// Goes on until the daemon stops.
    pub(super) async fn run(self, stop: Shutdown) -> Result<(), TaskError> {
        let Self { asked, telemetry } = self;
        signals::on_each(asked, stop, move || {
            if let Err(error) = telemetry.reopen() {
                tracing::error!(%error, "The log file cannot be opened anew; the old one goes on");
            }
        })
        .await
    }
}

/// What comes of this work. A thread that is still busy with something slow, such as a directory of
/// users that does not answer, does not keep the process from ending.
fn finished(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Runtime::new()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_GRACE);
    outcome
}

fn told(io: &mut Io<'_>, what: impl Display) -> Failure {
    // Where nobody can be told, the status tells.
    let _ = writeln!(io.err, "{what}");
    Box::new(Told)
}

fn capitalized(kind: &str) -> String {
    let (first, rest) = kind.split_at(1);
    first.to_uppercase() + rest
}

/// What is to be written was written when the work came to its end; this is for what is slow to see
/// that nobody waits for it.
const LAST_GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_hangs_does_not_keep_the_process_from_ending() {
        let (let_go, hung) = mpsc::channel::<()>();
        let (ended, is_over) = mpsc::channel();
        std::thread::spawn(move || {
            let outcome = finished(async {
                drop(tokio::task::spawn_blocking(move || hung.recv()));
                Ok(())
            });
            ended.send(outcome.is_ok())
        });
        let over = is_over.recv_timeout(Duration::from_secs(20));
        drop(let_go);
        assert_eq!(over, Ok(true));
    }
}
