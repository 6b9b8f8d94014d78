//! Bundles that an operator has in a file.

use spiffe_core::bundle::{DocumentError, Skipped};
use spiffe_core::x509::{Certificate, X509Error};
use spiffe_core::{IdError, TrustBundle, TrustDomain};

use super::BundleFormat;
use crate::domain::Bundle;
use crate::proto::types;
use crate::wire::authorities::bundle_to_message;

/// Reads a bundle of the trust domain with this name or ID, and tells which keys are of no use.
pub(in crate::cli) fn parse(
    text: &[u8],
    format: BundleFormat,
    id: &str,
) -> Result<(types::Bundle, Vec<Skipped>), ParseError> {
    let trust_domain = TrustDomain::from_id_or_name(id)?;
    let (bundle, skipped) = match format {
        BundleFormat::Pem => {
            let certificates = Certificate::many_from_pem(text)?;
            (TrustBundle::new(trust_domain, certificates), Vec::new())
        }
        BundleFormat::Spiffe => {
            let read = TrustBundle::from_document(trust_domain, text)?;
            (read.value, read.skipped)
        }
    };
    Ok((bundle_to_message(&Bundle::from(&bundle)), skipped))
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ParseError {
    #[error("unable to parse to spiffe bundle")]
    Document(#[from] DocumentError),
    #[error("unable to parse bundle data")]
    Pem(#[from] X509Error),
    #[error("the trust domain of the bundle")]
    TrustDomain(#[from] IdError),
}

#[cfg(test)]
mod tests {
    use spiffe_core::testing::TestAuthority;

    use super::*;

    #[test]
    fn both_formats_are_read() {
        let bundle = TestAuthority::new("b.test").bundle().with_sequence(Some(7));
        let root = &bundle.x509_authorities()[0];
        let document = bundle.to_document().unwrap();
        for (text, format, keys, number) in [
            (root.to_pem(), BundleFormat::Pem, 0, 0),
            (document, BundleFormat::Spiffe, 1, 7),
        ] {
            for id in ["b.test", "spiffe://b.test"] {
                let (read, skipped) = parse(text.as_bytes(), format, id).unwrap();
                assert!(skipped.is_empty(), "{skipped:?}");
                assert_eq!(read.trust_domain, "b.test");
                assert_eq!(read.x509_authorities[0].asn1, root.der().as_ref());
                assert_eq!(
                    (read.jwt_authorities.len(), read.sequence_number),
                    (keys, number)
                );
            }
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        for (text, format, id, why) in [
            (
                "",
                BundleFormat::Pem,
                "b.test",
                "unable to parse bundle data",
            ),
            (
                "[]",
                BundleFormat::Spiffe,
                "b.test",
                "unable to parse to spiffe bundle",
            ),
            ("", BundleFormat::Pem, "B", "the trust domain of the bundle"),
        ] {
            let refused = parse(text.as_bytes(), format, id).unwrap_err();
            assert_eq!(refused.to_string(), why);
        }
    }
}
