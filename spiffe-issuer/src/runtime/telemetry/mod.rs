//! The log, set up once: logrus' two formats, as the scripts of operators read them.

mod format;
mod layer;
mod level;
mod output;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use spiffe_core::clock::Clock;
use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use self::layer::Lines;
use self::output::Output;

pub use self::format::quoted;
pub use self::level::{Level, LevelError};

/// How the log is to be.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// What is worth a line.
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
    /// Where lines go, if not to the standard error output.
    pub file: Option<PathBuf>,
    /// Whether lines say where in the source they were written.
    pub source_location: bool,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// `time="…" level=info msg="Agent attested" agent_id=…`.
    #[default]
    Text,
}

/// The name is neither `text` nor `json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log format is `text` or `json`")]
pub struct FormatError;

/// Changes the log of a running process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
    output: Arc<Output>,
    launch: Level,
    current: Arc<Mutex<Level>>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Somebody else has set one up.
    #[error("the log is set up already")]
    Again(#[from] SetGlobalDefaultError),
    /// The log file cannot be written.
    #[error("opening the log file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Log {
    /// Makes this the log of the whole process, panics included.
    ///
    /// # Errors
    ///
    /// If the log file cannot be opened, or the process has a log already.
    pub fn start(&self, clock: Arc<dyn Clock>) -> Result<Telemetry, TelemetryError> {
        let output = match &self.file {
            None => Output::stderr(),
            Some(path) => Output::file(path).map_err(|source| TelemetryError::File {
                path: path.clone(),
                source,
            })?,
        };
        let (subscriber, telemetry) = self.subscriber(output, clock);
        tracing::subscriber::set_global_default(subscriber)?;
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        Ok(telemetry)
    }

    fn subscriber(&self, output: Output, clock: Arc<dyn Clock>) -> (impl Subscriber, Telemetry) {
        let output = Arc::new(output);
        let (filter, handle) = reload::Layer::new(targets(self.level));
        let lines = Lines::new(self.format, self.source_location, output.clone(), clock);
        let telemetry = Telemetry {
            filter: handle,
            output,
            launch: self.level,
            current: Arc::new(Mutex::new(self.level)),
        };
        (
            Registry::default().with(lines.with_filter(filter)),
            telemetry,
        )
    }
}

impl Telemetry {
    /// What is worth a line now.
    pub fn level(&self) -> Level {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was worth a line when the process started.
    pub fn launch_level(&self) -> Level {
        self.launch
    }

    /// Changes what is worth a line.
    pub fn set_level(&self, level: Level) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // The filter outlives every handle to it, so there always is one to change.
        if self.filter.reload(targets(level)).is_ok() {
            *current = level;
        }
    }

    /// Opens the log file anew, after somebody moved it away.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened; lines then go on to the old file.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.reopen()
    }
}

/// Our own lines from `level` on. What the libraries below us have to say at the levels for
/// looking closely would drown them, so of theirs only `trace` shows everything.
fn targets(level: Level) -> Targets {
    let others = match level {
        Level::Trace => level,
        _ => level.min(Level::Warn),
    };
    Targets::new()
        .with_default(others.filter())
        .with_target("spiffe", level.filter())
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        match name.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(FormatError),
        }
    }
}

/// The names of fields, so that the same thing is called the same everywhere.
pub mod fields {
    /// The SPIFFE ID of an agent.
    pub const AGENT_ID: &str = "agent_id";
    /// The ID of a signing key or CA.
    pub const AUTHORITY_ID: &str = "local_authority_id";
    /// Who calls, by network address.
    pub const CALLER_ADDR: &str = "caller_addr";
    /// Who calls, by SPIFFE ID.
    pub const CALLER_ID: &str = "caller_id";
    /// The ID of a registration entry.
    pub const ENTRY_ID: &str = "entry_id";
    /// What went wrong, with everything that led to it.
    pub const ERROR: &str = "error";
    /// The RPC.
    pub const METHOD: &str = "method";
    /// The node attestor of an agent.
    pub const NODE_ATTESTOR: &str = "node_attestation_type";
    /// The process ID of a workload.
    pub const PID: &str = "pid";
    /// What ties together the lines of one request.
    pub const REQUEST_ID: &str = "request_id";
    /// The RPC's service.
    pub const SERVICE: &str = "service";
    /// The SPIFFE ID of an SVID.
    pub const SPIFFE_ID: &str = "spiffe_id";
    /// The part of the program.
    pub const SUBSYSTEM_NAME: &str = "subsystem_name";
    /// The task that the supervisor runs.
    pub const TASK: &str = "task";
    /// The trust domain.
    pub const TRUST_DOMAIN: &str = "trust_domain";
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use tracing::subscriber::with_default;
    use tracing::{debug, error, info, info_span, trace, warn};

    use super::*;

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1)
        }
    }

    const HEAD: &str = "time=\"1970-01-01T00:00:01Z\" level=";

    /// What `work` logs, without the part that is always the same.
    fn logged(log: &Log, work: impl FnOnce(&Telemetry)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let output = Output::file(&path).unwrap();
        let (subscriber, telemetry) = log.subscriber(output, Arc::new(Stopped));
        with_default(subscriber, || work(&telemetry));
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.replace(HEAD, "")).collect()
    }

    #[test]
    fn events_are_lines_with_the_fields_of_their_spans() {
        let lines = logged(&Log::default(), |_| {
            let request = info_span!("request", request_id = 7, caller_id = tracing::field::Empty);
            request.in_scope(|| {
                info!(agent_id = %"spiffe://a/b", attestor = "join_token", "Agent attested");
                request.record("caller_id", "me");
                let inner = info_span!("item", request_id = 8).entered();
                warn!(share = 0.5, list = ?["a"], "Odd");
                drop(inner);
            });
            error!("outside");
        });
        assert_eq!(
            lines,
            [
                "info msg=\"Agent attested\" agent_id=\"spiffe://a/b\" attestor=join_token request_id=7",
                "warning msg=Odd caller_id=me list=\"[\\\"a\\\"]\" request_id=8 share=0.5",
                "error msg=outside",
            ]
        );
    }

    #[test]
    fn an_error_is_told_with_everything_it_came_from() {
        #[derive(Debug, thiserror::Error)]
        #[error("storing the entry")]
        struct Storing(#[source] io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("creating: {0}")]
        struct Repeating(#[source] Storing);

        let lines = logged(&Log::default(), |_| {
            let error = Repeating(Storing(io::Error::other("disk full")));
            let error: &(dyn std::error::Error + 'static) = &error;
            error!(error, "Failed");
        });
        assert_eq!(
            lines,
            ["error msg=Failed error=\"creating: storing the entry: disk full\""]
        );
    }

    #[test]
    fn the_level_can_be_changed_and_put_back_while_running() {
        let log = Log {
            level: Level::Warn,
            ..Log::default()
        };
        let lines = logged(&log, |telemetry| {
            info!("1");
            telemetry.set_level(Level::Debug);
            assert_eq!(telemetry.level(), Level::Debug);
            debug!("2");
            trace!("3");
            telemetry.set_level(Level::Fatal);
            error!("4");
            telemetry.set_level(telemetry.launch_level());
            assert_eq!(telemetry.level(), Level::Warn);
            info!("5");
            warn!("6");
        });
        assert_eq!(lines, ["debug msg=2", "warning msg=6"]);
    }

    #[test]
    fn libraries_below_us_only_complain_unless_everything_is_asked_for() {
        for (level, told) in [
            (Level::Error, &["error msg=e"][..]),
            (Level::Debug, &["warning msg=w", "error msg=e"]),
            (
                Level::Trace,
                &["trace msg=t", "debug msg=d", "warning msg=w", "error msg=e"],
            ),
        ] {
            let log = Log {
                level,
                ..Log::default()
            };
            let lines = logged(&log, |_| {
                trace!(target: "h2::codec", "t");
                debug!(target: "sqlx", "d");
                warn!(target: "rustls", "w");
                error!(target: "hyper", "e");
            });
            assert_eq!(lines, told, "{level}");
        }
    }

    #[test]
    fn lines_say_where_they_were_written_when_asked() {
        let log = Log {
            source_location: true,
            format: Format::Json,
            ..Log::default()
        };
        let lines = logged(&log, |_| info!("here"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(
            line["file"].as_str().unwrap().contains("telemetry/mod.rs:"),
            "{line}"
        );
        assert!(
            line["func"].as_str().unwrap().contains("telemetry::tests"),
            "{line}"
        );
        assert_eq!(line["msg"], "here");
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let output = Output::file(&path).unwrap();
        let (subscriber, telemetry) = Log::default().subscriber(output, Arc::new(Stopped));
        with_default(subscriber, || {
            info!("first");
            fs::rename(&path, &old).unwrap();
            info!("second");
            telemetry.reopen().unwrap();
            info!("third");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert!(telemetry.reopen().is_err());
        });
        assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2);
        assert!(Output::file(&dir.path().join("none/log")).is_err());
    }

    #[test]
    fn formats_are_known_by_name() {
        assert_eq!("JSON".parse(), Ok(Format::Json));
        assert_eq!("text".parse(), Ok(Format::Text));
        assert_eq!("xml".parse::<Format>(), Err(FormatError));
    }
}
