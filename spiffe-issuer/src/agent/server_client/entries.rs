//! The conversation in which an agent learns its entries (`SyncAuthorizedEntries`).
//!
//! A server with few entries tells all of them. One with many tells which there are, page by page,
//! and the agent asks for those that it does not have in that state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

use super::{CallError, RPC_TIMEOUT};
use crate::domain::Entry;
use crate::proto::server::entry::{
    EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use crate::proto::types;
use crate::wire;

/// The entries that the agent has, by ID.
pub(super) type Known = HashMap<String, Arc<Entry>>;

/// What opens the conversation. It has to be sent before the server is waited for, because that may
/// say nothing at all until it has heard this.
pub(super) fn opening() -> SyncAuthorizedEntriesRequest {
    SyncAuthorizedEntriesRequest {
        output_mask: Some(mask()),
        ids: Vec::new(),
    }
}

/// Holds the rest of the conversation over a stream each way. What comes back are all entries that
/// the agent is authorised for; `known` ones that did not change are the same values as before.
pub(super) async fn converse(
    known: &Known,
    ask: mpsc::Sender<SyncAuthorizedEntriesRequest>,
    answers: impl Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>>,
) -> Result<Vec<Arc<Entry>>, CallError> {
    let mut conversation = Conversation {
        ask,
        answers: std::pin::pin!(answers),
    };
    let first = conversation.answer().await?;
    if first.entry_revisions.is_empty() {
        if first.more {
            return Err(CallError::Malformed("a list of entries in several parts"));
        }
        return Ok(read(first.entries, known).collect());
    }
    let page = first.entry_revisions.len();
    let there_are = conversation.revisions(first).await?;
    let unknown: Vec<_> = there_are
        .iter()
        .filter(|revision| !has(known, revision))
        .map(|revision| revision.id.clone())
        .collect();
    let mut fetched = HashMap::new();
    for ids in unknown.chunks(page) {
        let messages = conversation.entries(ids).await?;
        fetched.extend(read(messages, known).map(|entry| (entry.id.to_string(), entry)));
    }
    // What is in neither was deleted while we spoke.
    let entries = there_are.iter().filter_map(|revision| {
        fetched
            .remove(&revision.id)
            .or_else(|| known.get(&revision.id).cloned())
    });
    Ok(entries.collect())
}

struct Conversation<'s, S> {
    ask: mpsc::Sender<SyncAuthorizedEntriesRequest>,
    answers: std::pin::Pin<&'s mut S>,
}

impl<S: Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>>> Conversation<'_, S> {
    async fn answer(&mut self) -> Result<SyncAuthorizedEntriesResponse, CallError> {
        match timeout(RPC_TIMEOUT, self.answers.next()).await {
            Ok(Some(answer)) => Ok(answer?),
            Ok(None) => Err(CallError::Malformed("the list of entries ended early")),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// All pages of revisions, beginning with this one.
    async fn revisions(
        &mut self,
        mut page: SyncAuthorizedEntriesResponse,
    ) -> Result<Vec<EntryRevision>, CallError> {
        let mut all = Vec::new();
        let mut ids = HashSet::new();
        loop {
            if !page.entries.is_empty() {
                return Err(CallError::Malformed("entries among revisions"));
            }
            if all.len() + page.entry_revisions.len() > MOST_ENTRIES {
                return Err(CallError::Malformed("more entries than any agent has"));
            }
            let fresh = page.entry_revisions.into_iter();
            all.extend(fresh.filter(|revision| ids.insert(revision.id.clone())));
            if !page.more {
                return Ok(all);
            }
            page = self.answer().await?;
        }
    }

    /// The entries of these IDs; those that are gone meanwhile are left out.
    async fn entries(&mut self, ids: &[String]) -> Result<Vec<types::Entry>, CallError> {
        let request = SyncAuthorizedEntriesRequest {
            output_mask: None,
            ids: ids.to_vec(),
        };
        // Nobody listens any more where the call has failed, and the answer says how.
        let _ = self.ask.send(request).await;
        let mut all = Vec::new();
        loop {
            let mut page = self.answer().await?;
            if !page.entry_revisions.is_empty() {
                return Err(CallError::Malformed("revisions among entries"));
            }
            all.append(&mut page.entries);
            if all.len() > ids.len() {
                return Err(CallError::Malformed("entries that were not asked for"));
            }
            if !page.more {
                return Ok(all);
            }
        }
    }
}

/// Reads entries. One that cannot be read is left out and told of: the others are still good.
fn read(messages: Vec<types::Entry>, known: &Known) -> impl Iterator<Item = Arc<Entry>> {
    messages.into_iter().filter_map(|message| {
        let id = message.id.clone();
        match wire::entry::from_message(message) {
            Ok(entry) => Some(match known.get(&id) {
                Some(known) if **known == entry => known.clone(),
                _ => Arc::new(entry),
            }),
            Err(error) => {
                tracing::warn!(
                    entry = id,
                    error = &error as &dyn std::error::Error,
                    "Entry cannot be read and is left out"
                );
                None
            }
        }
    })
}

fn has(known: &Known, revision: &EntryRevision) -> bool {
    known.get(&revision.id).is_some_and(|entry| {
        entry.revision.0 == revision.revision_number
            && wire::seconds(entry.created_at) == revision.created_at
    })
}

/// What an agent needs of an entry.
fn mask() -> types::EntryMask {
    types::EntryMask {
        spiffe_id: true,
        parent_id: true,
        selectors: true,
        x509_svid_ttl: false,
        federates_with: true,
        admin: true,
        downstream: true,
        expires_at: false,
        dns_names: false,
        revision_number: true,
        store_svid: true,
        jwt_svid_ttl: false,
        hint: true,
        created_at: true,
        additional_attributes: true,
    }
}

/// So many entries take about a gigabyte; whoever tells more means harm.
const MOST_ENTRIES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::super::cache::samples::entry;
    use super::*;

    type Answer = Result<SyncAuthorizedEntriesResponse, Status>;

    fn known(entries: &[Arc<Entry>]) -> Known {
        let by_id = entries.iter().map(|e| (e.id.to_string(), e.clone()));
        by_id.collect()
    }

    fn revisions(entries: &[Arc<Entry>], more: bool) -> Answer {
        Ok(SyncAuthorizedEntriesResponse {
            entry_revisions: entries
                .iter()
                .map(|e| wire::entry::to_revision(e))
                .collect(),
            more,
            ..Default::default()
        })
    }

    fn full(entries: &[Arc<Entry>], more: bool) -> Answer {
        Ok(SyncAuthorizedEntriesResponse {
            entries: entries.iter().map(|e| wire::entry::to_message(e)).collect(),
            more,
            ..Default::default()
        })
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<&str> {
        entries.iter().map(|entry| entry.id.as_str()).collect()
    }

    /// Holds a conversation with a server that gives these answers, and tells what was asked.
    async fn conversation(
        known: &Known,
        answers: Vec<Answer>,
    ) -> (Result<Vec<Arc<Entry>>, CallError>, Vec<Vec<String>>) {
        let (ask, mut asked) = mpsc::channel(10);
        let (answer, answers_to_read) = mpsc::channel(100);
        for one in answers {
            answer.try_send(one).unwrap();
        }
        drop(answer);
        let got = converse(known, ask, ReceiverStream::new(answers_to_read)).await;
        let mut requests = Vec::new();
        while let Ok(request) = asked.try_recv() {
            assert!(request.output_mask.is_none());
            requests.push(request.ids);
        }
        (got, requests)
    }

    #[tokio::test]
    async fn few_entries_come_at_once() {
        let (a, b) = (entry("a", 1, &["x:1"]), entry("b", 2, &["x:1"]));
        let known = known(std::slice::from_ref(&a));
        let (got, asked) = conversation(&known, vec![full(&[a.clone(), b], false)]).await;
        let got = got.unwrap();
        assert_eq!(ids(&got), ["a", "b"]);
        assert!(Arc::ptr_eq(&got[0], &a), "what is known is not made again");
        assert!(asked.is_empty());

        let (got, _) = conversation(&known, vec![full(&[], false)]).await;
        assert!(got.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_many_entries_only_the_changed_ones_are_asked_for_page_by_page() {
        let all: Vec<_> = ["a", "b", "c", "d", "e"]
            .map(|id| entry(id, 1, &["x:1"]))
            .into();
        let mut old = (*all[1]).clone();
        old.created_at -= std::time::Duration::from_secs(1);
        let mut older = (*all[2]).clone();
        older.revision.0 = -1;
        let known = known(&[all[0].clone(), Arc::new(old), Arc::new(older)]);
        let (got, asked) = conversation(
            &known,
            vec![
                revisions(&all[..2], true),
                revisions(&all[2..4], true),
                revisions(&all[4..], false),
                full(&all[1..2], true),
                full(&all[2..3], false),
                // `d` was deleted meanwhile.
                full(&all[4..], false),
            ],
        )
        .await;
        assert_eq!(ids(&got.unwrap()), ["a", "b", "c", "e"]);
        assert_eq!(asked, [["b", "c"], ["d", "e"]]);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_spoils_no_other() {
        let (a, b) = (entry("a", 1, &["x:1"]), entry("b", 2, &["x:1"]));
        let mut answer = full(&[a, b], false).unwrap();
        answer.entries[0].selectors.clear();
        let (got, _) = conversation(&Known::new(), vec![Ok(answer)]).await;
        assert_eq!(ids(&got.unwrap()), ["b"]);
    }

    #[tokio::test]
    async fn who_breaks_the_rules_is_not_believed() {
        let all: Vec<_> = ["a", "b"].map(|id| entry(id, 1, &["x:1"])).into();
        let mixed = SyncAuthorizedEntriesResponse {
            entries: full(&all, false).unwrap().entries,
            ..revisions(&all, true).unwrap()
        };
        for answers in [
            vec![],
            vec![full(&all, true)],
            vec![Ok(mixed.clone())],
            vec![revisions(&all, true)],
            vec![revisions(&all, true), full(&all, false)],
            vec![revisions(&all, false), Ok(mixed)],
            vec![
                revisions(&all, false),
                full(&[all.clone(), all.clone()].concat(), false),
            ],
            vec![revisions(&all, false), full(&all, true)],
        ] {
            let (got, _) = conversation(&Known::new(), answers).await;
            assert!(matches!(got, Err(CallError::Malformed(_))), "{got:?}");
        }
        let away = vec![Err(Status::unavailable("away"))];
        let (got, _) = conversation(&Known::new(), away).await;
        assert!(matches!(got, Err(CallError::Refused(_))), "{got:?}");
    }
}
