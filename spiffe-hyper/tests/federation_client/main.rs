//! The client of bundle endpoints, against servers in memory.
#![cfg(feature = "federation")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod answers;
#[path = "../federated/mod.rs"]
mod federated;
mod profiles;
mod redirects;

use spiffe_core::BundleSet;
use spiffe_core::testing::TestAuthority;
use spiffe_hyper::federation::{BundleClient, FetchError, Fetched, Held, Relationship};

use crate::federated::url;

async fn fetch(client: &BundleClient, from: &Relationship) -> Result<Fetched, FetchError> {
    fetch_newer(client, from, None).await
}

async fn fetch_newer(
    client: &BundleClient,
    from: &Relationship,
    held: Option<&Held>,
) -> Result<Fetched, FetchError> {
    client.fetch(from, held, &BundleSet::default()).await
}

fn web(authority: &TestAuthority, at: &str) -> Relationship {
    Relationship::https_web(authority.trust_domain().clone(), url(at))
}
