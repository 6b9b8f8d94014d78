//! What is told of entries that the server was to create or change.

use super::block;
use crate::cli::output::{Format, Printable};
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::entry::{BatchCreateEntryResponse, BatchUpdateEntryResponse};
use crate::proto::types;

/// An answer with one result for each entry that was asked for.
pub(super) trait Answer: Printable {
    /// How it went with each, and the entry as it is now.
    fn results(&mut self) -> Vec<(&Option<types::Status>, &mut Option<types::Entry>)>;
}

impl Answer for BatchCreateEntryResponse {
    fn results(&mut self) -> Vec<(&Option<types::Status>, &mut Option<types::Entry>)> {
        let results = self.results.iter_mut();
        results.map(|r| (&r.status, &mut r.entry)).collect()
    }
}

impl Answer for BatchUpdateEntryResponse {
    fn results(&mut self) -> Vec<(&Option<types::Status>, &mut Option<types::Entry>)> {
        let results = self.results.iter_mut();
        results.map(|r| (&r.status, &mut r.entry)).collect()
    }
}

/// Tells what became of the entries that were asked for. In JSON the answer says itself what failed,
/// and the command succeeds, as SPIRE's does.
pub(super) fn told(
    mut answer: impl Answer,
    asked: Vec<types::Entry>,
    verb: &str,
    format: Format,
    io: &mut Io<'_>,
) -> Outcome {
    let (mut done, mut failures) = (String::new(), Vec::new());
    for ((status, entry), asked) in answer.results().into_iter().zip(asked) {
        match status.as_ref().filter(|status| failed(status)) {
            None => done += &entry.as_ref().map(block::block).unwrap_or_default(),
            Some(status) => {
                // The server sends no entry back of which nothing came.
                let entry = entry.insert(asked);
                failures.push((block::failure(status), block::block(entry)));
            }
        }
    }
    text::print(io, format, &answer, || done)?;
    if format == Format::Json || failures.is_empty() {
        return Ok(());
    }
    for (why, entry) in failures {
        write!(
            io.err,
            "Failed to {verb} the following entry {why}:\n{entry}"
        )?;
    }
    Err(format!("failed to {verb} one or more entries").into())
}

/// Whether this is the status of an entry that was left as it was.
pub(super) fn failed(status: &types::Status) -> bool {
    status.code != 0
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::proto::server::entry::batch_create_entry_response;

    fn answered(format: Format) -> (bool, String, String) {
        let result = |code, id: &str| batch_create_entry_response::Result {
            status: Some(types::Status {
                code,
                message: "no".to_owned(),
            }),
            entry: (code == 0).then(|| types::Entry {
                id: id.to_owned(),
                ..Default::default()
            }),
        };
        let created = BatchCreateEntryResponse {
            results: vec![result(0, "good"), result(3, "bad")],
        };
        let asked = ["", "bad"].map(|id| types::Entry {
            id: id.to_owned(),
            ..Default::default()
        });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            input: &mut io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let ended = told(created, asked.to_vec(), "create", format, &mut io).is_ok();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended, text(out), text(err))
    }

    #[test]
    fn entries_that_failed_are_told_among_the_errors() {
        let (ended, out, err) = answered(Format::Pretty);
        assert!(!ended);
        assert!(out.starts_with("Entry ID                : good\n"), "{out}");
        assert!(!out.contains("bad"), "{out}");
        let told = "Failed to create the following entry (code: InvalidArgument, msg: \"no\"):\n\
                    Entry ID                : bad\n";
        assert!(err.starts_with(told), "{err}");
    }

    #[test]
    fn in_json_the_answer_tells_what_failed() {
        let (ended, out, err) = answered(Format::Json);
        assert!(ended);
        assert_eq!(err, "");
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["results"][1]["status"]["code"], 3);
        assert_eq!(answer["results"][1]["entry"]["id"], "bad");
    }
}
