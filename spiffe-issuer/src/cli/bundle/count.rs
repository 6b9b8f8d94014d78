//! `bundle count`.

use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::bundle::CountBundlesRequest;
use crate::proto::server::bundle::bundle_client::BundleClient;

/// `bundle count`
#[derive(Debug, Default)]
pub(in crate::cli) struct Count {
    output: Format,
}

impl Ask for Count {
    const NAME: &'static str = "bundle count";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        flags.flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut bundles = BundleClient::new(socket.connect().await?);
        let counted = bundles.count_bundles(CountBundlesRequest {}).await;
        let counted = counted.map_err(RpcError::from)?.into_inner();
        let count = usize::try_from(counted.count).unwrap_or_default();
        text::print(io, self.output, &counted, || {
            text::counted(count, "", "bundle", "bundles") + "\n"
        })
    }
}
