//! The client of the Workload API, call by call, against a fake that follows a script.

mod bundles;
mod calls;
mod endpoints;
mod limits;
mod tokens;

use spiffe_core::testing::{FakeWorkloadApi, TestAuthority};
use spiffe_core::workload_api::{WorkloadApiClient, WorkloadApiError};
use spiffe_core::{SpiffeId, spiffe_id};
use tonic::Code;

const WEB: SpiffeId = spiffe_id!("spiffe://a.test/web");
const DB: SpiffeId = spiffe_id!("spiffe://a.test/db");

fn world() -> (TestAuthority, FakeWorkloadApi, WorkloadApiClient) {
    let api = FakeWorkloadApi::in_memory();
    let client = WorkloadApiClient::new(api.endpoint());
    (TestAuthority::new("a.test"), api, client)
}

fn code(error: &WorkloadApiError) -> Option<Code> {
    match error {
        WorkloadApiError::Refused(status) => Some(status.code()),
        _ => None,
    }
}
