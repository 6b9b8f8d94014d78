//! The streams of the API, for sources.

use std::time::Duration;

use tonic::Code;

use super::{BrokerClient, Reference};
use crate::bundle::BundleSet;
use crate::snapshot::IdentitySnapshot;
use crate::workload_api::{
    Break, BundleWatch, Decoded, Feed, WorkloadApiClient, WorkloadApiError, X509Bundles, X509Watch,
    meaning,
};

/// What one workload has.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    pub(super) client: BrokerClient,
    pub(super) of: Reference,
}

impl Feed for Identities {
    const WHAT: &'static str = "brokered X.509 identities";
    const LABEL: &'static str = "brokered_x509";
    const PAUSE_WHEN_DENIED: Duration = PAUSE_WHEN_DENIED;
    type State = IdentitySnapshot;
    type Stream = X509Watch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        latest: &IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let client = self.client.like(client);
        client.watch_x509_from(&self.of, latest.clone()).await
    }

    async fn next(stream: &mut X509Watch) -> Result<Decoded<IdentitySnapshot>, WorkloadApiError> {
        stream.decoded().await
    }

    fn meaning(error: &WorkloadApiError) -> Break {
        for_a_workload(error)
    }

    fn is_void(state: &IdentitySnapshot) -> bool {
        state.svids().is_empty() && X509Bundles::is_void(state.bundles())
    }

    /// Nothing: bundles too were for that workload only (SPIFFE Broker API section 5.2.2).
    fn withdrawn(_: &IdentitySnapshot) -> IdentitySnapshot {
        IdentitySnapshot::default()
    }
}

/// The bundles of one kind that one workload may use.
#[derive(Debug, Clone)]
pub(super) struct Bundles {
    pub(super) client: BrokerClient,
    pub(super) of: Reference,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Jwt,
    X509,
}

impl Feed for Bundles {
    const WHAT: &'static str = "bundles for brokers";
    const LABEL: &'static str = "brokered_bundles";
    const PAUSE_WHEN_DENIED: Duration = PAUSE_WHEN_DENIED;
    type State = BundleSet;
    type Stream = BundleWatch;

    async fn open(
        &self,
        client: &WorkloadApiClient,
        _: &BundleSet,
    ) -> Result<BundleWatch, WorkloadApiError> {
        let client = self.client.like(client);
        match self.kind {
            Kind::Jwt => client.watch_jwt_bundles(&self.of).await,
            Kind::X509 => client.watch_x509_bundles(&self.of).await,
        }
    }

    async fn next(stream: &mut BundleWatch) -> Result<Decoded<BundleSet>, WorkloadApiError> {
        stream.decoded().await
    }

    fn meaning(error: &WorkloadApiError) -> Break {
        for_a_workload(error)
    }

    fn is_void(state: &BundleSet) -> bool {
        X509Bundles::is_void(state)
    }

    fn withdrawn(state: &BundleSet) -> BundleSet {
        X509Bundles::withdrawn(state)
    }
}

/// As for a workload that asks by itself, save that the one which is meant can be gone (SPIFFE Broker
/// API sections 4.8 and 4.9).
fn for_a_workload(error: &WorkloadApiError) -> Break {
    match error {
        WorkloadApiError::Refused(status) if status.code() == Code::NotFound => Break::Gone,
        other => meaning(other),
    }
}

/// A workload that is not entitled will hardly be so in a moment (SPIFFE Broker Endpoint section 6).
const PAUSE_WHEN_DENIED: Duration = Duration::from_secs(30);
