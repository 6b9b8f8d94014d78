//! Asks the Workload API who it is. Nobody has registered it, so it learns why it is nobody.
#![expect(clippy::print_stdout, reason = "an example tells what happens")]

use spiffe_core::{
    clock::{Clock, SystemClock},
    workload_api::{WorkloadApiClient, WorkloadApiError},
};
use spiffe_examples::Failed;
use spiffe_examples::lines::{Identity, Line};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    // A source would wait for an operator to register us; we want to hear the answer.
    match WorkloadApiClient::from_env()?.fetch_x509().await {
        Ok(snapshot) => {
            for svid in snapshot.svids() {
                let identity = Identity::of(svid, SystemClock.now());
                println!("{}", Line::Identity(identity));
            }
            Ok(())
        }
        Err(WorkloadApiError::Refused(status)) => {
            let why = format!("{:?}: {}", status.code(), status.message());
            println!("{}", Line::NoIdentity(why));
            Ok(())
        }
        Err(other) => Err(other.into()),
    }
}
