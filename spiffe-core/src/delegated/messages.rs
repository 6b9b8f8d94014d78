//! What the API says, as the Workload API would say it: so there is one place that judges.

use std::collections::HashMap;

use tokio_stream::{Stream, StreamExt, once};
use tonic::Status;
use zeroize::Zeroize;

use crate::TrustDomain;
use crate::proto::delegated::types::{Jwtsvid, Spiffeid};
use crate::proto::delegated::{
    FetchJwtsviDsResponse, SubscribeToX509BundlesResponse, SubscribeToX509sviDsResponse,
    X509svidWithKey,
};
use crate::proto::workload;

/// SVIDs and bundles come in streams of their own; together they are what a workload is told. It begins
/// when both have, and ends with either.
pub(super) fn joined(
    svids: impl Stream<Item = Result<SubscribeToX509sviDsResponse, Status>> + Send + 'static,
    bundles: impl Stream<Item = Result<SubscribeToX509BundlesResponse, Status>> + Send + 'static,
) -> impl Stream<Item = Result<workload::X509svidResponse, Status>> + Send + 'static {
    let svids = svids.map(|message| message.map(|svids| Part::Svids(Held(svids))));
    let bundles = bundles.map(|message| message.map(|all| Part::Bundles(all.ca_certificates)));
    let mut latest = Latest::default();
    with_end(svids)
        .merge(with_end(bundles))
        .map_while(|part| part)
        .filter_map(move |part| match part {
            Ok(part) => latest.take(part),
            Err(status) => Some(Err(status)),
        })
}

fn with_end<T: Send + 'static>(
    stream: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = Option<T>> + Send + 'static {
    stream.map(Some).chain(once(None))
}

enum Part {
    Bundles(HashMap<String, Vec<u8>>),
    Svids(Held),
}

/// The keys of a message that is kept are erased when it goes.
struct Held(SubscribeToX509sviDsResponse);

impl Drop for Held {
    fn drop(&mut self) {
        for svid in &mut self.0.x509_svids {
            svid.x509_svid_key.zeroize();
        }
    }
}

/// The latest of either stream.
#[derive(Default)]
struct Latest {
    svids: Option<Held>,
    bundles: Option<HashMap<String, Vec<u8>>>,
}

impl Latest {
    /// What is known with this part, once the other is there as well.
    fn take(&mut self, part: Part) -> Option<Result<workload::X509svidResponse, Status>> {
        match part {
            Part::Bundles(bundles) => self.bundles = Some(bundles),
            Part::Svids(svids) => self.svids = Some(svids),
        }
        let (Held(svids), bundles) = (self.svids.as_ref()?, self.bundles.as_ref()?);
        if svids.x509_svids.is_empty() {
            // That is how this API says that there is no identity, or no more; the Workload API
            // answers so.
            return Some(Err(Status::permission_denied(
                "the workload has no identity",
            )));
        }
        Some(Ok(told(svids, bundles)))
    }
}

fn told(
    svids: &SubscribeToX509sviDsResponse,
    bundles: &HashMap<String, Vec<u8>>,
) -> workload::X509svidResponse {
    let federated = svids.federates_with.iter();
    workload::X509svidResponse {
        svids: svids
            .x509_svids
            .iter()
            .map(|svid| x509(svid, bundles))
            .collect(),
        crl: Vec::new(),
        federated_bundles: federated
            .filter_map(|name| Some((name.clone(), bundle_of(name, bundles)?)))
            .collect(),
    }
}

fn x509(svid: &X509svidWithKey, bundles: &HashMap<String, Vec<u8>>) -> workload::X509svid {
    let said = svid.x509_svid.clone().unwrap_or_default();
    let id = said.id.unwrap_or_default();
    workload::X509svid {
        bundle: bundle_of(&id.trust_domain, bundles).unwrap_or_default(),
        spiffe_id: text(&id),
        x509_svid: said.cert_chain.concat(),
        x509_svid_key: svid.x509_svid_key.clone(),
        hint: said.hint,
    }
}

/// The bundle of a trust domain, which is told by its name or by its ID.
fn bundle_of(name: &str, bundles: &HashMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let trust_domain = TrustDomain::from_id_or_name(name).ok()?;
    let bundle = bundles
        .get(&format!("spiffe://{trust_domain}"))
        .or_else(|| bundles.get(trust_domain.as_str()));
    bundle.cloned()
}

/// The tokens of an answer.
pub(super) fn tokens(answer: FetchJwtsviDsResponse) -> workload::JwtsvidResponse {
    let token = |token: Jwtsvid| workload::Jwtsvid {
        spiffe_id: text(&token.id.unwrap_or_default()),
        svid: token.token,
        hint: token.hint,
    };
    workload::JwtsvidResponse {
        svids: answer.svids.into_iter().map(token).collect(),
    }
}

fn text(id: &Spiffeid) -> String {
    format!("spiffe://{}{}", id.trust_domain, id.path)
}
