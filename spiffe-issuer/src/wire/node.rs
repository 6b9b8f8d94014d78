//! Agents as messages.

use crate::domain::{AttestedNode, Fault, Kind};
use crate::proto::server::agent::attest_agent_request;
use crate::proto::types;

use super::parts::selectors_to_messages;
use super::{id_to_message, seconds};

/// A node as a message.
#[must_use]
pub fn to_message(node: &AttestedNode) -> types::Agent {
    let serial = node.serial.as_ref();
    types::Agent {
        id: Some(id_to_message(&node.id)),
        attestation_type: node.attestation_type.clone(),
        x509svid_serial_number: serial.map_or_else(String::new, |s| s.as_str().to_owned()),
        x509svid_expires_at: seconds(node.expires_at),
        selectors: selectors_to_messages(&node.selectors),
        banned: node.is_banned(),
        can_reattest: node.can_reattest,
        agent_version: node.agent_version.clone(),
    }
}

/// What an agent says when it begins to attest: who judges it, with what, and its request for a
/// certificate.
#[derive(Debug)]
pub struct Claim {
    /// The attestor that is to judge it.
    pub attestor: String,
    /// What that attestor is to read.
    pub payload: Vec<u8>,
    /// A PKCS#10 request, of which the public key counts.
    pub csr: Vec<u8>,
}

/// The claim of the first message of an attestation.
///
/// # Errors
///
/// Where a part of it is missing.
pub fn claim(step: Option<attest_agent_request::Step>) -> Result<Claim, MalformedParam> {
    let Some(attest_agent_request::Step::Params(params)) = step else {
        return Err(MalformedParam::Params);
    };
    let data = params.data.ok_or(MalformedParam::Data)?;
    let csr = params.params.ok_or(MalformedParam::SvidParams)?.csr;
    if csr.is_empty() {
        return Err(MalformedParam::Csr);
    }
    if data.r#type.is_empty() {
        return Err(MalformedParam::DataType);
    }
    if data.payload.is_empty() {
        return Err(MalformedParam::DataPayload);
    }
    Ok(Claim {
        attestor: data.r#type,
        payload: data.payload,
        csr,
    })
}

/// What is missing in the first message of an attestation. The texts are known to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedParam {
    /// The request for a certificate.
    #[error("malformed param: missing CSR")]
    Csr,
    /// The attestation data.
    #[error("malformed param: missing attestation data")]
    Data,
    /// What the attestor is to read.
    #[error("malformed param: missing attestation data payload")]
    DataPayload,
    /// The attestor's name.
    #[error("malformed param: missing attestation data type")]
    DataType,
    /// All of it: the message was empty, or an answer to a challenge that nobody set.
    #[error("malformed param: missing params")]
    Params,
    /// What surrounds the request for a certificate.
    #[error("malformed param: missing X509-SVID parameters")]
    SvidParams,
}

impl Fault for MalformedParam {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use spiffe_core::spiffe_id;

    use super::*;
    use crate::domain::{Selector, Serial};
    use crate::proto::server::agent::AgentX509svidParams;

    #[test]
    fn a_node_is_told_as_clients_know_it() {
        let mut node = AttestedNode {
            id: spiffe_id!("spiffe://td/spire/agent/x509pop/a"),
            attestation_type: "x509pop".into(),
            serial: Some(Serial::from_decimal("12")),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(9),
            authority: None,
            renewed: None,
            can_reattest: true,
            selectors: [Selector::new("x509pop", "ca:1").unwrap()].into(),
            agent_version: "1".into(),
        };
        let message = to_message(&node);
        assert_eq!(message.x509svid_serial_number, "12");
        assert_eq!(message.x509svid_expires_at, 9);
        assert_eq!(message.selectors[0].r#type, "x509pop");
        assert!(!message.banned && message.can_reattest);

        node.serial = None;
        let message = to_message(&node);
        assert_eq!(
            (message.banned, &*message.x509svid_serial_number),
            (true, "")
        );
    }

    #[test]
    fn each_missing_part_of_a_claim_has_its_sentence() {
        use attest_agent_request::{Params, Step};
        let whole = || Params {
            data: Some(types::AttestationData {
                r#type: "join_token".into(),
                payload: b"t".to_vec(),
            }),
            params: Some(AgentX509svidParams {
                csr: b"csr".to_vec(),
            }),
        };
        assert!(claim(Some(Step::Params(whole()))).is_ok());
        let without = |change: fn(&mut Params)| {
            let mut params = whole();
            change(&mut params);
            Some(Step::Params(params))
        };
        for (step, why) in [
            (None, "params"),
            (Some(Step::ChallengeResponse(vec![1])), "params"),
            (without(|p| p.data = None), "attestation data"),
            (without(|p| p.params = None), "X509-SVID parameters"),
            (without(|p| p.params.as_mut().unwrap().csr.clear()), "CSR"),
            (
                without(|p| p.data.as_mut().unwrap().r#type.clear()),
                "attestation data type",
            ),
            (
                without(|p| p.data.as_mut().unwrap().payload.clear()),
                "attestation data payload",
            ),
        ] {
            let told = claim(step).unwrap_err().to_string();
            assert_eq!(told, format!("malformed param: missing {why}"));
        }
    }
}
