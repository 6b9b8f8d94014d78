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
