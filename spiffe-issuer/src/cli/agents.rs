//! `agent list|count|show|ban|evict`: the agents that the server has attested.

use std::fmt::Write as _;

use tonic::transport::Channel;

use super::connect::{Ask, Socket, Whom};
use super::flags::Flags;
use super::output::{self, Format};
use super::rpc::RpcError;
use super::selectors::{BadSelector, BySelectors};
use super::text::{self, BadId};
use super::tree::{Io, Outcome};
use crate::proto::server::agent::agent_client::AgentClient;
use crate::proto::server::agent::{
    BanAgentRequest, CountAgentsRequest, DeleteAgentRequest, GetAgentRequest, ListAgentsRequest,
    ListAgentsResponse, count_agents_request, list_agents_request,
};
use crate::proto::types;

/// How many agents are asked for at once: far from what fits into one message.
const PAGE: i32 = 1000;

/// Which agents are wanted.
#[derive(Debug, Default)]
struct Filter {
    attestation_type: String,
    banned: String,
    by_selectors: BySelectors,
    can_reattest: String,
    expires_before: String,
}

impl Filter {
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let expires = "Only agents that expire before this `time`: 2006-01-02 15:04:05 -0700 -07";
        let reattest = "true: only agents that can attest again; false: only those that cannot";
        self.by_selectors
            .flags(flags)
            .flag(
                "attestationType",
                "Only agents attested by this `type`",
                &mut self.attestation_type,
            )
            .flag(
                "banned",
                "true: only banned agents; false: only others",
                &mut self.banned,
            )
            .flag("canReattest", reattest, &mut self.can_reattest)
            .flag("expiresBefore", expires, &mut self.expires_before)
    }

    fn listed(&self) -> Result<list_agents_request::Filter, BadSelector> {
        Ok(list_agents_request::Filter {
            by_attestation_type: self.attestation_type.clone(),
            by_selector_match: self.by_selectors.filter()?,
            by_banned: either(&self.banned),
            by_can_reattest: either(&self.can_reattest),
            by_expires_before: self.expires_before.clone(),
        })
    }

    fn counted(&self) -> Result<count_agents_request::Filter, BadSelector> {
        let listed = self.listed()?;
        Ok(count_agents_request::Filter {
            by_attestation_type: listed.by_attestation_type,
            by_selector_match: listed.by_selector_match,
            by_banned: listed.by_banned,
            by_can_reattest: listed.by_can_reattest,
            by_expires_before: listed.by_expires_before,
        })
    }
}

/// What is neither true nor false asks for both, as in SPIRE.
fn either(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// `agent list`
#[derive(Debug, Default)]
pub(super) struct List {
    filter: Filter,
    output: Format,
}

impl Ask for List {
    const NAME: &'static str = "agent list";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let flags = flags.flag(output::FLAG, output::USAGE, &mut self.output);
        self.filter.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let filter = self.filter.listed()?;
        let mut agents = client(socket).await?;
        let mut all = ListAgentsResponse::default();
        let mut page_token = String::new();
        loop {
            let page = agents.list_agents(ListAgentsRequest {
                filter: Some(filter.clone()),
                output_mask: None,
                page_size: PAGE,
                page_token,
            });
            let page = page.await.map_err(RpcError::from)?.into_inner();
            all.agents.extend(page.agents);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        text::print(io, self.output, &all, || listed(&all.agents))
    }
}

/// `agent count`
#[derive(Debug, Default)]
pub(super) struct Count {
    filter: Filter,
    output: Format,
}

impl Ask for Count {
    const NAME: &'static str = "agent count";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let flags = flags.flag(output::FLAG, output::USAGE, &mut self.output);
        self.filter.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let filter = Some(self.filter.counted()?);
        let mut agents = client(socket).await?;
        let counted = agents.count_agents(CountAgentsRequest { filter }).await;
        let counted = counted.map_err(RpcError::from)?.into_inner();
        let count = usize::try_from(counted.count).unwrap_or_default();
        text::print(io, self.output, &counted, || {
            text::counted(count, "attested ", "agent", "agents") + "\n"
        })
    }
}

/// The agent that a command is about.
#[derive(Debug, Default)]
struct One {
    output: Format,
    spiffe_id: String,
}

impl One {
    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
            .flag(output::FLAG, output::USAGE, &mut self.output)
            .flag(
                "spiffeID",
                "The SPIFFE ID of the agent",
                &mut self.spiffe_id,
            )
    }

    fn id(&self) -> Result<Option<types::Spiffeid>, OneError> {
        match &*self.spiffe_id {
            "" => Err(OneError::NoSpiffeId),
            id => Ok(Some(text::id("SPIFFE ID", id)?)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum OneError {
    #[error(transparent)]
    BadId(#[from] BadId),
    #[error("a SPIFFE ID is required")]
    NoSpiffeId,
}

/// `agent show`
#[derive(Debug, Default)]
pub(super) struct Show(One);

impl Ask for Show {
    const NAME: &'static str = "agent show";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let request = GetAgentRequest {
            id: self.0.id()?,
            output_mask: None,
        };
        let agent = client(socket).await?.get_agent(request).await;
        let agent = agent.map_err(RpcError::from)?.into_inner();
        text::print(io, self.0.output, &agent, || shown(&agent))
    }
}

/// `agent ban`
#[derive(Debug, Default)]
pub(super) struct Ban(One);

impl Ask for Ban {
    const NAME: &'static str = "agent ban";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let request = BanAgentRequest { id: self.0.id()? };
        let banned = client(socket).await?.ban_agent(request).await;
        banned.map_err(RpcError::from)?;
        done(io, self.0.output, "Agent banned successfully")
    }
}

/// `agent evict`
#[derive(Debug, Default)]
pub(super) struct Evict(One);

impl Ask for Evict {
    const NAME: &'static str = "agent evict";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        self.0.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let request = DeleteAgentRequest { id: self.0.id()? };
        let evicted = client(socket).await?.delete_agent(request).await;
        evicted.map_err(RpcError::from)?;
        done(io, self.0.output, "Agent evicted successfully")
    }
}

/// Prints that something is done, of which the answer says nothing more.
fn done(io: &mut Io<'_>, format: Format, told: &str) -> Outcome {
    match format {
        Format::Json => writeln!(io.out, "{{}}")?,
        Format::Pretty => writeln!(io.out, "{told}")?,
    }
    Ok(())
}

async fn client(socket: &Socket) -> Result<AgentClient<Channel>, super::connect::ConnectError> {
    Ok(AgentClient::new(socket.connect().await?))
}

fn listed(agents: &[types::Agent]) -> String {
    if agents.is_empty() {
        return "No attested agents found\n".to_owned();
    }
    let counted = text::counted(agents.len(), "attested ", "agent", "agents");
    let blocks: String = agents.iter().map(block).collect();
    format!("Found {counted}:\n\n{blocks}")
}

fn shown(agent: &types::Agent) -> String {
    let mut text = format!(
        "Found an attested agent given its SPIFFE ID\n\n{}",
        block(agent)
    );
    for selector in &agent.selectors {
        line(
            &mut text,
            "Selectors",
            &format!("{}:{}", selector.r#type, selector.value),
        );
    }
    text
}

/// What is told of an agent. Scripts read it line by line.
fn block(agent: &types::Agent) -> String {
    let mut text = String::new();
    line(&mut text, "SPIFFE ID", &text::id_text(agent.id.as_ref()));
    line(&mut text, "Attestation type", &agent.attestation_type);
    line(
        &mut text,
        "Expiration time",
        &text::seconds(agent.x509svid_expires_at),
    );
    match agent.banned {
        true => line(&mut text, "Banned", "true"),
        false => line(&mut text, "Serial number", &agent.x509svid_serial_number),
    }
    line(&mut text, "Can re-attest", &agent.can_reattest.to_string());
    if !agent.agent_version.is_empty() {
        line(&mut text, "Agent version", &agent.agent_version);
    }
    text.push('\n');
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    // A `String` takes all that is written to it.
    let _ = writeln!(text, "{label:18}: {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> types::Agent {
        types::Agent {
            id: Some(text::id("SPIFFE ID", "spiffe://td/spire/agent/join_token/t").unwrap()),
            attestation_type: "join_token".to_owned(),
            x509svid_serial_number: "17".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn an_agent_is_told_in_lines_of_one_width_without_what_does_not_apply() {
        let told = "\
SPIFFE ID         : spiffe://td/spire/agent/join_token/t
Attestation type  : join_token
Expiration time   : 1970-01-01 00:00:00 +0000 UTC
Serial number     : 17
Can re-attest     : false

";
        assert_eq!(block(&agent()), told);
        let banned = types::Agent {
            banned: true,
            agent_version: "1.15.3".to_owned(),
            ..agent()
        };
        let told = block(&banned);
        assert!(told.contains("\nBanned            : true\n"), "{told}");
        assert!(told.contains("\nAgent version     : 1.15.3\n"), "{told}");
        assert!(!told.contains("Serial number"), "{told}");
    }

    #[test]
    fn agents_are_counted_before_they_are_listed() {
        assert_eq!(listed(&[]), "No attested agents found\n");
        assert!(listed(&[agent()]).starts_with("Found 1 attested agent:\n\nSPIFFE ID"));
        assert!(listed(&[agent(), agent()]).starts_with("Found 2 attested agents:\n\n"));
    }

    #[test]
    fn one_agent_is_shown_with_its_selectors() {
        let mut agent = agent();
        agent.selectors = super::super::selectors::selectors(&["x509pop:cn:a".to_owned()]).unwrap();
        let told = shown(&agent);
        assert!(told.starts_with("Found an attested agent given its SPIFFE ID\n\nSPIFFE ID"));
        assert!(
            told.ends_with("\n\nSelectors         : x509pop:cn:a\n"),
            "{told}"
        );
    }

    #[test]
    fn the_filter_says_what_the_flags_say() {
        for (args, banned, can_reattest) in [
            (
                &["-banned", "true", "-canReattest=false"][..],
                Some(true),
                Some(false),
            ),
            (&["-banned", "false"], Some(false), None),
            (&["-banned", "all"], None, None),
        ] {
            let mut filter = Filter::default();
            filter
                .flags(Flags::of(""))
                .parse(args.iter().copied())
                .unwrap();
            let counted = filter.counted().unwrap();
            assert_eq!(
                (counted.by_banned, counted.by_can_reattest),
                (banned, can_reattest)
            );
        }
        let mut filter = Filter::default();
        let args = "-attestationType join_token -selector a:b -expiresBefore x";
        filter.flags(Flags::of("")).parse(args.split(' ')).unwrap();
        let listed = filter.listed().unwrap();
        assert_eq!(
            (&*listed.by_attestation_type, &*listed.by_expires_before),
            ("join_token", "x")
        );
        assert_eq!(listed.by_selector_match.unwrap().selectors.len(), 1);
    }

    #[test]
    fn an_agent_must_be_named() {
        assert!(matches!(One::default().id(), Err(OneError::NoSpiffeId)));
    }
}
