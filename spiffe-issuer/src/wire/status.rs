//! Faults as gRPC statuses, and back: the only table, for server and agent alike.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use spiffe_core::with_causes;
use tonic::{Code, Status};
use tonic_types::pb;
use tracing::{error, info};

use crate::domain::{Denial, Fault, Kind};
use crate::proto::types::{self, PermissionDeniedDetails, permission_denied_details::Reason};

/// The status that a caller gets for a fault, which is logged here, once.
#[must_use]
pub fn status(fault: &dyn Fault) -> Status {
    log(fault);
    let (code, message) = (code(fault.kind()), message(fault));
    let details = details(fault);
    if details.is_empty() {
        return plain(code, message);
    }
    let rich = pb::Status {
        code: code.into(),
        message: message.clone(),
        details,
    };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

/// The status of one item of a batch, from the same table.
#[must_use]
pub fn item(fault: &dyn Fault) -> types::Status {
    log(fault);
    types::Status {
        code: code(fault.kind()).into(),
        message: message(fault),
    }
}

/// The status of an item that went well.
#[must_use]
pub fn ok() -> types::Status {
    types::Status {
        code: Code::Ok.into(),
        message: "OK".to_owned(),
    }
}

/// Why an agent was turned away, where the status says so.
#[must_use]
pub fn denial(status: &Status) -> Option<Denial> {
    let details: PermissionDeniedDetails = detail(status, PERMISSION_DENIED)?;
    match details.reason() {
        Reason::AgentBanned => Some(Denial::AgentBanned),
        Reason::AgentExpired => Some(Denial::AgentExpired),
        Reason::AgentMustReattest => Some(Denial::AgentMustReattest),
        Reason::AgentNotActive => Some(Denial::AgentNotActive),
        Reason::AgentNotAttested => Some(Denial::AgentNotAttested),
        Reason::Unknown => None,
    }
}

/// How long a caller that asked too often is to wait, where the status says so.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    let details: pb::RetryInfo = detail(status, RETRY)?;
    details.retry_delay?.try_into().ok()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn plain(code: Code, message: String) -> Status {
    Status::new(code, message)
}

const fn code(kind: Kind) -> Code {
    match kind {
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Conflict => Code::Aborted,
        Kind::Denied => Code::PermissionDenied,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Internal => Code::Internal,
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::NotReady => Code::FailedPrecondition,
        Kind::Unavailable => Code::Unavailable,
        Kind::Unimplemented => Code::Unimplemented,
    }
}

/// What the caller did wrong is told in full; what we did wrong stays in our log.
fn message(fault: &dyn Fault) -> String {
    if let Some(told) = fault.told() {
        return told;
    }
    match fault.kind() {
        Kind::Internal => "internal error".to_owned(),
        Kind::Unavailable => "temporarily unavailable".to_owned(),
        _ => with_causes(fault),
    }
}

fn details(fault: &dyn Fault) -> Vec<Any> {
    let denial = fault.denial().map(|denial| {
        let reason = match denial {
            Denial::AgentBanned => Reason::AgentBanned,
            Denial::AgentExpired => Reason::AgentExpired,
            Denial::AgentMustReattest => Reason::AgentMustReattest,
            Denial::AgentNotActive => Reason::AgentNotActive,
            Denial::AgentNotAttested => Reason::AgentNotAttested,
        };
        let details = PermissionDeniedDetails {
            reason: reason.into(),
        };
        any(PERMISSION_DENIED, &details)
    });
    let retry = fault.retry_after().map(|delay| {
        // A delay beyond what the message can hold is none that anybody waits for.
        let retry_delay = delay.try_into().ok();
        any(RETRY, &pb::RetryInfo { retry_delay })
    });
    denial.into_iter().chain(retry).collect()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

/// The detail of this name. A status comes from a peer: what does not decode is not there.
fn detail<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
    let rich = pb::Status::decode(status.details()).ok()?;
    let found = rich
        .details
        .iter()
        .find(|any| any.type_url.rsplit('/').next() == Some(name))?;
    M::decode(&*found.value).ok()
}

fn log(fault: &dyn Fault) {
    let (kind, cause) = (fault.kind(), with_causes(fault));
    match kind {
        Kind::Internal | Kind::Unavailable => error!(?kind, error = %cause, "request failed"),
        _ => info!(?kind, error = %cause, "request refused"),
    }
}

const PERMISSION_DENIED: &str = "spire.api.types.PermissionDeniedDetails";
const RETRY: &str = "google.rpc.RetryInfo";

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outside")]
    struct Sample {
        kind: Kind,
        denial: Option<Denial>,
        retry: Option<Duration>,
        told: Option<&'static str>,
        #[source]
        cause: fmt::Error,
    }

    impl Fault for Sample {
        fn kind(&self) -> Kind {
            self.kind
        }
        fn told(&self) -> Option<String> {
            self.told.map(str::to_owned)
        }
        fn denial(&self) -> Option<Denial> {
            self.denial
        }
        fn retry_after(&self) -> Option<Duration> {
            self.retry
        }
    }

    fn sample(kind: Kind) -> Sample {
        Sample {
            kind,
            denial: None,
            retry: None,
            told: None,
            cause: fmt::Error,
        }
    }

    #[test]
    fn what_the_caller_did_is_told_and_what_we_did_is_not() {
        let told = format!("the outside: {}", fmt::Error);
        for (kind, code, message) in [
            (Kind::AlreadyExists, Code::AlreadyExists, &*told),
            (Kind::Conflict, Code::Aborted, &told),
            (Kind::Denied, Code::PermissionDenied, &told),
            (Kind::Exhausted, Code::ResourceExhausted, &told),
            (Kind::Internal, Code::Internal, "internal error"),
            (Kind::Invalid, Code::InvalidArgument, &told),
            (Kind::NotFound, Code::NotFound, &told),
            (Kind::NotReady, Code::FailedPrecondition, &told),
            (
                Kind::Unavailable,
                Code::Unavailable,
                "temporarily unavailable",
            ),
            (Kind::Unimplemented, Code::Unimplemented, &told),
        ] {
            let status = status(&sample(kind));
            assert_eq!((status.code(), status.message()), (code, message));
            assert!(status.details().is_empty(), "{kind:?}");
            let item = item(&sample(kind));
            assert_eq!((item.code, &*item.message), (code.into(), message));
        }
    }

    #[test]
    fn a_fault_may_choose_its_words() {
        let status = status(&Sample {
            told: Some("workload attestation failed"),
            ..sample(Kind::Unavailable)
        });
        assert_eq!(status.message(), "workload attestation failed");
    }

    #[test]
    fn each_denial_survives_the_way_there_and_back() {
        for reason in [
            Denial::AgentBanned,
            Denial::AgentExpired,
            Denial::AgentMustReattest,
            Denial::AgentNotActive,
            Denial::AgentNotAttested,
        ] {
            let status = status(&Sample {
                denial: Some(reason),
                retry: Some(Duration::from_secs(1)),
                ..sample(Kind::Denied)
            });
            assert_eq!(denial(&status), Some(reason));
            assert_eq!(retry_after(&status), Some(Duration::from_secs(1)));
        }
    }

    #[test]
    fn details_of_another_make_say_nothing() {
        for details in [&b""[..], b"\xff\xff", b"\x1a\x02\x0a\x00"] {
            let status =
                Status::with_details(Code::PermissionDenied, "no", details.to_vec().into());
            assert_eq!(denial(&status), None);
            assert_eq!(retry_after(&status), None);
        }
    }
}
