//! The Delegated Identity API of SPIRE's agent: identities of other workloads, for a delegate that the
//! agent trusts to speak for them.
//!
//! It is served on the agent's admin socket, to callers whose ID is among the agent's
//! `authorized_delegates`. A mesh proxy or a CSI driver asks it for the workloads that it serves:
//!
//! ```no_run
//! use spiffe_core::SourceExt;
//! use spiffe_core::authorizer::member_of;
//! use spiffe_core::delegated::{DelegatedIdentityClient, Workload};
//! use spiffe_core::workload_api::Endpoint;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let admin = Endpoint::unix("/run/spire/admin.sock")?;
//! let delegate = DelegatedIdentityClient::new(admin);
//!
//! // Followed for as long as the source is there: a proxy's server with the identity of another.
//! let web = Workload::selectors(["k8s:ns:shop".parse()?, "k8s:sa:web".parse()?])?;
//! let source = delegate.x509_source(web.clone()).connect().await?;
//! let server = source.server(member_of("example.org".parse()?));
//!
//! let tokens = delegate.fetch_jwt_svids(&web, ["ledger"]).await?;
//! # drop((server, tokens));
//! # Ok(())
//! # }
//! ```
//!
//! What comes is judged as what the [Workload API](crate::workload_api) sends, within the same limits, and
//! sources try again by the same table of codes. A snapshot holds the SVIDs of the workload, the bundle
//! of their own trust domain, and those of the trust domains that its entries federate with: the API
//! sends the bundles of all trust domains, and no more of them are believed on the workload's behalf.
//!
//! Where the API says that the workload has no identity any more, it is withdrawn.

mod feeds;
mod messages;
mod workload;

use std::sync::Arc;

use tokio_stream::StreamExt;
use tonic::transport::Channel;

use crate::bundle::BundleSet;
use crate::clock::Clock;
use crate::jwt::JwtSvid;
use crate::proto::delegated::delegated_identity_client::DelegatedIdentityClient as Service;
use crate::proto::delegated::{
    FetchJwtsviDsRequest, SubscribeToJwtBundlesRequest, SubscribeToX509BundlesRequest,
    SubscribeToX509sviDsRequest,
};
use crate::snapshot::IdentitySnapshot;
use crate::source::{BundleSourceBuilder, X509SourceBuilder};
use crate::workload_api::{
    BundleWatch, Endpoint, Limits, Wanted, WorkloadApiClient, WorkloadApiError, X509Watch,
    jwt_keys, named, refused, x509_authorities,
};

pub use workload::{Selector, Workload, WorkloadError};

use self::feeds::{Bundles, Identities};

/// A client of the Delegated Identity API. Cheap to clone; it connects when it is asked something.
#[derive(Debug, Clone)]
pub struct DelegatedIdentityClient {
    client: WorkloadApiClient,
}

impl DelegatedIdentityClient {
    /// A client of the agent whose admin socket is at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::over(&WorkloadApiClient::new(endpoint))
    }

    /// The way to the agent is the same, with the same limits.
    fn over(client: &WorkloadApiClient) -> Self {
        Self {
            client: client.clone(),
        }
    }

    /// The same client with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self::over(&self.client.with_clock(clock))
    }

    /// The same client that reads as much as these limits say.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self::over(&self.client.with_limits(limits))
    }

    /// Where it connects to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// Settings of a source that shows what this workload has, always the latest.
    pub fn x509_source(&self, of: Workload) -> X509SourceBuilder {
        X509SourceBuilder::following(&self.client, Identities(of))
    }

    /// Settings of a source that shows the X.509 authorities of all trust domains that the agent knows,
    /// always the latest.
    pub fn x509_bundle_source(&self) -> BundleSourceBuilder {
        BundleSourceBuilder::following(&self.client, Bundles::X509)
    }

    /// Settings of a source that shows the keys that all trust domains which the agent knows sign their
    /// JWT-SVIDs with, always the latest.
    pub fn jwt_bundle_source(&self) -> BundleSourceBuilder {
        BundleSourceBuilder::following(&self.client, Bundles::Jwt)
    }

    /// The identities that this workload has at this moment, and the bundles that go with them.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or the workload has no
    /// identity that can be used.
    pub async fn fetch_x509(&self, of: &Workload) -> Result<IdentitySnapshot, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_x509(of).await?.next().await })
            .await
    }

    /// A watch of what this workload has. It ends when the connection does, and when the workload has
    /// nothing any more; [`x509_source`](Self::x509_source) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer in time.
    pub async fn watch_x509(&self, of: &Workload) -> Result<X509Watch, WorkloadApiError> {
        self.watch_x509_from(of, IdentitySnapshot::default()).await
    }

    async fn watch_x509_from(
        &self,
        of: &Workload,
        latest: IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let (selectors, pid) = of.to_wire();
        let opening = async {
            // One connection, so that they end together.
            let mut asked = self.service().await?;
            let mut beside = asked.clone();
            tokio::try_join!(
                asked.subscribe_to_x509svi_ds(SubscribeToX509sviDsRequest { selectors, pid }),
                beside.subscribe_to_x509_bundles(SubscribeToX509BundlesRequest {}),
            )
            .map_err(refused)
        };
        let (svids, bundles) = self.client.prompt(opening).await?;
        let limits = *self.client.limits();
        let messages = messages::joined(svids.into_inner(), bundles.into_inner(), limits);
        Ok(self.client.x509_watch(messages, latest))
    }

    /// The X.509 authorities of all trust domains that the agent knows at this moment.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no bundle that
    /// can be used.
    pub async fn fetch_x509_bundles(&self) -> Result<BundleSet, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_x509_bundles().await?.next().await })
            .await
    }

    /// A watch of these. It ends when the connection does;
    /// [`x509_bundle_source`](Self::x509_bundle_source) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer in time.
    pub async fn watch_x509_bundles(&self) -> Result<BundleWatch, WorkloadApiError> {
        let opening = async {
            let mut service = self.service().await?;
            let opened = service.subscribe_to_x509_bundles(SubscribeToX509BundlesRequest {});
            opened.await.map_err(refused)
        };
        let messages = self.client.prompt(opening).await?.into_inner();
        let messages = messages.map(|message| Ok(message?.ca_certificates.into_iter().collect()));
        Ok(self.client.bundle_watch(messages, x509_authorities))
    }

    /// JWT-SVIDs of this workload for this audience, one for each identity that it has. There is at
    /// least one.
    ///
    /// # Errors
    ///
    /// Where no audience is named, the API cannot be reached, does not answer in time, refuses, or
    /// sends no token that can be used.
    pub async fn fetch_jwt_svids(
        &self,
        of: &Workload,
        audience: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<JwtSvid>, WorkloadApiError> {
        let audience = named(audience)?;
        let (selectors, pid) = of.to_wire();
        let asked = FetchJwtsviDsRequest {
            audience: audience.clone(),
            selectors,
            pid,
        };
        let answer = async {
            let mut service = self.service().await?;
            service.fetch_jwtsvi_ds(asked).await.map_err(refused)
        };
        let answer = self.client.prompt(answer).await?.into_inner();
        let wanted = Wanted {
            id: None,
            audience: &audience,
        };
        self.client.read_jwt(&messages::tokens(answer), wanted)
    }

    /// The keys that all trust domains which the agent knows sign their JWT-SVIDs with.
    ///
    /// # Errors
    ///
    /// As for [`fetch_x509_bundles`](Self::fetch_x509_bundles).
    pub async fn fetch_jwt_bundles(&self) -> Result<BundleSet, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_jwt_bundles().await?.next().await })
            .await
    }

    /// A watch of these. It ends when the connection does;
    /// [`jwt_bundle_source`](Self::jwt_bundle_source) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer in time.
    pub async fn watch_jwt_bundles(&self) -> Result<BundleWatch, WorkloadApiError> {
        let opening = async {
            let mut service = self.service().await?;
            let opened = service.subscribe_to_jwt_bundles(SubscribeToJwtBundlesRequest {});
            opened.await.map_err(refused)
        };
        let messages = self.client.prompt(opening).await?.into_inner();
        let messages = messages.map(|message| Ok(message?.bundles.into_iter().collect()));
        Ok(self.client.bundle_watch(messages, jwt_keys))
    }

    async fn service(&self) -> Result<Service<Channel>, WorkloadApiError> {
        let limit = self.client.limits().message();
        Ok(Service::new(self.client.connect().await?).max_decoding_message_size(limit))
    }
}
