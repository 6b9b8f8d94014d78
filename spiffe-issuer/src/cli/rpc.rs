//! Statuses of calls as Go prints them, which scripts look for.

use std::fmt;

use tonic::{Code, Status};

/// A call that failed. Prints as `rpc error: code = NotFound desc = agent not found`.
#[derive(Debug)]
pub(super) struct RpcError {
    code: Code,
    message: String,
}

impl RpcError {
    /// Nobody answered.
    pub(super) fn unavailable(why: &str) -> Self {
        Self {
            code: Code::Unavailable,
            message: why.to_owned(),
        }
    }

    /// What sort of failure it is.
    #[cfg(feature = "agent")]
    pub(super) fn code(&self) -> Code {
        self.code
    }
}

/// What was tried, and the call that failed.
#[cfg(feature = "server")]
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Failed {
    what: &'static str,
    source: RpcError,
}

#[cfg(feature = "server")]
impl Failed {
    /// For `map_err`.
    pub(super) fn to(what: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self {
            what,
            source: status.into(),
        }
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message } = self;
        write!(f, "rpc error: code = {} desc = {message}", name(*code))
    }
}

impl std::error::Error for RpcError {}

/// What Go calls a code.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Aborted => "Aborted",
        Code::AlreadyExists => "AlreadyExists",
        Code::Cancelled => "Canceled",
        Code::DataLoss => "DataLoss",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Internal => "Internal",
        Code::InvalidArgument => "InvalidArgument",
        Code::NotFound => "NotFound",
        Code::Ok => "OK",
        Code::OutOfRange => "OutOfRange",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::Unauthenticated => "Unauthenticated",
        Code::Unavailable => "Unavailable",
        Code::Unimplemented => "Unimplemented",
        Code::Unknown => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_prints_as_go_prints_it() {
        for (status, told) in [
            (
                Status::unimplemented("JWT functionality is disabled"),
                "rpc error: code = Unimplemented desc = JWT functionality is disabled",
            ),
            (
                Status::cancelled("gone"),
                "rpc error: code = Canceled desc = gone",
            ),
        ] {
            assert_eq!(RpcError::from(status).to_string(), told);
        }
    }
}
