//! `federation list` and `federation show`.

use super::block::block;
use super::client;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::Failed;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::trustdomain::{
    GetFederationRelationshipRequest, ListFederationRelationshipsRequest,
    ListFederationRelationshipsResponse,
};
use crate::proto::types::FederationRelationship;

/// `federation list`
#[derive(Debug, Default)]
pub(in crate::cli) struct List {
    output: Format,
}

impl Ask for List {
    const NAME: &'static str = "federation list";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags.flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut client = client(socket).await?;
        let mut all = ListFederationRelationshipsResponse::default();
        let mut page_token = String::new();
        loop {
            let page = client.list_federation_relationships(ListFederationRelationshipsRequest {
                output_mask: None,
                page_size: PAGE,
                page_token,
            });
            let page = page.await;
            let page = page.map_err(Failed::to("error listing federation relationship"))?;
            let page = page.into_inner();
            all.federation_relationships
                .extend(page.federation_relationships);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        text::print(io, self.output, &all, || {
            listed(&all.federation_relationships)
        })
    }
}

fn listed(relationships: &[FederationRelationship]) -> String {
    let nouns = ("relationship", "relationships");
    let count = text::counted(relationships.len(), "federation ", nouns.0, nouns.1);
    let blocks = relationships
        .iter()
        .map(|known| format!("\n{}", block(known)));
    format!("Found {count}\n{}", blocks.collect::<String>())
}

/// `federation show`
#[derive(Debug, Default)]
pub(in crate::cli) struct Show {
    output: Format,
    trust_domain: String,
}

impl Ask for Show {
    const NAME: &'static str = "federation show";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let trust_domain = "The name of the trust domain";
        flags
            .flag(output::FLAG, output::USAGE, &mut self.output)
            .flag("trustDomain", trust_domain, &mut self.trust_domain)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        if self.trust_domain.is_empty() {
            return Err("a trust domain name is required".into());
        }
        let request = GetFederationRelationshipRequest {
            trust_domain: self.trust_domain.clone(),
            output_mask: None,
        };
        let mut client = client(socket).await?;
        let found = client.get_federation_relationship(request).await;
        let found = found.map_err(Failed::to("error showing federation relationship"))?;
        let found = found.into_inner();
        text::print(io, self.output, &found, || {
            let with = &self.trust_domain;
            let block = block(&found);
            format!("Found a federation relationship with trust domain {with}:\n\n{block}")
        })
    }
}

/// How many are asked for at once: far from what fits into one message.
const PAGE: i32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_begins_with_how_many_there_are() {
        assert_eq!(listed(&[]), "Found 0 federation relationships\n");
        let one = FederationRelationship {
            trust_domain: "b.test".to_owned(),
            ..Default::default()
        };
        let told = listed(&[one]);
        let begins = "Found 1 federation relationship\n\nTrust domain              : b.test\n";
        assert!(told.starts_with(begins), "{told}");
    }
}
