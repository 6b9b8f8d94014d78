//! The workloads' side: who gets an identity, who gets through, and what the others are told.

use spiffe_examples::lines::{Identity, Line};
use tokio::net::TcpStream;

use super::{SOON, Service, Story, client_id, server_id, short};
use crate::{account::Step, domain::free_address, processes::Handle, trouble::Trouble};

impl Story<'_> {
    pub(super) async fn start_greeter(&mut self) -> Result<Service, Trouble> {
        let step = self
            .account
            .step("The greeter's server asks the agent who it is");
        let address = free_address()?.to_string();
        let command = self.workload(&self.programs.greeter_server, &[&address]);
        let process = self.processes.start("greeter-server", command)?;
        step.fact("waits", "until the agent has heard of the entry");
        let identity = self.identity(process, &step).await?;
        if identity.id.as_str() != server_id() {
            return Err(Trouble::unexpected(server_id(), identity.id.as_str()));
        }
        self.until(process, "it listened", async || {
            let connected = TcpStream::connect(&address).await;
            connected
                .map(drop)
                .map_err(|source| Trouble::io(format!("connecting to {address}"), source))
        })
        .await?;
        step.fact("listens", format_args!("{address}, mutual TLS only"));
        step.done();
        Ok(Service {
            process,
            address,
            identity,
        })
    }

    pub(super) async fn call_and_be_answered(&mut self, service: &Service) -> Result<(), Trouble> {
        let step = self.account.step("The greeter's client calls, and may");
        let client = self.client(service, &["hello", "quickstart"])?;
        let identity = self.identity(client, &step).await?;
        if identity.id.as_str() != client_id() {
            return Err(Trouble::unexpected(client_id(), identity.id.as_str()));
        }
        step.fact("calls", "/greeter.v1.Greeter/SayHello");
        let answer = self.line(client, "an answer to SayHello").await?;
        match &answer {
            Line::Answer { greeting, caller } if *caller == identity.id => {
                step.fact("handler", format_args!("saw {caller}"));
                step.fact("answer", greeting);
            }
            other => {
                return Err(Trouble::unexpected(
                    format!("an answer to {}", identity.id),
                    other.to_string(),
                ));
            }
        }
        self.ended_well(client).await?;
        step.done();
        Ok(())
    }

    pub(super) async fn call_and_be_refused(&mut self, service: &Service) -> Result<(), Trouble> {
        let step = self
            .account
            .step("The same client calls what is for operators, and is refused");
        let client = self.client(service, &["reset"])?;
        self.identity(client, &step).await?;
        step.fact("calls", RESET);
        match self.line(client, "an answer to Reset").await? {
            Line::Refused(status) if status.starts_with("PermissionDenied") => {
                step.fact("client", format_args!("is told {status}"));
            }
            other => return Err(Trouble::unexpected("PermissionDenied", other.to_string())),
        }
        let reason = self
            .processes
            .line(
                service.process,
                "the reason in the server's log",
                SOON,
                |line| {
                    let (_, reason) = line.split_once("reason=")?;
                    line.contains(RESET).then(|| reason.to_owned())
                },
            )
            .await?;
        step.fact("server", format_args!("logs {reason}"));
        self.ended_well(client).await?;
        step.done();
        Ok(())
    }

    pub(super) async fn be_a_stranger(&mut self, agent: Handle) -> Result<(), Trouble> {
        let step = self
            .account
            .step("A third program asks who it is, and is nobody");
        let command = self.workload(&self.programs.stranger, &[]);
        let stranger = self.processes.start("stranger", command)?;
        step.fact(
            "process",
            format_args!("{}, same user", self.processes.pid(stranger)),
        );
        match self.line(stranger, "an answer to the stranger").await? {
            Line::NoIdentity(why) => step.fact("is told", why),
            other => return Err(Trouble::unexpected("no identity", other.to_string())),
        }
        let pid = self.processes.pid(stranger).to_string();
        let reason = self
            .processes
            .line(agent, "the reason in the agent's log", SOON, |line| {
                let names_it = line.split(|c: char| !c.is_ascii_digit()).any(|n| n == pid);
                names_it.then(|| quoted("error", line).or_else(|| quoted("msg", line)))?
            })
            .await?;
        step.fact("agent", format_args!("logs {reason}"));
        self.ended_well(stranger).await?;
        step.done();
        Ok(())
    }

    /// Waits until a workload tells who it is.
    pub(super) async fn identity(
        &mut self,
        of: Handle,
        step: &Step<'_>,
    ) -> Result<Identity, Trouble> {
        let find = |line: &str| match line.parse() {
            Ok(Line::Identity(identity)) => Some(identity),
            _ => None,
        };
        let identity = self.processes.line(of, "an identity", SOON, find).await?;
        step.fact("process", self.processes.pid(of));
        step.fact("SVID", &identity.id);
        step.more(format_args!(
            "serial {}, good for {} s",
            short(&identity.serial),
            identity.remaining.as_secs()
        ));
        Ok(identity)
    }

    /// The next line of a program; its log is passed over.
    pub(super) async fn line(&mut self, of: Handle, what: &str) -> Result<Line, Trouble> {
        let find = |line: &str| line.parse().ok();
        self.processes.line(of, what, SOON, find).await
    }

    pub(super) async fn ended_well(&mut self, process: Handle) -> Result<(), Trouble> {
        let status = self.processes.ended(process, SOON).await?;
        if status.success() {
            return Ok(());
        }
        Err(Trouble::unexpected("exit code 0", status.to_string()))
    }
}

/// The value of a field of a log line, where it is quoted.
fn quoted(field: &str, line: &str) -> Option<String> {
    let (_, value) = line.split_once(&format!(" {field}=\""))?;
    let (value, _) = value.split_once('"')?;
    Some(value.to_owned())
}

const RESET: &str = "/greeter.v1.Greeter/Reset";
