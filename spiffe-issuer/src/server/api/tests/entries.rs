//! The entry service.

use super::*;
use crate::proto::server::entry::{
    BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest,
    GetAuthorizedEntriesRequest, GetEntryRequest, ListEntriesRequest, SyncAuthorizedEntriesRequest,
};
use crate::server::entries::tests::entry;
use crate::wire::entry::new_to_message;

fn told(status: Option<&types::Status>) -> (Code, &str) {
    let status = status.unwrap();
    (Code::from(status.code), &status.message)
}

fn create(entries: impl IntoIterator<Item = types::Entry>) -> BatchCreateEntryRequest {
    BatchCreateEntryRequest {
        entries: entries.into_iter().collect(),
        output_mask: None,
    }
}

#[tokio::test]
async fn each_entry_of_a_batch_has_its_own_status() {
    let world = World::new().await;
    let mut entries = world.entries(local()).await;
    let good = || new_to_message(&entry());
    let changed = |change: fn(&mut types::Entry)| {
        let mut entry = good();
        change(&mut entry);
        entry
    };
    let request = create([
        good(),
        changed(|e| e.selectors.clear()),
        changed(|e| e.hint = "h".repeat(1025)),
        changed(|e| e.spiffe_id.as_mut().unwrap().path = "/spire/server".into()),
        changed(|e| e.parent_id.as_mut().unwrap().trust_domain = "other".into()),
        changed(|e| e.selectors[0].r#type.clear()),
        good(),
    ]);
    let results = entries
        .batch_create_entry(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    let texts = [
        (Code::Ok, "OK"),
        (
            Code::InvalidArgument,
            "failed to convert entry: selector list is empty",
        ),
        (
            Code::InvalidArgument,
            "failed to convert entry: hint is too long, max length is 1024 characters",
        ),
        (
            Code::InvalidArgument,
            "failed to convert entry: invalid spiffe ID: \"spiffe://td/spire/server\" is not a \
             workload in trust domain \"td\"; path is in the reserved namespace",
        ),
        (
            Code::InvalidArgument,
            "failed to convert entry: invalid parent ID: \
             \"spiffe://other/spire/agent/join_token/a\" is not a member of trust domain \"td\"",
        ),
        (
            Code::InvalidArgument,
            "failed to convert entry: selectors[0].type: must not be empty",
        ),
        (Code::AlreadyExists, "similar entry already exists"),
    ];
    assert_eq!(results.len(), texts.len());
    for (result, text) in results.iter().zip(texts) {
        assert_eq!(told(result.status.as_ref()), text);
    }
    let (made, similar) = (&results[0].entry, &results[6].entry);
    assert_eq!(made, similar, "the one that is there is told");
    let made = made.as_ref().unwrap();
    assert_eq!((made.revision_number, made.id.is_empty()), (0, false));
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let world = World::new().await;
    let mut entries = world.entries(local()).await;
    let made = entries
        .batch_create_entry(create([new_to_message(&entry())]))
        .await;
    let made = made.unwrap().into_inner().results.remove(0).entry.unwrap();

    let change = types::Entry {
        id: made.id.clone(),
        hint: "h".into(),
        admin: true,
        ..Default::default()
    };
    let request = |input_mask| BatchUpdateEntryRequest {
        entries: vec![change.clone()],
        input_mask,
        output_mask: None,
    };
    let hint_only = types::EntryMask {
        hint: true,
        ..Default::default()
    };
    let updated = entries.batch_update_entry(request(Some(hint_only))).await;
    let updated = updated.unwrap().into_inner().results.remove(0);
    let wanted = types::Entry {
        hint: "h".into(),
        revision_number: 1,
        ..made.clone()
    };
    assert_eq!(updated.entry, Some(wanted.clone()));

    // Without a mask everything is meant, also that there are no selectors.
    let refused = entries.batch_update_entry(request(None)).await;
    let refused = refused.unwrap().into_inner().results.remove(0);
    assert_eq!(told(refused.status.as_ref()).0, Code::InvalidArgument);
    let get = GetEntryRequest {
        id: made.id,
        output_mask: None,
    };
    assert_eq!(entries.get_entry(get).await.unwrap().into_inner(), wanted);
}

#[tokio::test]
async fn what_is_not_there_is_told_item_by_item() {
    let world = World::new().await;
    let mut entries = world.entries(local()).await;
    let made = entries
        .batch_create_entry(create([new_to_message(&entry())]))
        .await;
    let made = made.unwrap().into_inner().results.remove(0).entry.unwrap();
    let request = BatchDeleteEntryRequest {
        ids: vec![
            made.id.clone(),
            made.id.clone(),
            String::new(),
            "a/b".into(),
        ],
    };
    let results = entries
        .batch_delete_entry(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    let statuses: Vec<_> = results.iter().map(|r| told(r.status.as_ref())).collect();
    assert_eq!(
        statuses,
        [
            (Code::Ok, "OK"),
            (Code::NotFound, "entry not found"),
            (Code::InvalidArgument, "missing entry ID"),
            (
                Code::InvalidArgument,
                "entry ID contains invalid characters"
            ),
        ]
    );
    assert_eq!(results[0].id, made.id);
    for (id, code) in [(&*made.id, Code::NotFound), ("", Code::InvalidArgument)] {
        let get = GetEntryRequest {
            id: id.to_owned(),
            output_mask: None,
        };
        assert_eq!(entries.get_entry(get).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn entries_are_listed_by_filter_and_page() {
    let world = World::new().await;
    let mut entries = world.entries(local()).await;
    let numbered = (0..5).map(|n| {
        new_to_message(&NewEntry {
            spiffe_id: format!("spiffe://td/{}", n % 2).parse().unwrap(),
            parent_id: format!("spiffe://td/p{n}").parse().unwrap(),
            ..entry()
        })
    });
    entries.batch_create_entry(create(numbered)).await.unwrap();
    let count = entries.count_entries(CountEntriesRequest::default()).await;
    assert_eq!(count.unwrap().into_inner().count, 5);

    let even = crate::proto::server::entry::list_entries_request::Filter {
        by_spiffe_id: Some(types::Spiffeid {
            trust_domain: "td".into(),
            path: "/0".into(),
        }),
        ..Default::default()
    };
    let mut request = ListEntriesRequest {
        filter: Some(even),
        page_size: 2,
        ..Default::default()
    };
    let first = entries
        .list_entries(request.clone())
        .await
        .unwrap()
        .into_inner();
    request.page_token = first.next_page_token;
    let second = entries
        .list_entries(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.entries.len(), second.entries.len()), (2, 1));
    assert!(second.next_page_token.is_empty());
    request.page_token = "nonsense".into();
    let refused = entries.list_entries(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_agent_is_told_of_its_entries_and_of_no_others() {
    let world = World::new().await;
    let (agent, other) = (world.attested().await, world.attested().await);
    for caller in [&agent, &other] {
        let below = NewEntry {
            parent_id: caller.svid().unwrap().id().clone(),
            ..entry()
        };
        world.entries.create(vec![below]).await.unwrap();
    }
    world.follower.lock().await.tick().await.unwrap();

    let id = agent.svid().unwrap().id().path().to_owned();
    let mut entries = world.entries(agent).await;
    let all = entries
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await;
    let all = all.unwrap().into_inner().entries;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].parent_id.as_ref().unwrap().path, id);

    let opening = tokio_stream::iter([SyncAuthorizedEntriesRequest::default()]);
    let synced = entries.sync_authorized_entries(opening).await.unwrap();
    let mut synced = synced.into_inner();
    let page = synced.message().await.unwrap().unwrap();
    assert_eq!((page.entries, page.more), (all, false));
    assert!(synced.message().await.unwrap().is_none());
}
