//! The streams of the API, for sources.

use super::{DelegatedIdentityClient, Workload};
use crate::bundle::BundleSet;
use crate::snapshot::IdentitySnapshot;
use crate::workload_api::{
    BundleWatch, Decoded, Feed, WorkloadApiClient, WorkloadApiError, X509Bundles, X509Identities,
    X509Watch,
};

/// What one workload has.
#[derive(Debug, Clone)]
pub(super) struct Identities(pub(super) Workload);

impl Feed for Identities {
    const WHAT: &'static str = "delegated X.509 identities";
    const LABEL: &'static str = "delegated_x509";
    type State = IdentitySnapshot;
    type Stream = X509Watch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        latest: &IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let client = DelegatedIdentityClient::over(client);
        client.watch_x509_from(&self.0, latest.clone()).await
    }

    async fn next(stream: &mut X509Watch) -> Result<Decoded<IdentitySnapshot>, WorkloadApiError> {
        stream.decoded().await
    }

    fn is_void(state: &IdentitySnapshot) -> bool {
        X509Identities::is_void(state)
    }

    fn withdrawn(state: &IdentitySnapshot) -> IdentitySnapshot {
        X509Identities::withdrawn(state)
    }
}

/// All bundles of one kind that the agent has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bundles {
    Jwt,
    X509,
}

impl Feed for Bundles {
    const WHAT: &'static str = "bundles for delegates";
    const LABEL: &'static str = "delegated_bundles";
    type State = BundleSet;
    type Stream = BundleWatch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        _: &BundleSet,
    ) -> Result<BundleWatch, WorkloadApiError> {
        let client = DelegatedIdentityClient::over(client);
        match self {
            Self::Jwt => client.watch_jwt_bundles().await,
            Self::X509 => client.watch_x509_bundles().await,
        }
    }

    async fn next(stream: &mut BundleWatch) -> Result<Decoded<BundleSet>, WorkloadApiError> {
        stream.decoded().await
    }

    fn is_void(state: &BundleSet) -> bool {
        X509Bundles::is_void(state)
    }

    fn withdrawn(state: &BundleSet) -> BundleSet {
        X509Bundles::withdrawn(state)
    }
}
