//! `spiffe-agent`: run it, see whether its configuration is good, or ask a running one.

use std::ffi::OsString;
use std::process::ExitCode;

use super::daemon::{Daemon, Overlay};
use super::tree::{Command, Io, Outcome, Program};
use super::workload;
use crate::agent::Agent;
use crate::agent::config::AgentConfig;
use crate::runtime::signals;

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
            run: |io, args| DAEMON.validate(io, args),
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
fn run(io: &mut Io<'_>, args: &[String]) -> Outcome {
    DAEMON.run(io, args, async |config, clock, log_rotation| {
        let ended = signals::asked_to_end()?;
        let mut agent = Agent::start(config, clock).await?;
        agent.worker("log file", |stop| log_rotation.run(stop));
        agent.run(ended).await?;
        Ok(())
    })
}

const DAEMON: Daemon<AgentConfig> = Daemon {
    kind: "agent",
    file: "conf/agent/agent.conf",
    settings: SETTINGS,
    switches: SWITCHES,
    read: AgentConfig::read,
    log: |config| &config.log,
};

/// The flags that take the place of a setting: their name, the setting, and what it is for.
const SETTINGS: &[Overlay] = &[
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
const SWITCHES: &[Overlay] = &[
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
