//! The streams of the API as the driver sees them: how each is opened, and what it leaves behind.

use std::time::Duration;

use super::decode::Decoded;
use super::session::Break;
use super::{BundleWatch, WorkloadApiClient, WorkloadApiError, X509Watch, codes};
use crate::bundle::BundleSet;
use crate::snapshot::IdentitySnapshot;

/// A stream of the API whose messages replace one another.
pub(crate) trait Feed: Clone + Send + Sync + 'static {
    /// What it is called in logs.
    const WHAT: &'static str;
    /// What it is called where it is counted.
    const LABEL: &'static str;
    /// The least to wait after a denial.
    const PAUSE_WHEN_DENIED: Duration = Duration::ZERO;
    /// What is known from it.
    type State: Clone + Default + Send + Sync + 'static;
    /// It, open.
    type Stream: Send;

    /// Opens it, to go on from what is known.
    fn open(
        &self,
        client: &WorkloadApiClient,
        latest: &Self::State,
    ) -> impl Future<Output = Result<Self::Stream, WorkloadApiError>> + Send;

    /// The next message. Cancel-safe.
    fn next(
        stream: &mut Self::Stream,
    ) -> impl Future<Output = Result<Decoded<Self::State>, WorkloadApiError>> + Send;

    /// What it means that the stream could not be opened, or ended.
    fn meaning(error: &WorkloadApiError) -> Break {
        codes::meaning(error)
    }

    /// Whether there is nothing to withdraw.
    fn is_void(state: &Self::State) -> bool;

    /// What is left when the API says that we may have nothing any more.
    fn withdrawn(state: &Self::State) -> Self::State;
}

/// X.509-SVIDs and what comes with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct X509Identities;

impl Feed for X509Identities {
    const WHAT: &'static str = "X.509 identities";
    const LABEL: &'static str = "x509";
    type State = IdentitySnapshot;
    type Stream = X509Watch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        latest: &IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        client.watch_x509_from(latest.clone()).await
    }

    async fn next(stream: &mut X509Watch) -> Result<Decoded<IdentitySnapshot>, WorkloadApiError> {
        stream.decoded().await
    }

    fn is_void(state: &IdentitySnapshot) -> bool {
        state.svids().is_empty()
    }

    /// Without an identity of one's own, peers can still be verified.
    fn withdrawn(state: &IdentitySnapshot) -> IdentitySnapshot {
        state.clone().without_svids()
    }
}

/// Bundles to verify X.509-SVIDs with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct X509Bundles;

impl Feed for X509Bundles {
    const WHAT: &'static str = "X.509 bundles";
    const LABEL: &'static str = "x509_bundles";
    type State = BundleSet;
    type Stream = BundleWatch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        _: &BundleSet,
    ) -> Result<BundleWatch, WorkloadApiError> {
        client.watch_x509_bundles().await
    }

    async fn next(stream: &mut BundleWatch) -> Result<Decoded<BundleSet>, WorkloadApiError> {
        stream.decoded().await
    }

    fn is_void(state: &BundleSet) -> bool {
        state.iter().next().is_none()
    }

    fn withdrawn(_: &BundleSet) -> BundleSet {
        BundleSet::default()
    }
}

/// Bundles to verify JWT-SVIDs with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JwtBundles;

impl Feed for JwtBundles {
    const WHAT: &'static str = "JWT bundles";
    const LABEL: &'static str = "jwt_bundles";
    type State = BundleSet;
    type Stream = BundleWatch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        _: &BundleSet,
    ) -> Result<BundleWatch, WorkloadApiError> {
        client.watch_jwt_bundles().await
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
