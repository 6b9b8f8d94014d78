//! The agent service.

use tonic::Request;

use super::*;
use crate::domain::Denial;
use crate::proto::server::agent::{
    BanAgentRequest, CountAgentsRequest, CreateJoinTokenRequest, DeleteAgentRequest,
    GetAgentRequest, ListAgentsRequest, PostStatusRequest, RenewAgentRequest,
};
use crate::wire;

fn renewal(csr: Vec<u8>) -> RenewAgentRequest {
    RenewAgentRequest {
        params: Some(AgentX509svidParams { csr }),
    }
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn a_token_lets_one_agent_in_once() {
    let world = World::new().await;
    let made = world
        .agents(local())
        .await
        .create_join_token(CreateJoinTokenRequest {
            ttl: 600,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let chain = world.attest(&made.value).await.unwrap();
    let id = format!("spiffe://td/spire/agent/join_token/{}", made.value);
    assert_eq!(chain[0].spiffe_id().unwrap().as_str(), id);
    assert_eq!(chain.len(), 1, "the root is not sent");

    let again = world.attest(&made.value).await.unwrap_err();
    assert_eq!(
        told(&again),
        (
            Code::InvalidArgument,
            "failed to attest: join token does not exist or has already been used"
        )
    );
}

#[tokio::test]
async fn a_token_that_ended_lets_nobody_in() {
    let world = World::new().await;
    let token = world.nodes.create_token(HOUR, None, None).await.unwrap();
    world.clock.advance(HOUR);
    let late = world.attest(token.token.reveal()).await.unwrap_err();
    assert_eq!(told(&late), (Code::InvalidArgument, "join token expired"));
}

#[tokio::test]
async fn join_token_race_1_winner() {
    let world = World::new().await;
    let token = world.nodes.create_token(HOUR, None, None).await.unwrap();
    let racers = (0..64).map(|_| world.attest(token.token.reveal()));
    let outcomes = futures_util::future::join_all(racers).await;
    let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(winners, 1);
    for loser in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(loser.code(), Code::InvalidArgument, "{loser:?}");
    }
}

#[tokio::test]
async fn what_is_no_attestation_is_refused() {
    let world = World::new().await;
    let mut agents = world.agents(anonymous()).await;
    let mut refusal = async |step| {
        let request = AttestAgentRequest { step };
        // Each from an address of its own, so that none waits.
        agents = world.agents(anonymous()).await;
        let answers = agents.attest_agent(tokio_stream::iter([request])).await?;
        answers.into_inner().message().await
    };
    let params = |kind: &str, payload: &str, csr: Vec<u8>| {
        Some(attest_agent_request::Step::Params(
            attest_agent_request::Params {
                data: Some(types::AttestationData {
                    r#type: kind.into(),
                    payload: payload.into(),
                }),
                params: Some(AgentX509svidParams { csr }),
            },
        ))
    };
    for (step, code, text) in [
        (
            None,
            Code::InvalidArgument,
            "malformed param: missing params",
        ),
        (
            params("x", "p", csr()),
            Code::FailedPrecondition,
            "error getting node attestor: could not find node attestor type \"x\"",
        ),
        (
            params("join_token", "p", vec![1]),
            Code::InvalidArgument,
            "malformed CSR",
        ),
        (
            params("join_token", "p", csr()),
            Code::InvalidArgument,
            "failed to attest: join token does not exist or has already been used",
        ),
        (
            params("join_token", "", csr()),
            Code::InvalidArgument,
            "malformed param: ",
        ),
    ] {
        let refused = refusal(step).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().starts_with(text), "{refused:?}");
    }
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_not_waited_for_long() {
    let world = World::new().await;
    let mut agents = world.agents(anonymous()).await;
    tokio::time::pause();
    let silence = tokio_stream::pending::<AttestAgentRequest>();
    let mut answers = agents.attest_agent(silence).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_renewed_svid_counts_from_its_first_use() {
    let world = World::new().await;
    let old = world.attested().await;
    let mut agents = world.agents(old.clone()).await;
    let renewed = agents
        .renew_agent(renewal(csr()))
        .await
        .unwrap()
        .into_inner();
    let new = world.caller(&chain(renewed.svid));
    let post = async |caller: &Caller| {
        let mut agents = world.agents(caller.clone()).await;
        agents.post_status(PostStatusRequest::default()).await
    };
    // Until the new one is used, the old one is good: the answer may have been lost.
    assert!(post(&old).await.is_ok());
    assert!(post(&new).await.is_ok());
    let refused = post(&old).await.unwrap_err();
    assert_eq!(wire::denial(&refused), Some(Denial::AgentNotActive));
    assert!(post(&new).await.is_ok());
}

#[tokio::test]
async fn csr_san_is_ignored() {
    let world = World::new().await;
    let agent = world.attested().await;
    let id = agent.svid().unwrap().id().clone();
    let mut asked = CertificateParams::new(vec!["server.test".to_owned()]).unwrap();
    let uri = "spiffe://td/spire/server".try_into().unwrap();
    asked.subject_alt_names.push(rcgen::SanType::URI(uri));
    let asked = asked
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    let mut agents = world.agents(agent).await;
    let renewed = agents
        .renew_agent(renewal(asked.der().to_vec()))
        .await
        .unwrap();
    let leaf = &chain(renewed.into_inner().svid)[0];
    assert_eq!(leaf.spiffe_id().unwrap(), id);
    assert!(!leaf.der().windows(11).any(|bytes| bytes == b"server.test"));
}

#[tokio::test]
async fn a_banned_agent_stays_out_until_it_is_deleted() {
    let world = World::new().await;
    let agent = world.attested().await;
    let id = wire::id_to_message(agent.svid().unwrap().id());
    let mut operator = world.agents(local()).await;
    let ban = BanAgentRequest {
        id: Some(id.clone()),
    };
    operator.ban_agent(ban).await.unwrap();
    let get = GetAgentRequest {
        id: Some(id.clone()),
        output_mask: None,
    };
    let shown = operator.get_agent(get.clone()).await.unwrap().into_inner();
    assert!(shown.banned && shown.x509svid_serial_number.is_empty());
    let refused = world.agents(agent).await.renew_agent(renewal(csr())).await;
    let refused = refused.unwrap_err();
    assert_eq!(wire::denial(&refused), Some(Denial::AgentBanned));

    let delete = DeleteAgentRequest { id: Some(id) };
    operator.delete_agent(delete.clone()).await.unwrap();
    for gone in [
        operator.get_agent(get).await.map(drop).unwrap_err(),
        operator.delete_agent(delete).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(told(&gone), (Code::NotFound, "agent not found"));
    }
}

#[tokio::test]
async fn who_is_no_agent_cannot_be_asked_for() {
    let world = World::new().await;
    let mut operator = world.agents(local()).await;
    let id = Some(wire::id_to_message(&spiffe_id!("spiffe://td/x")));
    let get = GetAgentRequest {
        id: id.clone(),
        output_mask: None,
    };
    let text = "invalid agent ID: \"spiffe://td/x\" is not an agent in trust domain \"td\"; \
                path is not in the agent namespace";
    for refused in [
        operator.get_agent(get).await.map(drop).unwrap_err(),
        operator
            .ban_agent(BanAgentRequest { id: id.clone() })
            .await
            .map(drop)
            .unwrap_err(),
        operator
            .delete_agent(DeleteAgentRequest { id })
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(told(&refused), (Code::InvalidArgument, text));
    }
    let nobody = GetAgentRequest::default();
    let refused = operator.get_agent(nobody).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "id: must be set"));
}

#[tokio::test]
async fn a_token_of_ones_own_choice_and_an_alias_are_kept() {
    let world = World::new().await;
    let mut operator = world.agents(local()).await;
    let request = || CreateJoinTokenRequest {
        ttl: 60,
        token: "my-token".into(),
        agent_id: Some(wire::id_to_message(&spiffe_id!("spiffe://td/node"))),
    };
    let made = operator
        .create_join_token(request())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.value, "my-token");
    world.attest("my-token").await.unwrap();
    let listed = world
        .entries
        .list(&Default::default(), &crate::domain::Page::ALL)
        .await
        .unwrap();
    let [alias] = &listed.items[..] else {
        panic!("{listed:?}");
    };
    let agent = "spiffe://td/spire/agent/join_token/my-token";
    assert_eq!(alias.body.spiffe_id.as_str(), "spiffe://td/node");
    assert_eq!(alias.body.parent_id.as_str(), agent);
    let selectors: Vec<_> = alias
        .body
        .selectors
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(selectors, [format!("spiffe_id:{agent}")]);
}

#[tokio::test]
async fn a_token_that_cannot_be_is_refused() {
    let world = World::new().await;
    let mut operator = world.agents(local()).await;
    let good = || CreateJoinTokenRequest {
        ttl: 60,
        ..Default::default()
    };
    let with_id = |path: &str| {
        Some(types::Spiffeid {
            trust_domain: "td".into(),
            path: path.into(),
        })
    };
    for (request, text) in [
        (
            CreateJoinTokenRequest { ttl: 0, ..good() },
            "ttl is required, you must provide one",
        ),
        (
            CreateJoinTokenRequest { ttl: -5, ..good() },
            "ttl is required, you must provide one",
        ),
        (
            CreateJoinTokenRequest {
                token: "../admin".into(),
                ..good()
            },
            "the join token cannot be part of an agent's ID",
        ),
        (
            CreateJoinTokenRequest {
                agent_id: with_id("/spire/server"),
                ..good()
            },
            "invalid agent ID: \"spiffe://td/spire/server\" is not a workload in trust domain \"td\"",
        ),
        (
            CreateJoinTokenRequest {
                agent_id: with_id("a"),
                ..good()
            },
            "agent_id: ",
        ),
    ] {
        let refused = operator.create_join_token(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().starts_with(text), "{refused:?}");
    }
    let twice = || CreateJoinTokenRequest {
        token: "twice".into(),
        ..good()
    };
    operator.create_join_token(twice()).await.unwrap();
    let refused = operator.create_join_token(twice()).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
}

#[tokio::test]
async fn agents_are_listed_page_by_page_as_far_as_they_are_asked_for() {
    let world = World::new().await;
    for _ in 0..3 {
        world.attested().await;
    }
    let mut operator = world.agents(local()).await;
    let count = operator.count_agents(CountAgentsRequest::default()).await;
    assert_eq!(count.unwrap().into_inner().count, 3);
    let mut request = ListAgentsRequest {
        output_mask: Some(types::AgentMask::default()),
        page_size: 2,
        ..Default::default()
    };
    let first = operator
        .list_agents(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.agents.len(), 2);
    assert!(first.agents[0].id.is_some() && first.agents[0].attestation_type.is_empty());
    request.page_token = first.next_page_token;
    let second = operator.list_agents(request).await.unwrap().into_inner();
    assert_eq!((second.agents.len(), &*second.next_page_token), (1, ""));
}

#[tokio::test]
async fn an_agent_tells_its_version() {
    let world = World::new().await;
    let agent = world.attested().await;
    let id = agent.svid().unwrap().id().clone();
    let mut agents = world.agents(agent).await;
    let post = |version: String| {
        Request::new(PostStatusRequest {
            agent_version: version,
            ..Default::default()
        })
    };
    agents.post_status(post("1.15.3".into())).await.unwrap();
    assert_eq!(world.nodes.find(&id).await.unwrap().agent_version, "1.15.3");
    let refused = agents.post_status(post("v".repeat(256))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
