//! `spiffe-agent`: run it, see whether its configuration is good, or ask a running one.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use spiffe_core::clock::SystemClock;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::flags::{Flags, Refused};
use super::tree::{Command, Io, Outcome, Program};
use super::workload;
use crate::agent::Agent;
use crate::agent::config::AgentConfig;
use crate::config::{self, Checked, Issue, Value};
use crate::runtime::signals;
use crate::runtime::telemetry::Telemetry;

type Failure = Box<dyn Error + Send + Sync>;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut commands = vec![
        Command {
            words: "run",
            about: "Runs the agent",
            run,
        },
        Command {
            words: "validate",
            about: "Tells whether a configuration file is good",
            run: validate,
        },
    ];
    commands.extend(workload::COMMANDS);
    let program = Program {
        name: "spiffe-agent",
        complaint: "",
        commands,
    };
    program.main(args)
}

/// Runs the agent until it is asked to end, or is one no longer.
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
        let mut agent = Agent::start(value, clock).await?;
        agent.worker("log file", |stop| {
            signals::on_each(rotated, stop, move || reopen(&telemetry))
        });
        agent.run(ended).await?;
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
    writeln!(io.out, "SPIRE agent configuration file is valid.")?;
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
#[error("SPIRE agent configuration file is invalid")]
struct Invalid(#[source] Failure);

/// What the file says, with what the flags lay over it.
fn configured(command: &str, args: &[String]) -> Result<Checked<AgentConfig>, Failure> {
    let mut file = "conf/agent/agent.conf".to_owned();
    let mut expand_env = false;
    let mut laid = SETTINGS.map(|_| String::new());
    let mut switched = SWITCHES.map(|_| false);
    let mut flags = Flags::of(command)
        .flag("config", "The configuration `file`", &mut file)
        .flag(
            "expandEnv",
            "Replace $VARIABLES in the configuration file",
            &mut expand_env,
        );
    for ((flag, _, usage), value) in SETTINGS.iter().zip(&mut laid) {
        flags = flags.flag(flag, usage, value);
    }
    for ((flag, _, usage), value) in SWITCHES.iter().zip(&mut switched) {
        flags = flags.flag(flag, usage, value);
    }
    flags.parse(args)?;

    let mut root = config::load(Path::new(&file), expand_env)?;
    let laid = SETTINGS
        .iter()
        .zip(laid)
        .filter(|(_, value)| !value.is_empty());
    for ((flag, key, _), value) in laid {
        root.overlay(&["agent", key], Value::Text(value), &format!("-{flag}"));
    }
    let switched = SWITCHES.iter().zip(switched).filter(|(_, on)| *on);
    for ((flag, key, _), on) in switched {
        root.overlay(&["agent", key], Value::Bool(on), &format!("-{flag}"));
    }
    Ok(AgentConfig::read(&root)?)
}

/// The flags that take the place of a setting: their name, the setting, and what it is for.
const SETTINGS: [(&str, &str, &str); 15] = [
    (
        "dataDir",
        "data_dir",
        "The `directory` for files of the agent",
    ),
    ("joinToken", "join_token", "The `token` to attest with"),
    (
        "joinTokenFile",
        "join_token_file",
        "The `file` with the token to attest with",
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
    (
        "rebootstrapDelay",
        "rebootstrap_delay",
        "Accepted for the sake of old scripts",
    ),
    (
        "rebootstrapMode",
        "rebootstrap_mode",
        "Accepted for the sake of old scripts",
    ),
    (
        "serverAddress",
        "server_address",
        "The name or IP `address` of the server",
    ),
    ("serverPort", "server_port", "The `port` of the server"),
    (
        "socketPath",
        "socket_path",
        "The `path` of the socket to serve workloads on",
    ),
    (
        "trustBundle",
        "trust_bundle_path",
        "The `file` with the bundle to believe at first",
    ),
    (
        "trustBundleFormat",
        "trust_bundle_format",
        "What the bundle is written in: pem",
    ),
    (
        "trustBundleUrl",
        "trust_bundle_url",
        "Refused: fetch the bundle before the agent starts",
    ),
    (
        "trustDomain",
        "trust_domain",
        "The trust domain that the agent belongs to",
    ),
];

/// The flags that switch a setting on.
const SWITCHES: [(&str, &str, &str); 5] = [
    (
        "allowUnauthenticatedVerifiers",
        "allow_unauthenticated_verifiers",
        "Give the bundle also to callers without an identity",
    ),
    (
        "disableSDSAPI",
        "disable_sds_api",
        "Accepted for the sake of old scripts",
    ),
    (
        "disableWorkloadAPI",
        "disable_workload_api",
        "Refused: the Workload API is all that the agent serves",
    ),
    (
        "insecureBootstrap",
        "insecure_bootstrap",
        "Believe any server at first",
    ),
    (
        "logSourceLocation",
        "log_source_location",
        "Let log lines say where in the source they were written",
    ),
];
