//! Join tokens.

use std::time::SystemTime;

use async_trait::async_trait;

use super::SqlStore;
use super::row::{Columns, Row, seconds};
use super::session::{Session, Writing};
use super::statement::query;
use crate::domain::TokenHash;
use crate::server::store::{StoreError, TokenRecord, TokenStore};

#[async_trait]
impl TokenStore for SqlStore {
    async fn create_token(&self, token: &TokenHash, record: TokenRecord) -> Result<(), StoreError> {
        let mut session = self.writing().await?;
        let insert = query(
            "INSERT INTO join_tokens (hash, expires_at, agent_id) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        );
        let insert = insert
            .bind(&token.0[..])
            .bind(seconds(record.expires_at))
            .bind(record.agent_id.as_ref().map(|id| id.as_str()));
        if session.run(insert).await? == 0 {
            return Err(StoreError::Exists);
        }
        session.commit().await
    }

    async fn find_token(&self, token: &TokenHash) -> Result<Option<TokenRecord>, StoreError> {
        let mut session = self.reading().await?;
        let query = query("SELECT expires_at, agent_id FROM join_tokens WHERE hash = $1");
        let row = session.one(query.bind(&token.0[..])).await?;
        row.as_ref().map(record).transpose()
    }

    async fn prune_tokens(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut session = self.writing().await?;
        let delete = query("DELETE FROM join_tokens WHERE expires_at < $1");
        let deleted = session.run(delete.bind(seconds(now))).await?;
        session.commit().await?;
        Ok(deleted)
    }
}

/// Takes the token out: whoever's transaction deletes the row has it, and nobody else does.
pub(super) async fn redeem(
    session: &mut Session<Writing>,
    token: &TokenHash,
    now: SystemTime,
) -> Result<TokenRecord, StoreError> {
    let delete = query("DELETE FROM join_tokens WHERE hash = $1 RETURNING expires_at, agent_id");
    let row = session.one(delete.bind(&token.0[..])).await?;
    let record = record(&row.ok_or(StoreError::TokenUnknown)?)?;
    if record.expires_at <= now {
        return Err(StoreError::TokenExpired);
    }
    Ok(record)
}

fn record(row: &Row) -> Result<TokenRecord, StoreError> {
    let row = Columns::of("join_tokens", row);
    Ok(TokenRecord {
        expires_at: row.time("expires_at")?,
        agent_id: row.parsed_opt("agent_id")?,
    })
}
