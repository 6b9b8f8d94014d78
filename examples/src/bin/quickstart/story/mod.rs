//! The story, step by step. A step that does not go as it should ends it.

mod calling;
mod issuing;
mod rotating;

use std::{path::Path, time::Duration};

use spiffe_examples::lines::Identity;
use tokio::{
    process::Command,
    time::{self, Instant},
};

use crate::{
    account::Account,
    domain::{Domain, TRUST_DOMAIN},
    processes::{Handle, Processes},
    programs::Programs,
    trouble::Trouble,
};

pub(crate) async fn tell(
    account: &Account,
    programs: &Programs,
    domain: &Domain<'_>,
    processes: &mut Processes,
) -> Result<(), Trouble> {
    account.say("SPIFFE in a minute: an issuer, an agent, and services that prove who they are.");
    account.say(format_args!(
        "All of it lives below {} and is gone afterwards.",
        domain.folder().display()
    ));
    let mut story = Story {
        account,
        programs,
        domain,
        processes,
    };
    story.start_server().await?;
    story.register_workloads().await?;
    let agent = story.attest_agent().await?;
    let mut service = story.start_greeter().await?;
    story.call_and_be_answered(&service).await?;
    story.call_and_be_refused(&service).await?;
    story.be_a_stranger(agent).await?;
    story.rotate(&mut service).await?;
    story.stop().await
}

struct Story<'a> {
    account: &'a Account,
    programs: &'a Programs,
    domain: &'a Domain<'a>,
    processes: &'a mut Processes,
}

/// The greeter's server as it runs.
struct Service {
    process: Handle,
    address: String,
    identity: Identity,
}

impl Story<'_> {
    /// A program that asks the agent who it is.
    fn workload(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        command.env("SPIFFE_ENDPOINT_SOCKET", self.domain.endpoint());
        command
    }

    fn client(&mut self, service: &Service, arguments: &[&str]) -> Result<Handle, Trouble> {
        let arguments = [&[service.address.as_str()], arguments].concat();
        let command = self.workload(&self.programs.greeter_client, &arguments);
        self.processes.start("greeter-client", command)
    }

    /// Asks again and again, as long as there is a process to wait for.
    async fn until(
        &mut self,
        process: Handle,
        what: &str,
        ask: impl AsyncFn() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + SOON;
        while let Err(last) = ask().await {
            self.processes.check(process, what)?;
            if Instant::now() >= deadline {
                return Err(last);
            }
            time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// The beginning of something long and random, enough to tell it from others.
fn short(text: &str) -> String {
    let beginning: String = text.chars().take(12).collect();
    format!("{beginning}...")
}

fn server_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/greeter/server")
}

fn client_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/greeter/client")
}

/// How long X.509-SVIDs are good. An agent renews them at about half of that.
const TTL: Duration = Duration::from_secs(20);
/// How long RPCs flow: past the end of the identities that they began with.
const FLOW: Duration = Duration::from_secs(24);

/// How long a program may take to get ready, and a workload to get an answer. A source waits 30
/// seconds for its first identity; this is longer, so that its own words are seen.
const SOON: Duration = Duration::from_secs(40);
