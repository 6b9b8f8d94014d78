//! `spiffe-server`: run it, see whether its configuration is good, or ask a running one.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use spiffe_core::clock::SystemClock;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::admin;
use super::flags::{Flags, Refused};
use super::tree::{Command, Io, Outcome, Program};
use crate::config::{self, Checked, Issue, Value};
use crate::runtime::signals;
use crate::runtime::telemetry::Telemetry;
use crate::server::Server;
use crate::server::config::ServerConfig;

type Failure = Box<dyn Error + Send + Sync>;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut commands = vec![
        Command {
            words: "run",
            about: "Runs the server",
            run,
        },
        Command {
            words: "validate",
            about: "Tells whether a configuration file is good",
            run: validate,
        },
    ];
    commands.extend(admin::COMMANDS);
    let program = Program {
        name: "spiffe-server",
        complaint: "Error: ",
        commands,
    };
    program.main(args)
}

/// Runs the server until it is asked to end.
fn run(_: &mut Io<'_>, args: &[String]) -> Outcome {
    let Checked { value, warnings } = configured("run", args)?;
    let clock = Arc::new(SystemClock);
    let telemetry = value.log.start(clock.clone())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Runtime::new()?.block_on(async {
        let ended = signals::asked_to_end()?;
        let rotated = signal(SignalKind::user_defined2())?;
        let mut server = Server::start(value, clock).await?;
        server.worker("log file", |stop| {
            signals::on_each(rotated, stop, move || reopen(&telemetry))
        });
        server.run(ended).await?;
        Ok(())
    })
}

/// Opens the log file anew, as whoever has moved the old one away asks for.
fn reopen(telemetry: &Telemetry) {
    if let Err(error) = telemetry.reopen() {
        tracing::error!(%error, "The log file cannot be opened anew; the old one goes on");
    }
}

/// Reads the configuration, that of the plugins too, and does nothing with it.
fn validate(io: &mut Io<'_>, args: &[String]) -> Outcome {
    for warning in valid(args).map_err(invalid)? {
        writeln!(io.out, "warning: {warning}")?;
    }
    writeln!(io.out, "SPIRE server configuration file is valid.")?;
    Ok(())
}

/// What to warn of.
fn valid(args: &[String]) -> Result<Vec<Issue>, Failure> {
    let Checked { value, warnings } = configured("validate", args)?;
    value.make_plugins(Arc::new(SystemClock))?;
    Ok(warnings)
}

/// A command line that is wrong says nothing about the file.
fn invalid(error: Failure) -> Failure {
    match error.is::<Refused>() {
        true => error,
        false => Box::new(Invalid(error)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("SPIRE server configuration file is invalid")]
struct Invalid(#[source] Failure);

/// What the file says, with what the flags lay over it.
fn configured(command: &str, args: &[String]) -> Result<Checked<ServerConfig>, Failure> {
    let mut file = "conf/server/server.conf".to_owned();
    let (mut expand_env, mut log_source) = (false, false);
    let mut laid = SETTINGS.map(|(_, key, _)| (key, String::new()));
    let mut flags = Flags::of(command)
        .flag("config", "The configuration `file`", &mut file)
        .flag(
            "expandEnv",
            "Replace $VARIABLES in the configuration file",
            &mut expand_env,
        )
        .flag(
            "logSourceLocation",
            "Let log lines say where in the source they were written",
            &mut log_source,
        );
    for ((flag, _, usage), (_, value)) in SETTINGS.iter().zip(&mut laid) {
        flags = flags.flag(flag, usage, value);
    }
    flags.parse(args)?;

    let mut root = config::load(Path::new(&file), expand_env)?;
    for ((flag, key, _), (_, value)) in SETTINGS.iter().zip(laid) {
        if !value.is_empty() {
            root.overlay(&["server", key], Value::Text(value), &format!("-{flag}"));
        }
    }
    if log_source {
        let keys = ["server", "log_source_location"];
        root.overlay(&keys, Value::Bool(true), "-logSourceLocation");
    }
    Ok(ServerConfig::read(&root)?)
}

/// The flags that take the place of a setting: their name, the setting, and what it is for.
const SETTINGS: [(&str, &str, &str); 8] = [
    (
        "bindAddress",
        "bind_address",
        "The `address` to serve everyone on",
    ),
    (
        "dataDir",
        "data_dir",
        "The `directory` for files of the server",
    ),
    ("logFile", "log_file", "The `file` to log to"),
    (
        "logFormat",
        "log_format",
        "How log lines look: text or json",
    ),
    (
        "logLevel",
        "log_level",
        "What is logged: error, warn, info or debug",
    ),
    ("serverPort", "bind_port", "The `port` to serve everyone on"),
    (
        "socketPath",
        "socket_path",
        "The `path` of the socket to serve the operator on",
    ),
    (
        "trustDomain",
        "trust_domain",
        "The trust domain whose identities are issued",
    ),
];
