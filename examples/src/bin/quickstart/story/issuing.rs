//! The issuer's side: a server, entries, and an agent that attests.

use std::{fs, os::unix::fs::MetadataExt};

use spiffe_core::{
    clock::{Clock, SystemClock},
    x509::Certificate,
};

use super::{Story, TTL, client_id, server_id, short};
use crate::{
    domain::{NODE, TRUST_DOMAIN, value_of},
    processes::Handle,
    programs::selectors_of,
    trouble::Trouble,
};

impl Story<'_> {
    pub(super) async fn start_server(&mut self) -> Result<(), Trouble> {
        let step = self.account.step("The server starts");
        let server = self.processes.start("server", self.domain.server())?;
        step.fact("process", format_args!("{}", self.processes.pid(server)));
        step.fact("trust", format_args!("domain {TRUST_DOMAIN}"));
        step.fact("storage", "SQLite, keys on disk");
        let domain = self.domain;
        self.until(server, "it was healthy", async || {
            domain.server_is_healthy().await
        })
        .await?;
        let bundle = self.domain.bring_bundle().await?;
        let authority = Certificate::many_from_pem(bundle.as_bytes())
            .ok()
            .and_then(|authorities| authorities.into_iter().next())
            .ok_or_else(|| Trouble::unexpected("a certificate in the bundle", bundle))?;
        let left = authority.not_after().duration_since(SystemClock.now());
        step.fact(
            "authority",
            format_args!(
                "a new key, certified for {} h; the bundle goes to the agent",
                left.unwrap_or_default().as_secs().div_ceil(3600)
            ),
        );
        step.done();
        Ok(())
    }

    pub(super) async fn register_workloads(&mut self) -> Result<(), Trouble> {
        let step = self.account.step("Two workloads are registered");
        let uid = fs::metadata(self.domain.folder())
            .map_err(|source| Trouble::io("asking who we are", source))?
            .uid();
        for (id, program) in [
            (server_id(), &self.programs.greeter_server),
            (client_id(), &self.programs.greeter_client),
        ] {
            let selectors = selectors_of(program, uid)?;
            self.domain.register(&id, &selectors, TTL).await?;
            step.fact("entry", &id);
            step.fact("for", "processes with all of these:");
            for selector in &selectors {
                step.more(selector);
            }
        }
        step.fact("lifetime", format_args!("{} s", TTL.as_secs()));
        step.done();
        Ok(())
    }

    pub(super) async fn attest_agent(&mut self) -> Result<Handle, Trouble> {
        let step = self.account.step("The agent attests");
        let token = self.domain.join_token().await?;
        step.fact(
            "join token",
            format_args!("{}, good once, and for {NODE}", short(&token)),
        );
        let agent = self.processes.start("agent", self.domain.agent(&token))?;
        step.fact("process", format_args!("{}", self.processes.pid(agent)));
        let domain = self.domain;
        self.until(agent, "it was healthy", async || {
            domain.agent_is_healthy().await
        })
        .await?;

        let listed = self.domain.attested_agents().await?;
        let id = value_of("SPIFFE ID", &listed).unwrap_or_default();
        let expected = format!("spiffe://{TRUST_DOMAIN}/spire/agent/join_token/{token}");
        if id != expected {
            return Err(Trouble::unexpected(format!("the agent {expected}"), listed));
        }
        step.fact("attested", &id);
        for name in ["Attestation type", "Expiration time", "Serial number"] {
            if let Some(value) = value_of(name, &listed) {
                step.more(format_args!("{}: {value}", name.to_lowercase()));
            }
        }
        step.done();
        Ok(agent)
    }
}
