//! `entry update`. What is not said again goes back to its default: the server is sent the entry as
//! the flags describe it, as SPIRE's command does.

use super::answer::told;
use super::change::{EntryError, EntryFlags};
use super::file;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::entry::{BatchUpdateEntryRequest, GetEntryRequest};
use crate::proto::types;

/// `entry update`
#[derive(Debug, Default)]
pub(in crate::cli) struct Update {
    entry: EntryFlags,
    output: Format,
}

impl Ask for Update {
    const NAME: &'static str = "entry update";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let flags = flags.flag(output::FLAG, output::USAGE, &mut self.output);
        self.entry.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut entries = match &*self.entry.data {
            "" => vec![self.entry()?],
            path => file::entries(path, io.input)?,
        };
        let mut client = super::client(socket).await?;
        if let ("", [entry]) = (&*self.entry.data, &mut entries[..])
            && self.entry.names_attributes()
        {
            // They are one message, which would take the unsaid ones back to their defaults.
            let id = entry.id.clone();
            let before = client
                .get_entry(GetEntryRequest {
                    id,
                    output_mask: None,
                })
                .await;
            let before = before.map_err(RpcError::from)?.into_inner();
            entry.additional_attributes = self.entry.attributes_over(before.additional_attributes);
        }
        let request = BatchUpdateEntryRequest {
            entries: entries.clone(),
            input_mask: None,
            output_mask: None,
        };
        let updated = client.batch_update_entry(request).await;
        let updated = updated.map_err(RpcError::from)?.into_inner();
        told(updated, entries, "update", self.output, io)
    }
}

impl Update {
    fn entry(&self) -> Result<types::Entry, EntryError> {
        if self.entry.entry_id.is_empty() {
            return Err(EntryError::NoEntryId);
        }
        if self.entry.parent_id.is_empty() {
            return Err(EntryError::NoParentId);
        }
        self.entry.entry(self.entry.parent_id()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(args: &str) -> Update {
        let mut update = Update::default();
        update
            .flags(Flags::of(""))
            .parse(args.split_whitespace())
            .unwrap();
        update
    }

    #[test]
    fn the_entry_and_its_parent_must_be_named() {
        for (args, told) in [
            ("-parentID spiffe://td/b", "an entry ID is required"),
            ("-entryID e", "a parent ID is required"),
            (
                "-entryID e -parentID spiffe://td/b",
                "at least one selector is required",
            ),
        ] {
            assert_eq!(
                update(args).entry().unwrap_err().to_string(),
                told,
                "{args}"
            );
        }
    }

    #[test]
    fn attributes_that_are_not_named_stay_as_they_were() {
        let before = types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            jwt_svid_include_jti: false,
        };
        let both = types::entry::AdditionalAttributes {
            jwt_svid_include_jti: true,
            ..before
        };
        let over = |args: &str| update(args).entry.attributes_over(Some(before));
        assert_eq!(over("-jwtSVIDIncludeJTI"), Some(both));
        let taken = types::entry::AdditionalAttributes::default();
        assert_eq!(over("-disableX509SVIDPrefetch=false"), Some(taken));
        assert_eq!(over(""), Some(before));
    }
}
