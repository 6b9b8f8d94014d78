//! Rights as the messages of the Workload API.

use std::collections::HashMap;

use spiffe_core::TrustBundle;
use spiffe_core::proto::workload::{X509BundlesResponse, X509svid, X509svidResponse};
use spiffe_core::x509::Certificate;

use super::super::cache::{Identity, Rights};

/// All X.509-SVIDs with their bundles; `None` where there is none of either to tell.
pub(super) fn svids(rights: &Rights) -> Option<X509svidResponse> {
    let bundle = concatenated(rights.bundle.as_ref()?.x509_authorities());
    if rights.identities.is_empty() {
        return None;
    }
    let svid = |Identity { entry, svid }: &Identity| X509svid {
        spiffe_id: svid.id().to_string(),
        x509_svid: concatenated(svid.chain()),
        x509_svid_key: svid.key().pkcs8_der().to_vec(),
        bundle: bundle.clone(),
        hint: entry.body.hint.as_str().to_owned(),
    };
    Some(X509svidResponse {
        svids: rights.identities.iter().map(svid).collect(),
        crl: Vec::new(),
        federated_bundles: by_id(&rights.foreign),
    })
}

/// All bundles; `None` as long as there is none of our own trust domain.
pub(super) fn bundles(rights: &Rights) -> Option<X509BundlesResponse> {
    let own = rights.bundle.as_ref()?;
    let mut bundles = by_id(&rights.foreign);
    bundles.extend(by_id(std::slice::from_ref(own)));
    Some(X509BundlesResponse {
        crl: Vec::new(),
        bundles,
    })
}

fn by_id(bundles: &[TrustBundle]) -> HashMap<String, Vec<u8>> {
    let by_id = bundles.iter().map(|bundle| {
        let id = format!("spiffe://{}", bundle.trust_domain());
        (id, concatenated(bundle.x509_authorities()))
    });
    by_id.collect()
}

/// Certificates in DER, one after the other.
fn concatenated(certificates: &[Certificate]) -> Vec<u8> {
    let der = certificates
        .iter()
        .flat_map(|certificate| certificate.der().as_ref());
    der.copied().collect()
}
