//! The entry service: decode, call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::sync::{SyncStream, sync};
use super::{caller_of, refused};
use crate::domain::{Entry as DomainEntry, EntryId, EntryIdError, Fault, Kind, NewEntry, Paged};
use crate::proto::server::entry::entry_server::Entry;
use crate::proto::server::entry::{
    BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest,
    BatchDeleteEntryResponse, BatchUpdateEntryRequest, BatchUpdateEntryResponse,
    CountEntriesRequest, CountEntriesResponse, GetAuthorizedEntriesRequest,
    GetAuthorizedEntriesResponse, GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
    SyncAuthorizedEntriesRequest, batch_create_entry_response, batch_delete_entry_response,
    batch_update_entry_response,
};
use crate::proto::types;
use crate::server::entries::{Entries, EntriesError, MadeEntry};
use crate::server::entry_cache::EntryCache;
use crate::wire::entry::DecodeError;
use crate::wire::{self, Masked, entry, query};

/// `spire.api.server.entry.v1.Entry`.
#[derive(Clone)]
pub(super) struct EntryApi {
    pub(super) entries: Arc<Entries>,
    pub(super) cache: Arc<EntryCache>,
}

#[tonic::async_trait]
impl Entry for EntryApi {
    type SyncAuthorizedEntriesStream = SyncStream;

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        let message = request.into_inner();
        let decoded: Vec<_> = message.entries.into_iter().map(decode).collect();
        let good = decoded.iter().flatten().cloned().collect();
        let mut made = self
            .entries
            .create(good)
            .await
            .map_err(refused)?
            .into_iter();
        let mask = message.output_mask.as_ref();
        let results = decoded.into_iter().map(|decoded| {
            let outcome =
                decoded.and_then(|_| Ok(made.next().ok_or(EntriesError::Unanswered)??));
            created(outcome, mask)
        });
        Ok(Response::new(BatchCreateEntryResponse {
            results: results.collect(),
        }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        let message = request.into_inner();
        let mut results = Vec::new();
        for entry in message.entries {
            let updated = self.update(entry, message.input_mask.as_ref()).await;
            let (status, entry) = match updated {
                Ok(entry) => (
                    wire::ok(),
                    Some(encode(&entry, message.output_mask.as_ref())),
                ),
                Err(fault) => (wire::item(&fault), None),
            };
            let status = Some(status);
            results.push(batch_update_entry_response::Result { status, entry });
        }
        Ok(Response::new(BatchUpdateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let mut results = Vec::new();
        for id in request.into_inner().ids {
            let status = match self.delete(&id).await {
                Ok(_) => wire::ok(),
                Err(fault) => wire::item(&fault),
            };
            let status = Some(status);
            results.push(batch_delete_entry_response::Result { status, id });
        }
        Ok(Response::new(BatchDeleteEntryResponse { results }))
    }

    async fn get_entry(
        &self,
        request: Request<GetEntryRequest>,
    ) -> Result<Response<types::Entry>, Status> {
        let message = request.into_inner();
        let id = message.id.parse().map_err(|e| refused(ItemFault::Id(e)))?;
        let entry = self.entries.find(&id).await.map_err(refused)?;
        Ok(Response::new(encode(&entry, message.output_mask.as_ref())))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let message = request.into_inner();
        let filter = query::entry_filter(message.filter).map_err(refused)?;
        let page = query::page(message.page_size, &message.page_token).map_err(refused)?;
        let Paged { items, next } = self.entries.list(&filter, &page).await.map_err(refused)?;
        let mask = message.output_mask.as_ref();
        Ok(Response::new(ListEntriesResponse {
            entries: items.iter().map(|entry| encode(entry, mask)).collect(),
            next_page_token: query::page_token(next),
        }))
    }

    async fn count_entries(
        &self,
        request: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        let filter = query::counted_entry_filter(request.into_inner().filter).map_err(refused)?;
        let count = self.entries.count(&filter).await.map_err(refused)?;
        let count = query::count(count);
        Ok(Response::new(CountEntriesResponse { count }))
    }

    async fn get_authorized_entries(
        &self,
        request: Request<GetAuthorizedEntriesRequest>,
    ) -> Result<Response<GetAuthorizedEntriesResponse>, Status> {
        let agent = caller_of(&request)?;
        let mask = request.into_inner().output_mask;
        let entries = self.cache.entries_of(agent.id());
        let entries = entries.iter().map(|entry| encode(entry, mask.as_ref()));
        Ok(Response::new(GetAuthorizedEntriesResponse {
            entries: entries.collect(),
        }))
    }

    async fn sync_authorized_entries(
        &self,
        request: Request<Streaming<SyncAuthorizedEntriesRequest>>,
    ) -> Result<Response<SyncStream>, Status> {
        let agent = caller_of(&request)?;
        let entries = self.cache.entries_of(agent.id());
        let entries = entries.iter().cloned().collect();
        Ok(Response::new(sync(entries, request.into_inner())))
    }
}

impl EntryApi {
    async fn update(
        &self,
        change: types::Entry,
        mask: Option<&types::EntryMask>,
    ) -> Result<DomainEntry, ItemFault> {
        let id: EntryId = change.id.parse()?;
        let merge = |current: NewEntry| {
            decode(entry::new_to_message(&current).overlaid(change.clone(), mask))
        };
        self.entries.update(&id, merge).await
    }

    async fn delete(&self, id: &str) -> Result<DomainEntry, ItemFault> {
        Ok(self.entries.delete(&id.parse()?).await?)
    }
}

fn decode(message: types::Entry) -> Result<NewEntry, ItemFault> {
    Ok(entry::new_from_message(message)?)
}

fn encode(entry: &DomainEntry, mask: Option<&types::EntryMask>) -> types::Entry {
    entry::to_message(entry).masked(mask)
}

/// What came of making one entry. Where a similar one is there, it is told which.
fn created(
    outcome: Result<MadeEntry, ItemFault>,
    mask: Option<&types::EntryMask>,
) -> batch_create_entry_response::Result {
    let (status, entry) = match outcome {
        Ok(MadeEntry::New(entry)) => (wire::ok(), Some(entry)),
        Ok(MadeEntry::Similar(entry)) => (wire::item(&ItemFault::Similar), Some(entry)),
        Err(fault) => (wire::item(&fault), None),
    };
    batch_create_entry_response::Result {
        status: Some(status),
        entry: entry.map(|entry| encode(&entry, mask)),
    }
}

/// Why nothing came of an item of a batch. Some of the texts are known to clients.
#[derive(Debug, thiserror::Error)]
enum ItemFault {
    #[error("failed to convert entry")]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Entries(#[from] EntriesError),
    #[error(transparent)]
    Id(#[from] EntryIdError),
    #[error("similar entry already exists")]
    Similar,
}

impl Fault for ItemFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Decode(error) => error.kind(),
            Self::Entries(error) => error.kind(),
            Self::Id(_) => Kind::Invalid,
            Self::Similar => Kind::AlreadyExists,
        }
    }
}
