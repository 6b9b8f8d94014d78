//! What an answer of the Workload API means for whoever watches: one table, and no other place
//! decides.

use tonic::Code;

use super::WorkloadApiError;
use super::session::Break;

/// What the end of a stream means (SPIFFE Workload Endpoint section 6 and appendix A).
pub(crate) fn meaning(error: &WorkloadApiError) -> Break {
    match error {
        WorkloadApiError::Refused(status) => meaning_of_code(status.code()),
        // Nobody was asked, nor will be.
        WorkloadApiError::NotOnThisMachine { .. } => Break::Lasting,
        // It was not the API that said no.
        _ => Break::Passing,
    }
}

fn meaning_of_code(code: Code) -> Break {
    match code {
        // We are not understood: by one who is no Workload API, or serves no such thing.
        Code::InvalidArgument | Code::Unimplemented => Break::Lasting,
        Code::PermissionDenied => Break::Denied,
        Code::Aborted
        | Code::AlreadyExists
        | Code::Cancelled
        | Code::DataLoss
        | Code::DeadlineExceeded
        | Code::FailedPrecondition
        | Code::Internal
        | Code::NotFound
        | Code::Ok
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unavailable
        | Code::Unknown => Break::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // conformance: WE-19+ WE-21+ WE-22+ WE-23+
    #[test]
    fn two_codes_last_and_one_withdraws() {
        for number in 0..=16 {
            let expected = match number {
                3 | 12 => Break::Lasting,
                7 => Break::Denied,
                _ => Break::Passing,
            };
            assert_eq!(
                meaning_of_code(Code::from_i32(number)),
                expected,
                "{number}"
            );
        }
    }
}
