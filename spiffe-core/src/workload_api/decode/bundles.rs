//! Messages of bundles, X.509 and others, which differ in how one bundle is read and in nothing else.

use std::collections::BTreeMap;

use super::Decoded;
use crate::bundle::{BundleSet, DocumentError, Loaded, TrustBundle};
use crate::workload_api::{Flaw, Limits};
use crate::{TrustDomain, x509::X509Error};

/// The bundles of a message, by the text that names their trust domains. In order, so that the same
/// message always means the same.
pub(crate) type Bundles = BTreeMap<String, Vec<u8>>;

/// How the bundle of one trust domain is read.
pub(crate) type ReadBundle = fn(TrustDomain, &[u8]) -> Result<Loaded<TrustBundle>, Flaw>;

/// Reads a message that replaces all bundles known before.
///
/// A bundle with a flaw leaves none, so that its trust domain is not believed by mistake; a key with
/// a flaw takes nothing else with it.
///
/// # Errors
///
/// Where the message is discarded as a whole: also where no bundle in it can be used, for then our
/// own is not among them, which is in every message.
pub(crate) fn bundles(
    message: &Bundles,
    read: ReadBundle,
    limits: &Limits,
) -> Result<Decoded<BundleSet>, Flaw> {
    let limit = limits.bundles();
    if message.len() > limit {
        return Err(Flaw::TooManyBundles { limit });
    }
    let mut flaws = Vec::new();
    let mut good = Vec::new();
    for (name, bytes) in message {
        let name = TrustDomain::from_id_or_name(name).map_err(Flaw::FederatedName);
        match name.and_then(|trust_domain| read(trust_domain, bytes)) {
            Ok(loaded) => {
                flaws.extend(loaded.skipped.into_iter().map(Flaw::SkippedKey));
                good.push(loaded.value);
            }
            Err(flaw) => flaws.push(flaw),
        }
    }
    if good.is_empty() {
        return Err(flaws.into_iter().next().unwrap_or(Flaw::NoBundle));
    }
    Ok(Decoded {
        value: good.into_iter().collect(),
        flaws,
    })
}

/// Reads the X.509 authorities of a trust domain.
pub(crate) fn x509_authorities(
    trust_domain: TrustDomain,
    der: &[u8],
) -> Result<Loaded<TrustBundle>, Flaw> {
    let flawed = |trust_domain| {
        |source: X509Error| Flaw::FederatedBundle {
            trust_domain,
            source,
        }
    };
    let bundle = TrustBundle::from_der(trust_domain.clone(), der).map_err(flawed(trust_domain))?;
    Ok(Loaded {
        value: bundle,
        skipped: Vec::new(),
    })
}

/// Reads the keys that a trust domain signs its JWT-SVIDs with.
pub(crate) fn jwt_keys(
    trust_domain: TrustDomain,
    jwks: &[u8],
) -> Result<Loaded<TrustBundle>, Flaw> {
    TrustBundle::from_jwt_jwks(trust_domain.clone(), jwks).map_err(malformed(trust_domain))
}

/// Reads the keys that a trust domain signs its WIT-SVIDs with.
#[cfg(feature = "incubating-wit")]
pub(crate) fn wit_keys(
    trust_domain: TrustDomain,
    jwks: &[u8],
) -> Result<Loaded<TrustBundle>, Flaw> {
    TrustBundle::from_wit_jwks(trust_domain.clone(), jwks).map_err(malformed(trust_domain))
}

fn malformed(trust_domain: TrustDomain) -> impl FnOnce(DocumentError) -> Flaw {
    |source| Flaw::Keys {
        trust_domain,
        source,
    }
}
