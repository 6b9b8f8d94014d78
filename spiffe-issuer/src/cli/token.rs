//! `token generate`: a join token for an agent to come.

use tonic::transport::Channel;

use super::connect::{Ask, Socket, Whom};
use super::flags::Flags;
use super::output::{self, Format};
use super::rpc::RpcError;
use super::text::{self, BadId};
use super::tree::{Io, Outcome};
use crate::proto::server::agent::CreateJoinTokenRequest;
use crate::proto::server::agent::agent_client::AgentClient;

/// `token generate`
#[derive(Debug)]
pub(super) struct Generate {
    output: Format,
    spiffe_id: String,
    ttl: i32,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            output: Format::default(),
            spiffe_id: String::new(),
            ttl: 600,
        }
    }
}

impl Ask for Generate {
    const NAME: &'static str = "token generate";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
            .flag(output::FLAG, output::USAGE, &mut self.output)
            .flag(
                "spiffeID",
                "An additional SPIFFE ID for the agent",
                &mut self.spiffe_id,
            )
            .flag(
                "ttl",
                "How long the token can be used, in seconds",
                &mut self.ttl,
            )
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let request = self.request()?;
        let mut agents: AgentClient<Channel> = AgentClient::new(socket.connect().await?);
        let token = agents
            .create_join_token(request)
            .await
            .map_err(RpcError::from)?;
        let token = token.into_inner();
        text::print(io, self.output, &token, || self.told(&token.value))
    }
}

impl Generate {
    fn request(&self) -> Result<CreateJoinTokenRequest, BadId> {
        let id = match &*self.spiffe_id {
            "" => None,
            id => Some(text::id("SPIFFE ID", id)?),
        };
        Ok(CreateJoinTokenRequest {
            ttl: self.ttl,
            agent_id: id,
            ..Default::default()
        })
    }

    fn told(&self, token: &str) -> String {
        let warning = match &*self.spiffe_id {
            "" => "Warning: Missing SPIFFE ID.\n",
            _ => "",
        };
        format!("Token: {token}\n{warning}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Generate {
        let mut generate = Generate::default();
        generate
            .flags(Flags::of(""))
            .parse(args.iter().copied())
            .unwrap();
        generate
    }

    #[test]
    fn a_token_lives_ten_minutes_and_is_for_nobody_unless_told() {
        let request = read(&[]).request().unwrap();
        assert_eq!((request.ttl, request.agent_id), (600, None));
        let request = read(&["-ttl", "5", "-spiffeID", "spiffe://td/a"])
            .request()
            .unwrap();
        assert_eq!(request.ttl, 5);
        assert_eq!(text::id_text(request.agent_id.as_ref()), "spiffe://td/a");
        assert!(read(&["-spiffeID", "a"]).request().is_err());
    }

    #[test]
    fn the_token_is_the_second_word_and_a_missing_id_is_warned_of() {
        let told = "Token: t\nWarning: Missing SPIFFE ID.\n";
        assert_eq!(read(&[]).told("t"), told);
        assert_eq!(
            read(&["-spiffeID", "spiffe://td/a"]).told("t"),
            "Token: t\n"
        );
    }
}
