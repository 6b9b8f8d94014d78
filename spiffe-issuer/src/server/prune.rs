//! What has ended goes: entries, tokens, and changes that everyone has seen.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::clock::Clock;
use tracing::info;

use super::store::{SharedStore, StoreError};
use crate::runtime::health::Part;
use crate::runtime::periodic::{Pace, every};
use crate::runtime::{Shutdown, TaskError};

/// Prunes every few minutes until it is told to stop.
///
/// # Errors
///
/// None: a failure is tried again.
pub async fn run(
    store: SharedStore,
    clock: Arc<dyn Clock>,
    part: Part,
    stop: Shutdown,
) -> Result<(), TaskError> {
    let prune = || async { Ok(prune(&store, clock.now()).await?) };
    every(Pace::new(EVERY), &*clock, part, &stop, prune).await;
    Ok(())
}

/// Prunes all that has ended by `now`.
///
/// # Errors
///
/// Where the store fails; what went before stays gone.
pub async fn prune(store: &SharedStore, now: SystemTime) -> Result<(), StoreError> {
    loop {
        // In batches, so that others get to write in between.
        let entries = store.prune_entries(now, BATCH).await?;
        for entry in &entries {
            info!(
                entry_id = %entry.id,
                spiffe_id = %entry.body.spiffe_id,
                parent_id = %entry.body.parent_id,
                "Pruned an expired registration"
            );
        }
        if entries.len() < BATCH {
            break;
        }
    }
    let tokens = store.prune_tokens(now).await?;
    if tokens > 0 {
        info!(count = tokens, "Pruned expired join tokens");
    }
    store.prune_changes(KEEP_CHANGES).await.map(drop)
}

/// How often to look.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// How many entries are deleted in one transaction.
const BATCH: usize = 500;

/// How far behind a reader of the feed may be before it has to read all anew.
const KEEP_CHANGES: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EntryFilter, JoinToken, NewEntry, Page, SelectorSet};
    use crate::server::store::TokenRecord;
    use crate::server::store::sql::SqlStore;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[tokio::test]
    async fn what_has_ended_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.sqlite3");
        let path = path.to_str().unwrap().parse().unwrap();
        let store: SharedStore = Arc::new(SqlStore::open(&path).await.unwrap());
        let entry = |n: usize, end: Option<u64>| NewEntry {
            expires_at: end.map(at),
            ..NewEntry::new(
                format!("spiffe://td/{n}").parse().unwrap(),
                "spiffe://td/p".parse().unwrap(),
                SelectorSet::from(["t:a".parse().unwrap()]),
            )
        };
        // More than one batch of them.
        let mut entries: Vec<_> = (0..BATCH + 7).map(|n| entry(n, Some(10))).collect();
        entries.push(entry(9_001, Some(30)));
        entries.push(entry(9_002, None));
        store.create_entries(entries, at(0)).await.unwrap();
        for (token, end) in [("old", 10), ("new", 30)] {
            let record = TokenRecord {
                expires_at: at(end),
                agent_id: None,
            };
            let token = JoinToken::from_text(token).hash();
            store.create_token(&token, record).await.unwrap();
        }

        prune(&store, at(20)).await.unwrap();
        let left = store
            .list_entries(&EntryFilter::default(), &Page::ALL)
            .await;
        let left = left.unwrap().items;
        let left: Vec<_> = left.iter().map(|e| e.body.spiffe_id.path()).collect();
        assert_eq!(left, ["/9001", "/9002"]);
        let found = async |token| store.find_token(&JoinToken::from_text(token).hash()).await;
        assert!(found("old").await.unwrap().is_none());
        assert!(found("new").await.unwrap().is_some());
    }
}
