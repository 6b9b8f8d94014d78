use std::sync::Arc;

use spiffe_issuer::domain::{AttestedNode, EntryFilter, JoinToken, Page};
use spiffe_issuer::server::store::{DataStore, StoreError, TokenRecord};
use tokio::task::JoinSet;

use crate::{at, id, node, on_each, selectors};

fn record(agent_id: Option<&str>) -> TokenRecord {
    TokenRecord {
        expires_at: at(600),
        agent_id: agent_id.map(id),
    }
}

/// The node that this token lets in.
fn newcomer(token: &str) -> AttestedNode {
    AttestedNode {
        id: id(&format!("/spire/agent/join_token/{token}")),
        attestation_type: "join_token".to_owned(),
        can_reattest: false,
        ..node("unused", 1)
    }
}

#[tokio::test]
async fn a_token_is_looked_up_as_often_as_one_likes_and_made_once() {
    on_each(async |site| {
        let store = site.open().await;
        let token = JoinToken::from_text("t").hash();
        let made = record(Some("/agent"));
        store.create_token(&token, made.clone()).await.unwrap();
        for _ in 0..2 {
            let read = site.open().await.find_token(&token).await.unwrap();
            assert_eq!(read, Some(made.clone()));
        }
        let again = store.create_token(&token, record(None)).await.unwrap_err();
        assert!(matches!(again, StoreError::Exists));
        assert_eq!(store.find_token(&token).await.unwrap(), Some(made));
    })
    .await;
}

#[tokio::test]
async fn token_lookup_is_exact() {
    on_each(async |site| {
        let store = site.open().await;
        let token = JoinToken::from_text("Token").hash();
        store.create_token(&token, record(None)).await.unwrap();
        for other in [
            "token",
            "Token ",
            "TOKEN",
            "Token\u{1f600}",
            "Toke",
            "To%",
            "",
        ] {
            let other_hash = JoinToken::from_text(other).hash();
            assert_eq!(
                store.find_token(&other_hash).await.unwrap(),
                None,
                "{other}"
            );
            let refused = store.admit(newcomer("x"), Some(other_hash), at(0)).await;
            assert!(matches!(refused, Err(StoreError::TokenUnknown)), "{other}");
        }
    })
    .await;
}

#[tokio::test]
async fn admitting_spends_the_token_and_makes_its_alias() {
    on_each(async |site| {
        let store = site.open().await;
        let token = JoinToken::from_text("t").hash();
        store
            .create_token(&token, record(Some("/agent")))
            .await
            .unwrap();
        let agent = store
            .admit(newcomer("t"), Some(token), at(1))
            .await
            .unwrap();
        assert_eq!(store.find_token(&token).await.unwrap(), None);
        let again = store.admit(newcomer("t"), Some(token), at(2)).await;
        assert!(matches!(again, Err(StoreError::TokenUnknown)));

        let all = EntryFilter::default();
        let entries = store.list_entries(&all, &Page::ALL).await.unwrap().items;
        let [alias] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(alias.body.spiffe_id, id("/agent"));
        assert_eq!(alias.body.parent_id, agent.id);
        let selector = format!("spiffe_id:{}", agent.id);
        assert_eq!(alias.body.selectors, selectors(&[&selector]));
        assert_eq!(alias.body.expires_at, None);

        store.delete_node(&agent.id).await.unwrap();
        assert_eq!(store.count_entries(&all).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_refused_admission_changes_nothing() {
    on_each(async |site| {
        let store = site.open().await;
        let token = JoinToken::from_text("t").hash();
        store
            .create_token(&token, record(Some("/agent")))
            .await
            .unwrap();
        let before = store.latest_revision().await.unwrap();

        let late = store.admit(newcomer("t"), Some(token), at(600)).await;
        assert!(matches!(late, Err(StoreError::TokenExpired)));
        assert!(store.find_token(&token).await.unwrap().is_some());
        assert_eq!(store.find_node(&newcomer("t").id).await.unwrap(), None);
        assert_eq!(store.latest_revision().await.unwrap(), before);

        // The token is also kept where it is the node that is refused.
        store.admit(newcomer("t"), None, at(0)).await.unwrap();
        store.ban_node(&newcomer("t").id).await.unwrap();
        let banned = store.admit(newcomer("t"), Some(token), at(1)).await;
        assert!(matches!(banned, Err(StoreError::NodeBanned)));
        assert!(store.find_token(&token).await.unwrap().is_some());
        assert_eq!(
            store.count_entries(&EntryFilter::default()).await.unwrap(),
            0
        );
    })
    .await;
}

#[tokio::test]
async fn join_token_race_1_winner() {
    on_each(async |site| {
        // Two servers at one store.
        let servers = [site.open().await, site.open().await];
        let token = JoinToken::from_text("t").hash();
        servers[0].create_token(&token, record(None)).await.unwrap();
        let mut clients = JoinSet::new();
        for client in 0..64 {
            let store: Arc<dyn DataStore> = Arc::clone(&servers[client % 2]);
            clients.spawn(async move { store.admit(newcomer("t"), Some(token), at(0)).await });
        }
        let mut winners = 0;
        while let Some(done) = clients.join_next().await {
            match done.unwrap() {
                Ok(_) => winners += 1,
                Err(refused) => {
                    assert!(matches!(refused, StoreError::TokenUnknown), "{refused:?}");
                }
            }
        }
        assert_eq!(winners, 1);
    })
    .await;
}

#[tokio::test]
async fn pruning_takes_the_tokens_that_have_ended() {
    on_each(async |site| {
        let store = site.open().await;
        for (text, end) in [("a", 10), ("b", 20)] {
            let record = TokenRecord {
                expires_at: at(end),
                agent_id: None,
            };
            let token = JoinToken::from_text(text).hash();
            store.create_token(&token, record).await.unwrap();
        }
        assert_eq!(store.prune_tokens(at(15)).await.unwrap(), 1);
        assert_eq!(store.prune_tokens(at(15)).await.unwrap(), 0);
        let left = JoinToken::from_text("b").hash();
        assert!(store.find_token(&left).await.unwrap().is_some());
    })
    .await;
}
