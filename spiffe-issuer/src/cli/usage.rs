//! Who still uses an authority: told by `localauthority x509|jwt usage`, and before one is revoked.

use std::fmt::Write as _;

use spiffe_core::with_causes;
use tonic::{Code, Status};

use super::connect::{ConnectError, Socket};
use super::rpc::RpcError;
use super::text;
use super::tree::{Io, Outcome};
use crate::proto::server::authorities::authorities_client::AuthoritiesClient;
use crate::proto::server::authorities::get_usage_request::Kind;
use crate::proto::server::authorities::{GetUsageRequest, GetUsageResponse};

/// Asks the server.
pub(super) async fn of(
    socket: &Socket,
    kind: Kind,
    authority_id: String,
) -> Result<Result<GetUsageResponse, Status>, ConnectError> {
    let mut client = AuthoritiesClient::new(socket.connect().await?);
    let request = GetUsageRequest {
        kind: kind.into(),
        authority_id,
    };
    let answer = client.get_usage(request).await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// What is told of it.
pub(super) fn told(usage: &GetUsageResponse, kind: &str) -> String {
    let mut text = format!("{kind} authority {}:\n", usage.authority_id);
    let standing = match &*usage.standing {
        "" => "not of this server",
        standing => standing,
    };
    // A `String` takes all that is written to it.
    let _ = writeln!(text, "  Standing: {standing}");
    let _ = writeln!(text, "  In the bundle: {}", usage.in_bundle);
    let _ = writeln!(text, "  Tainted: {}", usage.tainted);
    let until = match usage.signed_until {
        _ if usage.signed_until_unknown => "not known".to_owned(),
        0 => "nothing that it signed is left".to_owned(),
        until => format!("until {} at the latest", text::seconds(until)),
    };
    let _ = writeln!(text, "  Last use: {until}");
    if kind == "X.509" {
        let _ = writeln!(text, "  Agents: {}", usage.agent_count);
        for agent in &usage.agents {
            let (id, end) = (
                text::id_text(agent.id.as_ref()),
                text::seconds(agent.expires_at),
            );
            let _ = writeln!(text, "    {id} (until {end})");
        }
        if i64::try_from(usage.agents.len()).is_ok_and(|named| named < usage.agent_count) {
            text.push_str("    and others\n");
        }
    }
    text
}

/// Why revoking an authority would hurt somebody, if it would.
fn hurts(usage: &GetUsageResponse, words: &str) -> Option<String> {
    let agents = match usage.agent_count {
        0 => String::new(),
        1 => "1 agent still holds an SVID that it signed; ".to_owned(),
        count => format!("{count} agents still hold an SVID that it signed; "),
    };
    if agents.is_empty() && usage.signed_until == 0 && !usage.signed_until_unknown {
        return None;
    }
    let until = match usage.signed_until {
        _ if usage.signed_until_unknown => {
            "until when what it signed may be in use is not known; ".to_owned()
        }
        0 => String::new(),
        until => format!(
            "what it signed may be in use until {}; ",
            text::seconds(until)
        ),
    };
    let id = &usage.authority_id;
    let ask = format!("see `localauthority {words} usage -authorityID {id}`");
    Some(format!("{agents}{until}{ask}"))
}

/// Why an authority that only an unused one may be was not revoked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRevoked {
    /// Something is still in use.
    #[error("the authority was not revoked: {0}")]
    InUse(String),
    /// The server does not say.
    #[error("the authority was not revoked: {UNTOLD}")]
    Untold(#[source] RpcError),
}

const UNTOLD: &str = "whether it is in use could not be told";

/// Says, before an authority is revoked, who will be hurt by it. With `only_if_unused` nobody may be:
/// agents have replaced what they hold, and what workloads may hold beside them does not count.
pub(super) async fn before_revoking(
    socket: &Socket,
    io: &mut Io<'_>,
    (kind, words): (Kind, &str),
    authority_id: &str,
    only_if_unused: bool,
) -> Outcome {
    let usage = of(socket, kind, authority_id.to_owned()).await?;
    match warning(usage, words, only_if_unused)? {
        None => Ok(()),
        Some(why) => Ok(writeln!(io.err, "Warning: {why}")?),
    }
}

/// What is to be said before the authority is revoked, if it may be.
fn warning(
    usage: Result<GetUsageResponse, Status>,
    words: &str,
    only_if_unused: bool,
) -> Result<Option<String>, NotRevoked> {
    match usage.map(|usage| hurts(&usage, words)) {
        Ok(Some(why)) if only_if_unused => Err(NotRevoked::InUse(why)),
        Ok(why) => Ok(why),
        Err(status) if only_if_unused => Err(NotRevoked::Untold(status.into())),
        // One of SPIRE's servers, which tell of no usage.
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        // Why it would not revoke it the server says itself.
        Err(status) => {
            let error = RpcError::from(status);
            Ok(Some(format!("{UNTOLD}: {}", with_causes(&error))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::server::authorities::get_usage_response::Agent;
    use crate::proto::types;

    fn usage(agent_count: i64, signed_until: i64) -> GetUsageResponse {
        GetUsageResponse {
            authority_id: "aa".to_owned(),
            standing: "old".to_owned(),
            in_bundle: true,
            tainted: true,
            signed_until,
            agent_count,
            agents: vec![],
            signed_until_unknown: false,
        }
    }

    fn unknown() -> GetUsageResponse {
        GetUsageResponse {
            signed_until_unknown: true,
            ..usage(0, 0)
        }
    }

    #[test]
    fn whoever_revokes_only_what_is_unused_has_to_know_that_it_is() {
        for (usage, warned) in [
            (Ok(usage(0, 0)), None),
            (Err(Status::unimplemented("x")), None),
            (
                Ok(unknown()),
                Some("until when what it signed may be in use is not known; see "),
            ),
            (
                Err(Status::unavailable("down")),
                Some("whether it is in use could not be told: rpc error: "),
            ),
            (
                Err(Status::not_found("none")),
                Some("whether it is in use could not be told: rpc error: "),
            ),
        ] {
            let unused = usage
                .as_ref()
                .is_ok_and(|usage| hurts(usage, "jwt").is_none());
            let strict = warning(usage.clone(), "jwt", true);
            assert_eq!(strict.is_ok(), unused, "{usage:?}");
            if let (Err(refused), Err(_)) = (strict, &usage) {
                let told = with_causes(&refused).to_string();
                let begins =
                    "the authority was not revoked: whether it is in use could not be told: ";
                assert!(told.starts_with(begins), "{told}");
            }
            let told = warning(usage, "jwt", false).unwrap();
            match (told, warned) {
                (Some(told), Some(begins)) => assert!(told.starts_with(begins), "{told}"),
                (told, warned) => assert_eq!(told.as_deref(), warned),
            }
        }
    }

    #[test]
    fn who_uses_an_authority_is_told_by_name() {
        let mut used = usage(2, 1_900_000_000);
        used.agents.push(Agent {
            id: Some(types::Spiffeid {
                trust_domain: "td".to_owned(),
                path: "/spire/agent/a".to_owned(),
            }),
            expires_at: 1_900_000_000,
        });
        assert_eq!(
            told(&used, "X.509"),
            "X.509 authority aa:\n  Standing: old\n  In the bundle: true\n  Tainted: true\n  \
             Last use: until 2030-03-17 17:46:40 +0000 UTC at the latest\n  Agents: 2\n    \
             spiffe://td/spire/agent/a (until 2030-03-17 17:46:40 +0000 UTC)\n    and others\n"
        );
        let unused = GetUsageResponse {
            standing: String::new(),
            ..usage(0, 0)
        };
        assert_eq!(
            told(&unused, "JWT"),
            "JWT authority aa:\n  Standing: not of this server\n  In the bundle: true\n  Tainted: \
             true\n  Last use: nothing that it signed is left\n"
        );
        let told = told(&unknown(), "JWT");
        assert!(told.ends_with("  Last use: not known\n"), "{told}");
    }

    #[test]
    fn only_an_authority_that_somebody_uses_is_warned_of() {
        assert_eq!(hurts(&usage(0, 0), "jwt"), None);
        for (agents, until, begins) in [
            (
                1,
                0,
                "1 agent still holds an SVID that it signed; see `localauthority x509 usage",
            ),
            (3, 0, "3 agents still hold an SVID that it signed; see "),
            (
                0,
                1_900_000_000,
                "what it signed may be in use until 2030-03-17 17:46:40 +0000 UTC; ",
            ),
        ] {
            let why = hurts(&usage(agents, until), "x509").unwrap();
            assert!(why.starts_with(begins), "{why}");
            assert!(why.ends_with("-authorityID aa`"), "{why}");
        }
    }
}
