//! Telling an agent which entries are for it: all of them where they are few, else what changed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::vec;

use futures_util::stream::{self, Stream, StreamExt};
use tonic::Status;

use super::refused;
use crate::domain::{Entry, Fault, Kind};
use crate::proto::server::entry::{SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse};
use crate::proto::types::EntryMask;
use crate::wire::{Masked, entry};

/// What the agent gets.
pub(super) type SyncStream =
    Pin<Box<dyn Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + Send>>;

/// Holds the conversation about these entries, which stay the same all through it.
///
/// A page is made when it is read, so a slow agent makes us hold one at a time.
pub(super) fn sync<S>(entries: Vec<Arc<Entry>>, from_agent: S) -> SyncStream
where
    S: Stream<Item = Result<SyncAuthorizedEntriesRequest, Status>> + Unpin + Send + 'static,
{
    let conversation = Conversation {
        entries,
        mask: None,
        from_agent,
        turn: Turn::Opening,
    };
    Box::pin(stream::try_unfold(conversation, |mut conversation| async {
        let said = conversation.next().await.map_err(refused)?;
        Ok(said.map(|response| (response, conversation)))
    }))
}

struct Conversation<S> {
    entries: Vec<Arc<Entry>>,
    mask: Option<EntryMask>,
    from_agent: S,
    turn: Turn,
}

/// Whose turn it is.
enum Turn {
    /// The agent's: it has said nothing yet.
    Opening,
    /// The agent's: it is to say which entries it wants.
    Asking,
    /// Ours: few entries are said all at once.
    All,
    /// Ours: of many, the revisions are said first, from this one on.
    Revisions { from: usize },
    /// Ours: these are the entries that the agent wants.
    Wanted(vec::IntoIter<Arc<Entry>>),
    /// Nobody's.
    Over,
}

impl<S> Conversation<S>
where
    S: Stream<Item = Result<SyncAuthorizedEntriesRequest, Status>> + Unpin,
{
    /// What we say next; `None` at the end.
    async fn next(&mut self) -> Result<Option<SyncAuthorizedEntriesResponse>, SyncError> {
        if matches!(self.turn, Turn::Opening | Turn::Asking) {
            // An agent that has what it wants goes away, and not always politely.
            let Some(Ok(request)) = self.from_agent.next().await else {
                return Ok(None);
            };
            self.turn = self.hear(&request)?;
        }
        Ok(self.say())
    }

    fn hear(&mut self, request: &SyncAuthorizedEntriesRequest) -> Result<Turn, SyncError> {
        if !matches!(self.turn, Turn::Opening) {
            return Ok(Turn::Wanted(self.wanted(&request.ids).into_iter()));
        }
        if !request.ids.is_empty() {
            return Err(SyncError::IdsTooEarly);
        }
        self.mask = request.output_mask;
        match self.mask {
            Some(mask) if !mask.revision_number => Err(SyncError::RevisionMasked),
            _ if self.entries.len() <= PAGE => Ok(Turn::All),
            _ => Ok(Turn::Revisions { from: 0 }),
        }
    }

    fn say(&mut self) -> Option<SyncAuthorizedEntriesResponse> {
        let (response, turn) = match &mut self.turn {
            Turn::All => (self.page(&self.entries, false), Turn::Over),
            Turn::Revisions { from } => {
                let to = self.entries.len().min(*from + PAGE);
                let more = to < self.entries.len();
                let turn = match more {
                    true => Turn::Revisions { from: to },
                    false => Turn::Asking,
                };
                (revisions(&self.entries[*from..to], more), turn)
            }
            Turn::Wanted(wanted) => {
                let page: Vec<_> = wanted.by_ref().take(PAGE).collect();
                let more = wanted.len() > 0;
                let response = self.page(&page, more);
                if more {
                    return Some(response);
                }
                (response, Turn::Asking)
            }
            Turn::Opening | Turn::Asking | Turn::Over => return None,
        };
        self.turn = turn;
        Some(response)
    }

    /// Those of the entries that the agent names. What it may not have, it is not told of.
    fn wanted(&self, ids: &[String]) -> Vec<Arc<Entry>> {
        let by_id: HashMap<_, _> = self.entries.iter().map(|e| (e.id.as_str(), e)).collect();
        let known = ids.iter().filter_map(|id| by_id.get(id.as_str()));
        known.map(|entry| Arc::clone(entry)).collect()
    }

    fn page(&self, entries: &[Arc<Entry>], more: bool) -> SyncAuthorizedEntriesResponse {
        let masked = |e: &Arc<Entry>| entry::to_message(e).masked(self.mask.as_ref());
        SyncAuthorizedEntriesResponse {
            entries: entries.iter().map(masked).collect(),
            more,
            ..Default::default()
        }
    }
}

fn revisions(entries: &[Arc<Entry>], more: bool) -> SyncAuthorizedEntriesResponse {
    SyncAuthorizedEntriesResponse {
        entry_revisions: entries.iter().map(|e| entry::to_revision(e)).collect(),
        more,
        ..Default::default()
    }
}

/// What an agent got wrong. The texts are known to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum SyncError {
    #[error("specifying IDs on initial request is not supported")]
    IdsTooEarly,
    #[error("revision number cannot be masked")]
    RevisionMasked,
}

impl Fault for SyncError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// How many entries, or revisions, one message holds.
const PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tonic::Code;

    use super::*;
    use crate::domain::{EntryId, Revision};
    use crate::server::entries::tests::entry;

    fn entries(count: usize) -> Vec<Arc<Entry>> {
        (0..count)
            .map(|n| {
                Arc::new(Entry {
                    id: id(n).parse().unwrap(),
                    revision: Revision(n.try_into().unwrap()),
                    created_at: SystemTime::UNIX_EPOCH,
                    body: entry(),
                })
            })
            .collect()
    }

    fn id(n: usize) -> String {
        format!("id-{n}")
    }

    fn ask(ids: impl IntoIterator<Item = String>) -> SyncAuthorizedEntriesRequest {
        SyncAuthorizedEntriesRequest {
            output_mask: None,
            ids: ids.into_iter().collect(),
        }
    }

    /// What is said when an agent says all this.
    async fn heard(
        count: usize,
        requests: Vec<SyncAuthorizedEntriesRequest>,
    ) -> Vec<Result<SyncAuthorizedEntriesResponse, Status>> {
        let from_agent = stream::iter(requests.into_iter().map(Ok));
        sync(entries(count), from_agent).collect().await
    }

    /// The same in short: revisions, entries, more.
    async fn outline(
        count: usize,
        requests: Vec<SyncAuthorizedEntriesRequest>,
    ) -> Vec<(usize, usize, bool)> {
        let heard = heard(count, requests).await.into_iter().map(Result::unwrap);
        heard
            .map(|r| (r.entry_revisions.len(), r.entries.len(), r.more))
            .collect()
    }

    #[tokio::test]
    async fn up_to_a_page_of_entries_is_said_at_once() {
        for count in [0, 1, 500] {
            let outline = outline(count, vec![ask([]), ask([id(0)])]).await;
            assert_eq!(outline, [(0, count, false)], "{count}");
        }
    }

    #[tokio::test]
    async fn of_more_the_revisions_are_said_and_then_what_is_asked_for() {
        let all = (0..1200).map(id);
        let requests = vec![
            ask([]),
            ask([id(7), "unknown".to_owned()]),
            ask(all),
            ask([]),
        ];
        let outline = outline(1200, requests).await;
        let listed = [(500, 0, true), (500, 0, true), (200, 0, false)];
        let one = [(0, 1, false)];
        let sent = [(0, 500, true), (0, 500, true), (0, 200, false)];
        let none = [(0, 0, false)];
        assert_eq!(outline, [&listed[..], &one, &sent, &none].concat());
    }

    #[tokio::test]
    async fn a_page_tells_what_an_agent_compares() {
        let heard = heard(501, vec![ask([])]).await;
        let second = heard[1].as_ref().unwrap();
        let revision = &second.entry_revisions[0];
        assert_eq!((&*revision.id, revision.revision_number), ("id-500", 500));
    }

    #[tokio::test]
    async fn the_first_mask_counts_and_later_ones_do_not() {
        let revision_only = EntryMask {
            revision_number: true,
            ..Default::default()
        };
        let first = SyncAuthorizedEntriesRequest {
            output_mask: Some(revision_only),
            ids: vec![],
        };
        let later = SyncAuthorizedEntriesRequest {
            output_mask: None,
            ids: vec![id(3)],
        };
        let heard = heard(501, vec![first, later]).await;
        let sent = &heard[2].as_ref().unwrap().entries[0];
        assert_eq!((&*sent.id, sent.revision_number), ("id-3", 3));
        assert_eq!((&sent.spiffe_id, sent.selectors.len()), (&None, 0));
    }

    #[tokio::test]
    async fn a_wrong_opening_is_refused() {
        let masked = SyncAuthorizedEntriesRequest {
            output_mask: Some(EntryMask::default()),
            ids: vec![],
        };
        for (request, why) in [
            (
                ask(["a".to_owned()]),
                "specifying IDs on initial request is not supported",
            ),
            (masked, "revision number cannot be masked"),
        ] {
            let heard = heard(1, vec![request]).await;
            let status = heard[0].as_ref().unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::InvalidArgument, why)
            );
        }
    }

    #[tokio::test]
    async fn an_agent_that_goes_away_ends_the_conversation() {
        assert!(heard(1, vec![]).await.is_empty());
        let cancelled = stream::iter([Err(Status::cancelled("gone"))]);
        assert_eq!(sync(entries(1), cancelled).count().await, 0);
    }

    #[test]
    fn an_id_of_these_tests_is_one() {
        assert!(id(0).parse::<EntryId>().is_ok());
    }
}
