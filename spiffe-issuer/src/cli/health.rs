//! `healthcheck` of server and agent.

use std::fmt;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{Ask, Socket, Whom};
use super::flags::Flags;
use super::rpc::RpcError;
use super::tree::{Io, Outcome};

/// What `healthcheck` is told.
#[derive(Debug, Default)]
struct Check {
    shallow: bool,
    verbose: bool,
}

impl Check {
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
            .flag(
                "shallow",
                "Perform a less stringent check",
                &mut self.shallow,
            )
            .flag("verbose", "Tell more", &mut self.verbose)
    }

    /// Asks, and says so if it is wanted.
    async fn ask(&self, name: &'static str, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        if self.verbose {
            writeln!(io.out, "Checking {name} health...")?;
        }
        match status(socket).await {
            Ok(ServingStatus::Serving) => Ok(()),
            Ok(status) => Err(Unhealthy::Status { name, status }.into()),
            Err(error) => {
                if self.verbose {
                    writeln!(io.err, "Failed to check health: {error}")?;
                }
                Err(Unhealthy::Unknown.into())
            }
        }
    }
}

async fn status(
    socket: &Socket,
) -> Result<ServingStatus, Box<dyn std::error::Error + Send + Sync>> {
    let mut health = HealthClient::new(socket.connect().await?);
    let answer = health.check(HealthCheckRequest::default()).await;
    Ok(answer.map_err(RpcError::from)?.into_inner().status())
}

#[derive(Debug, thiserror::Error)]
enum Unhealthy {
    #[error("{name} returned status {:?}", status.as_str_name())]
    Status {
        name: &'static str,
        status: ServingStatus,
    },
    #[error("unable to determine health")]
    Unknown,
}

/// `healthcheck` of the server
#[cfg(feature = "server")]
#[derive(Debug, Default)]
pub(super) struct Server(Check);

#[cfg(feature = "server")]
impl Ask for Server {
    const NAME: &'static str = "healthcheck";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let checked = self.0.ask("server", socket, io).await;
        checked.map_err(|why| told("server is unhealthy", &why))?;
        writeln!(io.out, "Server is healthy.")?;
        Ok(())
    }
}

/// `healthcheck` of the agent
#[cfg(feature = "agent")]
#[derive(Debug, Default)]
pub(super) struct Agent(Check);

#[cfg(feature = "agent")]
impl Ask for Agent {
    const NAME: &'static str = "healthcheck";
    const WHOM: Whom = Whom::AGENT;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let checked = self.0.ask("agent", socket, io).await;
        checked.map_err(|why| told("Agent is unhealthy", &why))?;
        writeln!(io.out, "Agent is healthy.")?;
        Ok(())
    }
}

fn told(what: &str, why: &dyn fmt::Display) -> String {
    format!("{what}: {why}")
}

#[cfg(test)]
#[cfg(all(feature = "agent", feature = "server"))]
mod tests {
    use std::io;
    use std::path::Path;

    use tokio::net::UnixListener;
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::transport;
    use tonic_health::ServingStatus as Status;
    use tonic_health::server::health_reporter;

    use super::*;
    use crate::cli::fetch::Fetch;

    /// What the command ends with and prints, where this status is served.
    async fn asked<A: Ask>(command: A, status: Status) -> (Result<(), String>, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let listener = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        let (reporter, service) = health_reporter();
        reporter.set_service_status("", status).await;
        let router = transport::Server::builder().add_service(service);
        let serving = router.serve_with_incoming(listener);
        let mut out = Vec::new();
        let mut io = Io {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut io::sink(),
        };
        let socket = Socket::at(&path, A::WHOM);
        let outcome = tokio::select! {
            outcome = command.ask(&socket, &mut io) => outcome,
            ended = serving => unreachable!("{ended:?}"),
        };
        let outcome = outcome.map_err(|error| error.to_string());
        (outcome, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn whoever_serves_is_healthy() {
        let told = (Ok(()), "Server is healthy.\n".to_owned());
        assert_eq!(asked(Server::default(), Status::Serving).await, told);
        let told = (Ok(()), "Agent is healthy.\n".to_owned());
        assert_eq!(asked(Agent::default(), Status::Serving).await, told);
    }

    #[tokio::test]
    async fn whoever_does_not_serve_or_answer_is_not() {
        let verbose = Server(Check {
            verbose: true,
            ..Check::default()
        });
        let why = "server is unhealthy: server returned status \"NOT_SERVING\"".to_owned();
        let told = (Err(why), "Checking server health...\n".to_owned());
        assert_eq!(asked(verbose, Status::NotServing).await, told);

        let mut io = Io {
            input: &mut io::empty(),
            out: &mut io::sink(),
            err: &mut io::sink(),
        };
        let nowhere = Socket::at(Path::new("/does/not/exist"), Whom::AGENT);
        let outcome = Agent::default().ask(&nowhere, &mut io).await;
        let why = "Agent is unhealthy: unable to determine health";
        assert_eq!(outcome.unwrap_err().to_string(), why);
    }

    #[tokio::test]
    async fn a_call_that_nobody_serves_fails_as_it_does_in_go() {
        let (outcome, _) = asked(Fetch::default(), Status::Serving).await;
        let told = outcome.unwrap_err();
        let begins = "rpc error: code = Unimplemented desc =";
        assert!(told.starts_with(begins), "{told}");
    }
}
