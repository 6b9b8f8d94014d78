//! `bundle set`.

use std::fs;
use std::io::{self, Read};

use super::{BundleFormat, parse};
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::Failed;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::bundle::BatchSetFederatedBundleRequest;
use crate::proto::server::bundle::bundle_client::BundleClient;

/// `bundle set`
#[derive(Debug, Default)]
pub(in crate::cli) struct Set {
    format: BundleFormat,
    id: String,
    output: Format,
    path: String,
}

impl Ask for Set {
    const NAME: &'static str = "bundle set";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let format = "How the bundle is written: pem, or spiffe for a set of JSON Web Keys";
        flags
            .flag("format", format, &mut self.format)
            .flag("id", "The ID of the trust domain", &mut self.id)
            .flag(
                "path",
                "The `file` with the bundle; the input without it",
                &mut self.path,
            )
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        if self.id.is_empty() {
            return Err("id flag is required".into());
        }
        let text = load(&self.path, io.input).map_err(|source| Unloaded {
            path: self.path.clone(),
            source,
        })?;
        let (bundle, skipped) = parse(&text, self.format, &self.id)?;
        for skipped in skipped {
            writeln!(
                io.err,
                "a key of the bundle is of no use and left out: {skipped}"
            )?;
        }
        let request = BatchSetFederatedBundleRequest {
            bundle: vec![bundle],
            output_mask: None,
        };
        let mut bundles = BundleClient::new(socket.connect().await?);
        let set = bundles.batch_set_federated_bundle(request).await;
        let set = set.map_err(Failed::to("failed to set federated bundle"))?;
        let set = set.into_inner();
        let statuses = set
            .results
            .iter()
            .filter_map(|result| result.status.as_ref());
        let refused = statuses.into_iter().find(|status| status.code != 0);
        match refused {
            Some(status) if self.output == Format::Pretty => {
                let why = &status.message;
                Err(format!("failed to set federated bundle: {why}").into())
            }
            _ => text::print(io, self.output, &set, || "bundle set.\n".to_owned()),
        }
    }
}

fn load(path: &str, input: &mut dyn Read) -> io::Result<Vec<u8>> {
    match path {
        "" => {
            let mut text = Vec::new();
            input.read_to_end(&mut text)?;
            Ok(text)
        }
        path => fs::read(path),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unable to load bundle data: open {path}")]
struct Unloaded {
    path: String,
    source: io::Error,
}
