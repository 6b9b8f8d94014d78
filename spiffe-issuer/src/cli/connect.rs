//! From a command to the program that it asks: flags, socket, connection.

use std::error::Error;
use std::fmt;
use std::io;

use tokio::runtime;
use tonic::transport::{self, Channel, Endpoint};

use super::flags::Flags;
use super::rpc::RpcError;
use super::tree::{Io, Outcome};
use crate::config;

/// A command that asks a running server or agent.
pub(super) trait Ask: Default {
    /// Its name, for the usage.
    const NAME: &'static str;
    /// Whom it asks.
    const WHOM: Whom;

    /// Its flags. What the fields hold before are the defaults.
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f>;

    /// Does it. Connects only once the flags are found to be good.
    fn ask(self, socket: &Socket, io: &mut Io<'_>) -> impl Future<Output = Outcome>;
}

/// Runs a command that asks.
pub(super) fn ask<A: Ask>(io: &mut Io<'_>, args: &[String]) -> Outcome {
    let mut command = A::default();
    let (mut path, mut instance) = (String::new(), String::new());
    A::WHOM.default.clone_into(&mut path);
    let flags = Flags::of(A::NAME)
        .flag("socketPath", A::WHOM.socket_usage, &mut path)
        .flag("instance", A::WHOM.instance_usage, &mut instance);
    command.flags(flags).parse(args)?;
    let path = A::WHOM.path(&path, &instance, config::env)?;
    let socket = Socket {
        path,
        whom: A::WHOM,
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command.ask(&socket, io))
}

/// Whom a command asks, and where that one listens if nothing else is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom {
    name: &'static str,
    default: &'static str,
    /// Names the socket; with `_TEMPLATE`, where the sockets of several instances are.
    variable: &'static str,
    template: &'static str,
    socket_usage: &'static str,
    instance_usage: &'static str,
}

impl Whom {
    /// The server, on its private socket.
    #[cfg(feature = "server")]
    pub(super) const SERVER: Self = Self {
        name: "server",
        default: "/tmp/spire-server/private/api.sock",
        variable: "SPIRE_SERVER_PRIVATE_SOCKET",
        template: "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE",
        socket_usage: "The `path` of the server's socket; SPIRE_SERVER_PRIVATE_SOCKET names it too",
        instance_usage: "The `name` that stands for %i in SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE",
    };

    /// The agent, on its public socket.
    #[cfg(feature = "agent")]
    pub(super) const AGENT: Self = Self {
        name: "agent",
        default: "/tmp/spire-agent/public/api.sock",
        variable: "SPIRE_AGENT_PUBLIC_SOCKET",
        template: "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE",
        socket_usage: "The `path` of the agent's socket; SPIRE_AGENT_PUBLIC_SOCKET names it too",
        instance_usage: "The `name` that stands for %i in SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE",
    };

    /// The path of the socket: what the flag says, else the instance, else the environment.
    fn path(
        self,
        flag: &str,
        instance: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<String, SocketPathError> {
        let template = env(self.template).unwrap_or_default();
        match (instance, &*template) {
            ("", _) => {}
            (_, "") => return Err(SocketPathError::NoTemplate(self.template)),
            (_, template) if !template.contains("%i") => {
                return Err(SocketPathError::NoPlace(self.template));
            }
            _ => {}
        }
        let named = env(self.variable).filter(|path| !path.is_empty());
        Ok(match (flag, instance, named) {
            (flag, _, _) if flag != self.default => flag.to_owned(),
            (_, "", Some(path)) => path,
            (_, "", None) => self.default.to_owned(),
            (_, instance, _) => template.replace("%i", instance),
        })
    }
}

/// Where a server or an agent listens.
#[derive(Debug)]
pub(super) struct Socket {
    path: String,
    whom: Whom,
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Why nobody answers, and how to ask elsewhere.
    pub(super) async fn connect(&self) -> Result<Channel, ConnectError> {
        let failed = |error| ConnectError {
            path: self.path.clone(),
            whom: self.whom,
            why: Unanswered::of(error),
        };
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.path)).map_err(failed)?;
        endpoint.connect().await.map_err(failed)
    }

    /// The socket at this path, for tests.
    #[cfg(test)]
    pub(super) fn at(path: &std::path::Path, whom: Whom) -> Self {
        let path = path.to_str().unwrap().to_owned();
        Self { path, whom }
    }
}

/// Nobody answers on the socket.
#[derive(Debug)]
pub(super) struct ConnectError {
    path: String,
    whom: Whom,
    why: Unanswered,
}

/// Prints as a call that failed, which it is to whoever asked.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Whom { name, variable, .. } = self.whom;
        let text = format!(
            "connection error: cannot reach the {name} on {path}: {why}; another socket is named \
             with -socketPath or {variable}",
            path = self.path,
            why = self.why.hint(name),
        );
        RpcError::unavailable(&text).fmt(f)
    }
}

impl Error for ConnectError {}

#[derive(Debug)]
enum Unanswered {
    Io(io::ErrorKind, String),
    Transport(transport::Error),
}

impl Unanswered {
    fn of(error: transport::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(io) = found.downcast_ref::<io::Error>() {
                return Self::Io(io.kind(), io.to_string());
            }
            cause = found.source();
        }
        Self::Transport(error)
    }

    fn hint(&self, name: &str) -> String {
        match self {
            Self::Io(io::ErrorKind::NotFound, _) => {
                format!("there is no such socket; is the {name} running?")
            }
            Self::Io(io::ErrorKind::ConnectionRefused, _) => {
                format!("the socket is there, but nobody listens; is the {name} running?")
            }
            Self::Io(io::ErrorKind::PermissionDenied, _) => {
                "this user may not use the socket".to_owned()
            }
            Self::Io(_, text) => text.clone(),
            Self::Transport(error) => spiffe_core::with_causes(error),
        }
    }
}

/// The flags and the environment name no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum SocketPathError {
    #[error("failed to find %i in {0}")]
    NoPlace(&'static str),
    #[error("you must define {0} to use the instance flag")]
    NoTemplate(&'static str),
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_flag_goes_before_the_instance_and_that_before_the_environment() {
        let set = |name: &str| match name {
            "SPIRE_SERVER_PRIVATE_SOCKET" => Some("/env".to_owned()),
            "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE" => Some("/t/%i.sock".to_owned()),
            _ => None,
        };
        let default = Whom::SERVER.default;
        for (flag, instance, path) in [
            ("/flag", "", "/flag"),
            ("/flag", "a", "/flag"),
            (default, "a", "/t/a.sock"),
            (default, "", "/env"),
        ] {
            assert_eq!(Whom::SERVER.path(flag, instance, set), Ok(path.to_owned()));
        }
        let unset = |_: &str| None;
        assert_eq!(
            Whom::SERVER.path(default, "", unset),
            Ok(default.to_owned())
        );
    }

    #[test]
    fn an_instance_needs_a_template_with_a_place_for_it() {
        let name = Whom::SERVER.template;
        let path = |template: Option<&str>| {
            let env = |asked: &str| template.filter(|_| asked == name).map(str::to_owned);
            Whom::SERVER.path(Whom::SERVER.default, "a", env)
        };
        assert_eq!(path(None), Err(SocketPathError::NoTemplate(name)));
        assert_eq!(path(Some("/t")), Err(SocketPathError::NoPlace(name)));
    }

    #[tokio::test]
    async fn where_nobody_answers_the_path_and_the_way_out_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.sock");
        let stale = directory.path().join("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        for (path, why) in [
            (&missing, "there is no such socket; is the server running?"),
            (
                &stale,
                "the socket is there, but nobody listens; is the server running?",
            ),
        ] {
            let socket = Socket::at(path, Whom::SERVER);
            let told = socket.connect().await.unwrap_err().to_string();
            let path = path.display();
            assert_eq!(
                told,
                format!(
                    "rpc error: code = Unavailable desc = connection error: cannot reach the server \
                     on {path}: {why}; another socket is named with -socketPath or \
                     SPIRE_SERVER_PRIVATE_SOCKET"
                )
            );
        }
    }
}
