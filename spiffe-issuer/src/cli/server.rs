//! `spiffe-server`: run it, see whether its configuration is good, or ask a running one.

use std::ffi::OsString;
use std::process::ExitCode;

use super::admin;
use super::daemon::{Daemon, Overlay};
use super::tree::{Command, Io, Outcome, Program};
use crate::runtime::signals;
use crate::server::Server;
use crate::server::config::ServerConfig;

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
            run: |io, args| DAEMON.validate(io, args),
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
fn run(io: &mut Io<'_>, args: &[String]) -> Outcome {
    DAEMON.run(io, args, async |config, clock, log_rotation| {
        let ended = signals::asked_to_end()?;
        let mut server = Server::start(config, clock).await?;
        server.worker("log file", |stop| log_rotation.run(stop));
        server.run(ended).await?;
        Ok(())
    })
}

const DAEMON: Daemon<ServerConfig> = Daemon {
    kind: "server",
    file: "conf/server/server.conf",
    settings: SETTINGS,
    switches: SWITCHES,
    read: ServerConfig::read,
    log: |config| &config.log,
};

/// The flags that take the place of a setting: their name, the setting, and what it is for.
const SETTINGS: &[Overlay] = &[
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

/// The flags that switch a setting on.
const SWITCHES: &[Overlay] = &[(
    "logSourceLocation",
    "log_source_location",
    "Let log lines say where in the source they were written",
)];
