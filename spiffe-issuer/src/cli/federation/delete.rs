//! `federation delete`.

use super::client;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::Failed;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::trustdomain::BatchDeleteFederationRelationshipRequest;
use crate::runtime::telemetry::quoted;

/// `federation delete`
#[derive(Debug, Default)]
pub(in crate::cli) struct Delete {
    id: String,
    output: Format,
}

impl Ask for Delete {
    const NAME: &'static str = "federation delete";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags
            .flag("id", "The ID of the trust domain", &mut self.id)
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        if self.id.is_empty() {
            return Err("id is required".into());
        }
        let request = BatchDeleteFederationRelationshipRequest {
            trust_domains: vec![self.id],
        };
        let mut client = client(socket).await?;
        let deleted = client.batch_delete_federation_relationship(request).await;
        let deleted = deleted.map_err(Failed::to("failed to delete federation relationship"))?;
        let deleted = deleted.into_inner();
        let refused = deleted.results.iter().find_map(|result| {
            let status = result.status.as_ref().filter(|status| status.code != 0)?;
            let (with, why) = (quoted(&result.trust_domain), &status.message);
            Some(format!(
                "failed to delete federation relationship {with}: {why}"
            ))
        });
        match refused {
            Some(why) if self.output == Format::Pretty => Err(why.into()),
            _ => text::print(io, self.output, &deleted, || {
                "federation relationship deleted.\n".to_owned()
            }),
        }
    }
}
