//! `entry delete`.

use std::fmt::Write as _;

use super::answer::failed;
use super::block;
use super::change::EntryError;
use super::file;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::entry::{BatchDeleteEntryRequest, BatchDeleteEntryResponse};

/// `entry delete`
#[derive(Debug, Default)]
pub(in crate::cli) struct Delete {
    entry_id: String,
    file: String,
    output: Format,
}

impl Ask for Delete {
    const NAME: &'static str = "entry delete";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let from = "A `file` with the IDs of entries as JSON, {\"ids\": [...]}, - for the input";
        flags
            .flag("entryID", "The ID of the entry", &mut self.entry_id)
            .flag("file", from, &mut self.file)
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let ids = match (&*self.file, &*self.entry_id) {
            ("", "") => return Err(EntryError::NoEntryId.into()),
            ("", id) => vec![id.to_owned()],
            (path, _) => file::ids(path, io.input)?,
        };
        let mut client = super::client(socket).await?;
        let deleted = client
            .batch_delete_entry(BatchDeleteEntryRequest { ids })
            .await;
        told(
            &deleted.map_err(RpcError::from)?.into_inner(),
            self.output,
            io,
        )
    }
}

/// In JSON the answer says itself what failed, and the command succeeds, as SPIRE's does.
fn told(deleted: &BatchDeleteEntryResponse, format: Format, io: &mut Io<'_>) -> Outcome {
    let results = deleted.results.iter();
    let (bad, good): (Vec<_>, Vec<_>) =
        results.partition(|r| r.status.as_ref().is_some_and(failed));
    text::print(io, format, deleted, || {
        let mut text = String::new();
        for result in &good {
            // A `String` takes all that is written to it.
            let _ = writeln!(text, "Deleted entry with ID: {}", result.id);
        }
        text + &summary(good.len(), bad.len())
    })?;
    if format == Format::Json || bad.is_empty() {
        return Ok(());
    }
    for result in bad {
        let why = block::failure(&result.status.clone().unwrap_or_default());
        writeln!(io.err, "Failed to delete entry with ID {} {why}", result.id)?;
    }
    Err("failed to delete one or more entries".into())
}

fn summary(good: usize, bad: usize) -> String {
    let text = match (good, bad) {
        (good, 0) => format!("Deleted {good} entries successfully"),
        (0, bad) => format!("Failed to delete {bad} entries"),
        (good, bad) => {
            format!("Deleted {good} entries successfully, but failed to delete {bad} entries")
        }
    };
    let before = if good > 0 { "\n\n" } else { "" };
    format!("{before}{text}\n")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::proto::server::entry::batch_delete_entry_response;
    use crate::proto::types;

    fn answered(codes: &[i32]) -> (Result<(), String>, String, String) {
        let result = |code: &i32| batch_delete_entry_response::Result {
            status: Some(types::Status {
                code: *code,
                message: "no".to_owned(),
            }),
            id: format!("e{code}"),
        };
        let deleted = BatchDeleteEntryResponse {
            results: codes.iter().map(result).collect(),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let ended = told(&deleted, Format::Pretty, &mut io).map_err(|error| error.to_string());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended, text(out), text(err))
    }

    #[test]
    fn what_was_deleted_is_named_and_counted() {
        let told = "Deleted entry with ID: e0\n\n\nDeleted 1 entries successfully\n";
        assert_eq!(answered(&[0]), (Ok(()), told.to_owned(), String::new()));
    }

    #[test]
    fn what_was_not_deleted_is_told_and_fails_the_command() {
        let why = Err("failed to delete one or more entries".to_owned());
        let err = "Failed to delete entry with ID e5 (code: NotFound, msg: \"no\")\n".to_owned();
        let out = "Failed to delete 1 entries\n".to_owned();
        assert_eq!(answered(&[5]), (why.clone(), out, err.clone()));
        let (ended, out, told) = answered(&[0, 5]);
        assert_eq!((ended, told), (why, err));
        assert!(out.ends_with("Deleted 1 entries successfully, but failed to delete 1 entries\n"));
    }
}
