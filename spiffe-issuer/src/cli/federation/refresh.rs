//! `federation refresh`.

use tonic::Code;

use super::client;
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::Failed;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::trustdomain::RefreshBundleRequest;
use crate::runtime::telemetry::quoted;
use crate::wire;

/// `federation refresh`
#[derive(Debug, Default)]
pub(in crate::cli) struct Refresh {
    id: String,
    output: Format,
}

impl Ask for Refresh {
    const NAME: &'static str = "federation refresh";
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
        let request = RefreshBundleRequest {
            trust_domain: self.id.clone(),
        };
        match client(socket).await?.refresh_bundle(request).await {
            Ok(_) => text::print(io, self.output, &wire::ok(), || {
                "Bundle refreshed\n".to_owned()
            }),
            Err(status) if status.code() == Code::NotFound => {
                let with = quoted(&self.id);
                let why = format!("there is no federation relationship with trust domain {with}");
                Err(why.into())
            }
            Err(status) => Err(Failed::to("failed to refresh bundle")(status).into()),
        }
    }
}
