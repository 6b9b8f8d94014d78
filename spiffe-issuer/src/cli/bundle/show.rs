//! `bundle show`, and how bundles are written.

use spiffe_core::x509::{Certificate, X509Error};

use crate::cli::connect::{Ask, Socket, Whom};
use crate::cli::flags::Flags;
use crate::cli::jwks::{Document, JwksError};
use crate::cli::output::{self, Format};
use crate::cli::rpc::RpcError;
use crate::cli::text;
use crate::cli::tree::{Io, Outcome};
use crate::cli::values::{FlagValue, Unfit};
use crate::proto::server::bundle::GetBundleRequest;
use crate::proto::server::bundle::bundle_client::BundleClient;
use crate::proto::types;
use crate::runtime::telemetry::quoted;

/// `bundle show`
#[derive(Debug, Default)]
pub(in crate::cli) struct Show {
    format: BundleFormat,
    output: Format,
}

impl Ask for Show {
    const NAME: &'static str = "bundle show";
    const WHOM: Whom = Whom::SERVER;

    fn flags<'f>(&'f mut self, flags: Flags<'f>) -> Flags<'f> {
        let format = "How the bundle is written: pem, or spiffe for a set of JSON Web Keys";
        flags.flag("format", format, &mut self.format).flag(
            output::FLAG,
            output::USAGE,
            &mut self.output,
        )
    }

    async fn ask(self, socket: &Socket, io: &mut Io<'_>) -> Outcome {
        let mut bundles = BundleClient::new(socket.connect().await?);
        let bundle = bundles.get_bundle(GetBundleRequest::default()).await;
        let bundle = bundle.map_err(RpcError::from)?.into_inner();
        // Read before anything is printed, for half a bundle is worse than none.
        let written = self.format.write(&bundle)?;
        text::print(io, self.output, &bundle, || written)
    }
}

/// How a bundle is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) enum BundleFormat {
    #[default]
    Pem,
    Spiffe,
}

impl BundleFormat {
    pub(super) fn write(self, bundle: &types::Bundle) -> Result<String, WriteError> {
        match self {
            Self::Pem => {
                let pem = |authority: &types::X509Certificate| {
                    Ok(Certificate::from_der(&authority.asn1)?.to_pem())
                };
                bundle.x509_authorities.iter().map(pem).collect()
            }
            Self::Spiffe => {
                let document = Document::try_from(bundle)?;
                let mut text = Vec::new();
                let four = serde_json::ser::PrettyFormatter::with_indent(b"    ");
                let mut json = serde_json::Serializer::with_formatter(&mut text, four);
                serde::Serialize::serialize(&document, &mut json).map_err(WriteError::Json)?;
                text.push(b'\n');
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("the server sent an authority that is no certificate")]
    Authority(#[from] X509Error),
    #[error("writing the bundle as a set of keys")]
    Document(#[from] JwksError),
    #[error("writing the bundle as JSON")]
    Json(#[source] serde_json::Error),
}

impl FlagValue for BundleFormat {
    fn set(&mut self, text: &str) -> Result<(), Unfit> {
        *self = match &*text.to_ascii_lowercase() {
            "" | "pem" => Self::Pem,
            "spiffe" => Self::Spiffe,
            _ => {
                let why = format!("invalid format: {}; it is pem or spiffe", quoted(text));
                return Err(Unfit(why.into()));
            }
        };
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::Pem => "pem",
            Self::Spiffe => "spiffe",
        };
        Some(quoted(name))
    }

    fn kind(&self) -> &'static str {
        "string"
    }
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn bundle() -> types::Bundle {
        let authority = TestAuthority::new("td");
        let roots = authority.bundle();
        types::Bundle {
            trust_domain: "td".to_owned(),
            x509_authorities: vec![types::X509Certificate {
                asn1: roots.x509_authorities()[0].der().to_vec(),
                tainted: false,
            }],
            sequence_number: 1,
            ..Default::default()
        }
    }

    #[test]
    fn as_pem_a_bundle_is_its_certificates_and_nothing_else() {
        let bundle = bundle();
        let text = BundleFormat::Pem.write(&bundle).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"), "{text}");
        assert!(text.ends_with("-----END CERTIFICATE-----\n"), "{text}");
        let read = Certificate::many_from_pem(text.as_bytes()).unwrap();
        assert_eq!(read[0].der().as_ref(), bundle.x509_authorities[0].asn1);
    }

    #[test]
    fn as_a_document_a_bundle_holds_the_whole_certificate() {
        use base64::Engine as _;

        let bundle = bundle();
        let text = BundleFormat::Spiffe.write(&bundle).unwrap();
        assert!(text.starts_with("{\n    \"keys\": [\n"), "{text}");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key = &document["keys"][0];
        assert_eq!(key["use"], "x509-svid");
        let der = &bundle.x509_authorities[0].asn1;
        assert_eq!(
            key["x5c"][0],
            base64::engine::general_purpose::STANDARD.encode(der)
        );
        assert_eq!(document["spiffe_sequence"], 1);
        assert!(document.get("spiffe_refresh_hint").is_none());
    }

    #[test]
    fn an_authority_that_is_none_is_refused() {
        let mut bundle = bundle();
        bundle.x509_authorities[0].asn1.truncate(9);
        assert!(BundleFormat::Pem.write(&bundle).is_err());
        assert!(BundleFormat::Spiffe.write(&bundle).is_err());
    }

    #[test]
    fn other_formats_are_refused() {
        let mut format = BundleFormat::default();
        format.set("SPIFFE").unwrap();
        assert_eq!(format, BundleFormat::Spiffe);
        let why = format.set("der").unwrap_err().to_string();
        assert_eq!(why, "invalid format: \"der\"; it is pem or spiffe");
    }
}
