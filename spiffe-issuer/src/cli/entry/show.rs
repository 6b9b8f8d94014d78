//! `entry show` and `entry count`.

use super::block;
use super::find::Filter;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::entry::{
    CountEntriesRequest, GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
    list_entries_request,
};
use crate::proto::types;

/// How many entries are asked for at once: far from what fits into one message.
const PAGE: i32 = 500;

/// `entry show`
#[derive(Debug, Default)]
pub(in crate::cli) struct Show {
    entry_id: String,
    filter: Filter,
    output: Format,
}

impl Ask for Show {
    const NAME: &'static str = "entry show";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let flags = flags
            .flag("entryID", "The ID of the entry", &mut self.entry_id)
            .flag(output::FLAG, output::USAGE, &mut self.output);
        self.filter.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut found = match &*self.entry_id {
            "" => list(socket, self.filter.listed()?).await?,
            _ if self.filter.names_entries() => return Err(ShowError::Combined.into()),
            id => one(socket, id).await?,
        };
        sort(&mut found.entries);
        text::print(io, self.output, &found, || told(&found.entries))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn one(socket: &Socket, id: &str) -> Result<ListEntriesResponse, Failure> {
    let request = GetEntryRequest {
        id: id.to_owned(),
        output_mask: None,
    };
    let entry = super::client(socket).await?.get_entry(request).await;
    let failed = |status| ShowError::Fetch {
        id: id.to_owned(),
        source: RpcError::from(status),
    };
    Ok(ListEntriesResponse {
        entries: vec![entry.map_err(failed)?.into_inner()],
        ..Default::default()
    })
}

async fn list(
    socket: &Socket,
    filter: list_entries_request::Filter,
) -> Result<ListEntriesResponse, Failure> {
    let mut client = super::client(socket).await?;
    let mut all = ListEntriesResponse::default();
    let mut page_token = String::new();
    loop {
        let page = client.list_entries(ListEntriesRequest {
            filter: Some(filter.clone()),
            output_mask: None,
            page_size: PAGE,
            page_token,
        });
        let page = page
            .await
            .map_err(|status| ShowError::List(status.into()))?;
        let page = page.into_inner();
        all.entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("the -entryID flag can't be combined with others")]
    Combined,
    #[error("error fetching entry ID {id}")]
    Fetch { id: String, source: RpcError },
    #[error("error fetching entries")]
    List(#[source] RpcError),
}

/// Puts entries and their selectors in one order, whatever order the server keeps them in.
fn sort(entries: &mut [types::Entry]) {
    let parts =
        |id: Option<&types::Spiffeid>| id.map(|id| (id.trust_domain.clone(), id.path.clone()));
    for entry in &mut *entries {
        entry
            .selectors
            .sort_by(|a, b| (&a.r#type, &a.value).cmp(&(&b.r#type, &b.value)));
    }
    entries.sort_by_cached_key(|entry| {
        let selectors = entry
            .selectors
            .iter()
            .map(|s| (s.r#type.clone(), s.value.clone()));
        (
            parts(entry.spiffe_id.as_ref()),
            parts(entry.parent_id.as_ref()),
            (entry.x509_svid_ttl, entry.jwt_svid_ttl),
            entry.selectors.len(),
            selectors.collect::<Vec<_>>(),
        )
    });
}

fn told(entries: &[types::Entry]) -> String {
    let blocks: String = entries.iter().map(block::block).collect();
    format!(
        "Found {}\n{blocks}",
        text::counted(entries.len(), "", "entry", "entries")
    )
}

/// `entry count`
#[derive(Debug, Default)]
pub(in crate::cli) struct Count {
    filter: Filter,
    output: Format,
}

impl Ask for Count {
    const NAME: &'static str = "entry count";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let flags = flags.flag(output::FLAG, output::USAGE, &mut self.output);
        self.filter.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let filter = Some(self.filter.counted()?);
        let mut client = super::client(socket).await?;
        let counted = client.count_entries(CountEntriesRequest { filter }).await;
        let counted = counted.map_err(RpcError::from)?.into_inner();
        let count = usize::try_from(counted.count).unwrap_or_default();
        text::print(io, self.output, &counted, || {
            text::counted(count, "registration ", "entry", "entries") + "\n"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::selectors::selectors;

    fn entry(id: &str, path: &str, texts: &[&str]) -> types::Entry {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        types::Entry {
            id: id.to_owned(),
            spiffe_id: Some(types::Spiffeid {
                trust_domain: "td".to_owned(),
                path: path.to_owned(),
            }),
            selectors: selectors(&texts).unwrap(),
            ..Default::default()
        }
    }

    #[test]
    fn entries_are_told_in_the_order_of_their_ids_then_selectors() {
        let mut entries = [
            entry("4", "/b", &["a:a"]),
            entry("3", "/a", &["b:b", "a:a"]),
            entry("2", "/a", &["b:b"]),
            entry("1", "/a", &["a:a"]),
        ];
        sort(&mut entries);
        assert_eq!(
            entries.each_ref().map(|entry| &*entry.id),
            ["1", "2", "3", "4"]
        );
        assert_eq!(entries[2].selectors[0].r#type, "a");
    }

    #[test]
    fn entries_are_counted_before_they_are_told() {
        assert_eq!(told(&[]), "Found 0 entries\n");
        let text = told(&[entry("e1", "/a", &[])]);
        assert!(
            text.starts_with("Found 1 entry\nEntry ID                : e1\n"),
            "{text}"
        );
    }
}
