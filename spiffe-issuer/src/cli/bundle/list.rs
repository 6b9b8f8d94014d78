//! `bundle list`.

use super::show::{BundleFormat, WriteError};
use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::server::bundle::{
    GetFederatedBundleRequest, ListFederatedBundlesRequest, ListFederatedBundlesResponse,
};
use crate::proto::types;

/// `bundle list`
#[derive(Debug, Default)]
pub(in crate::cli) struct List {
    format: BundleFormat,
    id: String,
    output: Format,
}

impl Ask for List {
    const NAME: &'static str = "bundle list";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let format = "How bundles are written: pem, or spiffe for sets of JSON Web Keys";
        flags
            .flag("format", format, &mut self.format)
            .flag(
                "id",
                "The ID of the only trust domain that is wanted",
                &mut self.id,
            )
            .flag(output::FLAG, output::USAGE, &mut self.output)
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut bundles = BundleClient::new(socket.connect().await?);
        if !self.id.is_empty() {
            let request = GetFederatedBundleRequest {
                trust_domain: self.id,
                output_mask: None,
            };
            let bundle = bundles.get_federated_bundle(request).await;
            let bundle = bundle.map_err(RpcError::from)?.into_inner();
            let written = self.format.write(&bundle)?;
            return text::print(io, self.output, &bundle, || written);
        }
        let mut all = ListFederatedBundlesResponse::default();
        let mut page_token = String::new();
        loop {
            let page = bundles.list_federated_bundles(ListFederatedBundlesRequest {
                output_mask: None,
                page_size: PAGE,
                page_token,
            });
            let page = page.await.map_err(RpcError::from)?.into_inner();
            all.bundles.extend(page.bundles);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let written = written(&all.bundles, self.format)?;
        text::print(io, self.output, &all, || written)
    }
}

/// Each under its name.
fn written(bundles: &[types::Bundle], format: BundleFormat) -> Result<String, WriteError> {
    let stars = "*".repeat(40);
    let write = |bundle: &types::Bundle| -> Result<String, WriteError> {
        let (name, text) = (&bundle.trust_domain, format.write(bundle)?);
        Ok(format!("{stars}\n* {name}\n{stars}\n{text}"))
    };
    let each: Result<Vec<_>, _> = bundles.iter().map(write).collect();
    Ok(each?.join("\n"))
}

/// How many are asked for at once: far from what fits into one message.
const PAGE: i32 = 100;

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;
    use crate::domain::Bundle;
    use crate::wire::authorities::bundle_to_message;

    #[test]
    fn each_bundle_stands_under_its_name() {
        let bundles = ["b.test", "c.test"]
            .map(|name| bundle_to_message(&Bundle::from(&TestAuthority::new(name).x509_bundle())));
        let text = written(&bundles, BundleFormat::Pem).unwrap();
        let stars = "****************************************";
        let begins = format!("{stars}\n* b.test\n{stars}\n-----BEGIN CERTIFICATE-----\n");
        assert!(text.starts_with(&begins), "{text}");
        let between = format!("-----END CERTIFICATE-----\n\n{stars}\n* c.test\n{stars}\n");
        assert!(text.contains(&between), "{text}");
        assert_eq!(written(&[], BundleFormat::Pem).unwrap(), "");
    }
}
