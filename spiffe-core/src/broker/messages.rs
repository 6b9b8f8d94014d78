//! What the API says, as the Workload API says it: the messages are the same, of another package.

use crate::proto::{broker, workload};

pub(super) fn x509(message: broker::SubscribeToX509svidResponse) -> workload::X509svidResponse {
    let svid = |svid: broker::X509svid| workload::X509svid {
        spiffe_id: svid.spiffe_id,
        x509_svid: svid.x509_svid,
        x509_svid_key: svid.x509_svid_key,
        bundle: svid.bundle,
        hint: svid.hint,
    };
    workload::X509svidResponse {
        svids: message.svids.into_iter().map(svid).collect(),
        crl: message.crl,
        federated_bundles: message.federated_bundles,
    }
}

pub(super) fn tokens(answer: broker::FetchJwtsvidResponse) -> workload::JwtsvidResponse {
    let token = |token: broker::Jwtsvid| workload::Jwtsvid {
        spiffe_id: token.spiffe_id,
        svid: token.svid,
        hint: token.hint,
    };
    workload::JwtsvidResponse {
        svids: answer.svids.into_iter().map(token).collect(),
    }
}
