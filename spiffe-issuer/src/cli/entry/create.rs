//! `entry create`.

use super::answer::told;
use super::change::{EntryError, EntryFlags};
use super::file;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::entry::BatchCreateEntryRequest;
use crate::proto::types;

/// `entry create`
#[derive(Debug, Default)]
pub(in crate::cli) struct Create {
    entry: EntryFlags,
    node: bool,
    output: Format,
}

impl Ask for Create {
    const NAME: &'static str = "entry create";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let node = "The entry is for nodes, not workloads: its parent is the server";
        let flags = flags.flag("node", node, &mut self.node).flag(
            output::FLAG,
            output::USAGE,
            &mut self.output,
        );
        self.entry.flags(flags)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let entries = match &*self.entry.data {
            "" => vec![self.entry()?],
            path => file::entries(path, io.input)?,
        };
        let mut client = super::client(socket).await?;
        let request = BatchCreateEntryRequest {
            entries: entries.clone(),
            output_mask: None,
        };
        let created = client.batch_create_entry(request).await;
        let created = created.map_err(RpcError::from)?.into_inner();
        told(created, entries, "create", self.output, io)
    }
}

impl Create {
    fn entry(&self) -> Result<types::Entry, EntryError> {
        if self.node && !self.entry.federates_with.is_empty() {
            return Err(EntryError::NodeFederates);
        }
        if self.node {
            let trust_domain = self.entry.spiffe_id()?.trust_domain;
            let path = SERVER_PATH.to_owned();
            return self.entry.entry(types::Spiffeid { trust_domain, path });
        }
        if self.entry.parent_id.is_empty() {
            return Err(EntryError::NoParentIdNorNode);
        }
        self.entry.entry(self.entry.parent_id()?)
    }
}

/// Where the server's own ID is in its trust domain.
const SERVER_PATH: &str = "/spire/server";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text;

    fn entry(args: &[&str]) -> Result<types::Entry, String> {
        let mut create = Create::default();
        create
            .flags(Flags::of(""))
            .parse(args.iter().copied())
            .unwrap();
        create.entry().map_err(|error| error.to_string())
    }

    #[test]
    fn the_entry_is_what_the_flags_say() {
        let args = "-spiffeID spiffe://td/a -parentID spiffe://td/b -selector unix:uid:0 -selector a:b \
                    -x509SVIDTTL 60 -jwtSVIDTTL 30 -federatesWith spiffe://other -admin -downstream \
                    -entryExpiry 9 -dns a.test -dns b.test -hint h -entryID e1 -storeSVID \
                    -disableX509SVIDPrefetch -jwtSVIDIncludeJTI";
        let args: Vec<_> = args.split_whitespace().collect();
        let id = |path| text::id("", path).unwrap();
        let selector = |kind: &str, value: &str| types::Selector {
            r#type: kind.to_owned(),
            value: value.to_owned(),
        };
        let wanted = types::Entry {
            id: "e1".to_owned(),
            spiffe_id: Some(id("spiffe://td/a")),
            parent_id: Some(id("spiffe://td/b")),
            selectors: vec![selector("unix", "uid:0"), selector("a", "b")],
            x509_svid_ttl: 60,
            federates_with: vec!["spiffe://other".to_owned()],
            admin: true,
            downstream: true,
            expires_at: 9,
            dns_names: ["a.test", "b.test"].map(str::to_owned).to_vec(),
            store_svid: true,
            jwt_svid_ttl: 30,
            hint: "h".to_owned(),
            additional_attributes: Some(types::entry::AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            ..Default::default()
        };
        assert_eq!(entry(&args), Ok(wanted));
    }

    #[test]
    fn a_node_has_the_server_for_its_parent() {
        let args = ["-node", "-spiffeID", "spiffe://td/a", "-selector", "a:b"];
        let entry = entry(&args).unwrap();
        assert_eq!(
            text::id_text(entry.parent_id.as_ref()),
            "spiffe://td/spire/server"
        );
        assert_eq!(entry.additional_attributes, None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_before_the_server_is_asked() {
        let id = ["-spiffeID", "spiffe://td/a"];
        let parent = ["-parentID", "spiffe://td/b"];
        let selector = ["-selector", "a:b"];
        for (args, told) in [
            (
                [id, selector].concat(),
                "a parent ID is required if the node flag is not set",
            ),
            ([id, parent].concat(), "at least one selector is required"),
            ([parent, selector].concat(), "a SPIFFE ID is required"),
            (
                [id, parent, selector, ["-x509SVIDTTL", "-1"]].concat(),
                "a positive x509-SVID TTL is required",
            ),
            (
                [id, parent, selector, ["-jwtSVIDTTL", "-1"]].concat(),
                "a positive JWT-SVID TTL is required",
            ),
            (
                [id, selector, ["-node", "-federatesWith=o"]].concat(),
                "node entries can not federate",
            ),
            (
                [id, parent, ["-selector", "a"]].concat(),
                "selector \"a\" must be formatted as type:value",
            ),
            (
                [id, selector, ["-parentID", "b"]].concat(),
                "invalid parent ID \"b\"",
            ),
        ] {
            assert_eq!(entry(&args), Err(told.to_owned()), "{args:?}");
        }
    }
}
