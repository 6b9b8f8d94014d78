//! What the API says, as the Workload API would say it: so there is one place that judges.

use std::collections::{BTreeMap, HashMap};

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
use crate::workload_api::Limits;

/// SVIDs and bundles come in streams of their own; together they are what a workload is told. It begins
/// when both have, and ends with either. Of what is more than `limits` allow, no more is copied than shows
/// that it is too much.
pub(super) fn joined(
    svids: impl Stream<Item = Result<SubscribeToX509sviDsResponse, Status>> + Send + 'static,
    bundles: impl Stream<Item = Result<SubscribeToX509BundlesResponse, Status>> + Send + 'static,
    limits: Limits,
) -> impl Stream<Item = Result<workload::X509svidResponse, Status>> + Send + 'static {
    let svids = svids.map(|message| message.map(|svids| Part::Svids(Held(svids))));
    let bundles = bundles.map(|message| message.map(|all| Part::Bundles(all.ca_certificates)));
    let mut latest = Latest::default();
    with_end(svids)
        .merge(with_end(bundles))
        .map_while(|part| part)
        .filter_map(move |part| match part {
            Ok(part) => latest.take(part, &limits),
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
    fn take(
        &mut self,
        part: Part,
        limits: &Limits,
    ) -> Option<Result<workload::X509svidResponse, Status>> {
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
        Some(Ok(told(svids, bundles, limits)))
    }
}

fn told(
    svids: &SubscribeToX509sviDsResponse,
    bundles: &HashMap<String, Vec<u8>>,
    limits: &Limits,
) -> workload::X509svidResponse {
    // By trust domain, for each can be spelled in many ways.
    let federated: BTreeMap<_, _> = svids
        .federates_with
        .iter()
        .filter_map(|name| bundle_of(name, bundles))
        .collect();
    workload::X509svidResponse {
        svids: svids
            .x509_svids
            .iter()
            .take(limits.svids().saturating_add(1))
            .map(|svid| x509(svid, bundles))
            .collect(),
        crl: Vec::new(),
        federated_bundles: federated
            .into_iter()
            .take(limits.bundles().saturating_add(1))
            .map(|(trust_domain, bundle)| (trust_domain.to_string(), bundle.clone()))
            .collect(),
    }
}

fn x509(svid: &X509svidWithKey, bundles: &HashMap<String, Vec<u8>>) -> workload::X509svid {
    let said = svid.x509_svid.clone().unwrap_or_default();
    let id = said.id.unwrap_or_default();
    let bundle = bundle_of(&id.trust_domain, bundles).map(|(_, bundle)| bundle.clone());
    workload::X509svid {
        bundle: bundle.unwrap_or_default(),
        spiffe_id: text(&id),
        x509_svid: said.cert_chain.concat(),
        x509_svid_key: svid.x509_svid_key.clone(),
        hint: said.hint,
    }
}

/// The trust domain that is told by its name or by its ID, with its bundle.
fn bundle_of<'a>(
    name: &str,
    bundles: &'a HashMap<String, Vec<u8>>,
) -> Option<(TrustDomain, &'a Vec<u8>)> {
    let trust_domain = TrustDomain::from_id_or_name(name).ok()?;
    let bundle = bundles
        .get(&format!("spiffe://{trust_domain}"))
        .or_else(|| bundles.get(trust_domain.as_str()))?;
    Some((trust_domain, bundle))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bundles<const N: usize>(of: [&str; N]) -> HashMap<String, Vec<u8>> {
        of.map(|name| (format!("spiffe://{name}"), vec![0; 1024]))
            .into()
    }

    #[test]
    fn a_bundle_is_not_copied_for_more_svids_than_may_be_there() {
        let svids = SubscribeToX509sviDsResponse {
            x509_svids: vec![X509svidWithKey::default(); 100_000],
            federates_with: Vec::new(),
        };
        for (limit, copied) in [(3, 4), (usize::MAX, 100_000)] {
            let limits = Limits::default().with_svids(limit);
            let told = told(&svids, &bundles(["a.test"]), &limits);
            assert_eq!(told.svids.len(), copied, "one too many is refused");
        }
    }

    #[test]
    fn a_bundle_is_copied_once_however_its_trust_domain_is_spelled() {
        let paths = (0..100_000).map(|n| format!("spiffe://a.test/{n}"));
        let names = ["a.test", "spiffe://a.test", "SPIFFE://a.test"].map(str::to_owned);
        let svids = SubscribeToX509sviDsResponse {
            x509_svids: Vec::new(),
            federates_with: paths.chain(names).collect(),
        };
        let told = told(&svids, &bundles(["a.test", "b.test"]), &Limits::default());
        assert_eq!(told.federated_bundles.len(), 1);
        assert!(told.federated_bundles.contains_key("a.test"));
    }

    #[test]
    fn no_more_federated_bundles_are_copied_than_may_be_there() {
        let names = ["a.test", "b.test", "c.test"];
        let svids = SubscribeToX509sviDsResponse {
            x509_svids: Vec::new(),
            federates_with: names.map(str::to_owned).to_vec(),
        };
        let limits = Limits::default().with_bundles(1);
        let told = told(&svids, &bundles(names), &limits);
        assert_eq!(told.federated_bundles.len(), 2, "one too many is refused");
    }
}
