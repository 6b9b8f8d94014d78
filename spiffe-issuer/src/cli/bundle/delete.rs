//! `bundle delete`.

use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::Failed;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::cli::values::{FlagValue, Unfit};
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::server::bundle::{
    BatchDeleteFederatedBundleRequest, batch_delete_federated_bundle_request,
};
use crate::runtime::telemetry::quoted;

/// `bundle delete`
#[derive(Debug, Default)]
pub(in crate::cli) struct Delete {
    id: String,
    mode: Mode,
    output: Format,
}

impl Ask for Delete {
    const NAME: &'static str = "bundle delete";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let mode = "What becomes of entries that federate with it: restrict (there may be none), \
                    delete (they go too) or dissociate (they stay)";
        flags
            .flag("id", "The ID of the trust domain", &mut self.id)
            .flag("mode", mode, &mut self.mode)
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        if self.id.is_empty() {
            return Err("id is required".into());
        }
        let request = BatchDeleteFederatedBundleRequest {
            trust_domains: vec![self.id],
            mode: self.mode.0.into(),
        };
        let mut bundles = BundleClient::new(socket.connect().await?);
        let deleted = bundles.batch_delete_federated_bundle(request).await;
        let deleted = deleted.map_err(Failed::to("failed to delete federated bundle"))?;
        let deleted = deleted.into_inner();
        let refused = deleted.results.iter().find_map(|result| {
            let status = result.status.as_ref().filter(|status| status.code != 0)?;
            let (of, why) = (quoted(&result.trust_domain), &status.message);
            Some(format!("failed to delete federated bundle {of}: {why}"))
        });
        match refused {
            Some(why) if self.output == Format::Pretty => Err(why.into()),
            _ => text::print(io, self.output, &deleted, || "bundle deleted.\n".to_owned()),
        }
    }
}

/// What becomes of entries.
#[derive(Debug, Clone, Copy, Default)]
struct Mode(batch_delete_federated_bundle_request::Mode);

impl FlagValue for Mode {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        use batch_delete_federated_bundle_request::Mode;
        self.0 = match text {
            "" | "restrict" => Mode::Restrict,
            "delete" => Mode::Delete,
            "dissociate" => Mode::Dissociate,
            _ => return Err(Unfit(format!("unsupported mode {}", quoted(text)).into())),
        };
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        let name = self.0.as_str_name().to_ascii_lowercase();
        Some(quoted(&name))
    }

    fn kind(&self) -> &'static str {
        "string"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names_and_restrict_goes_without_saying() {
        let mut mode = Mode::default();
        assert_eq!(mode.shown().unwrap(), "\"restrict\"");
        for name in ["delete", "dissociate", "restrict"] {
            mode.set(name).unwrap();
            assert_eq!(mode.shown(), Some(quoted(name)));
        }
        let why = mode.set("all").unwrap_err().to_string();
        assert_eq!(why, "unsupported mode \"all\"");
    }
}
