//! The SPIFFE Broker API: identities of workloads that a broker refers to. The standard calls it
//! incubating, and this module may change with it.
//!
//! It is spoken by mutual TLS, over a Unix socket too, with the broker's own identity:
//!
//! ```no_run
//! use spiffe_core::authorizer::{exactly, member_of};
//! use spiffe_core::broker::{BrokerClient, BrokerEndpoint, Reference};
//! use spiffe_core::{SourceExt, SpiffeId, X509Source, spiffe_id};
//!
//! # async fn example(pid: u32) -> Result<(), Box<dyn std::error::Error>> {
//! const AGENT: SpiffeId = spiffe_id!("spiffe://example.org/spire/agent/x509pop/node");
//!
//! let own = X509Source::connect().await?;
//! // Reads SPIFFE_BROKER_SOCKET.
//! let broker = BrokerClient::new(BrokerEndpoint::from_env()?, own.client(exactly(AGENT)));
//!
//! // What that one workload has, to be used for it and for nobody else.
//! let of = broker.x509_source(Reference::process(pid)?).connect().await?;
//! let server = of.server(member_of("example.org".parse()?));
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! What comes is judged as what the [Workload API](crate::workload_api) sends, within the same limits.
//! Sources try again by the same table of codes, but for two: after `PermissionDenied` they wait half a
//! minute at least, and after `NotFound` they stop, for the workload is gone. Either way they withdraw
//! all that they had for it, unless `when_denied` says otherwise of the former. A source of its own for each workload keeps the identities and bundles of
//! the one from being used for another.

mod endpoint;
mod feeds;
mod messages;
mod reference;

use std::sync::Arc;

use tokio_stream::StreamExt;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use crate::SpiffeId;
use crate::bundle::BundleSet;
use crate::clock::Clock;
use crate::jwt::JwtSvid;
use crate::proto::broker::api_client::ApiClient;
use crate::proto::broker::{
    FetchJwtsvidRequest, SubscribeToJwtBundlesRequest, SubscribeToX509BundlesRequest,
    SubscribeToX509svidRequest,
};
use crate::snapshot::IdentitySnapshot;
use crate::source::{BundleSourceBuilder, X509SourceBuilder};
use crate::tls::ClientTls;
use crate::workload_api::{
    BundleWatch, Endpoint, Limits, Wanted, WorkloadApiClient, WorkloadApiError, X509Watch,
    jwt_keys, named, refused, x509_authorities,
};

use self::feeds::{Bundles, Identities, Kind};

pub use endpoint::{BROKER_SOCKET, BrokerEndpoint, BrokerEndpointError};
pub use reference::{KubernetesObject, Reference, ReferenceError};

/// A client of the Broker API. Cheap to clone; it connects when it is asked something.
#[derive(Debug, Clone)]
pub struct BrokerClient {
    client: WorkloadApiClient,
    /// Whether the agent is on this machine.
    is_here: bool,
}

impl BrokerClient {
    /// A client of the agent at `endpoint`, with the identity of `tls`. Whom that lets pass must be the
    /// very agent (SPIFFE Broker Endpoint section 5): take [`exactly`](crate::authorizer::exactly).
    ///
    /// Each connection shows the newest certificate that there is.
    #[must_use]
    pub fn new(endpoint: BrokerEndpoint, tls: ClientTls) -> Self {
        Self {
            is_here: endpoint.is_here(),
            client: WorkloadApiClient::new(endpoint.secured(tls)),
        }
    }

    /// The same agent by the same way, asked with the limits and the clock of `client`. No other way is
    /// known to be secured, or to lead to this machine.
    fn like(&self, client: &WorkloadApiClient) -> Self {
        self.clone()
            .with_limits(*client.limits())
            .with_clock(Arc::clone(client.clock()))
    }

    /// The same client with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            client: self.client.with_clock(clock),
            ..self
        }
    }

    /// The same client that reads as much as these limits say.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self {
            client: self.client.with_limits(limits),
            ..self
        }
    }

    /// Where it connects to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// Settings of a source that shows what this workload has, always the latest.
    pub fn x509_source(&self, of: Reference) -> X509SourceBuilder {
        let client = self.clone();
        X509SourceBuilder::following(&self.client, Identities { client, of })
    }

    /// Settings of a source that shows the X.509 authorities that this workload may use, always the
    /// latest.
    pub fn x509_bundle_source(&self, of: Reference) -> BundleSourceBuilder {
        self.bundle_source(of, Kind::X509)
    }

    /// Settings of a source that shows the keys which this workload may verify JWT-SVIDs with, always
    /// the latest.
    pub fn jwt_bundle_source(&self, of: Reference) -> BundleSourceBuilder {
        self.bundle_source(of, Kind::Jwt)
    }

    fn bundle_source(&self, of: Reference, kind: Kind) -> BundleSourceBuilder {
        let client = self.clone();
        BundleSourceBuilder::following(&self.client, Bundles { client, of, kind })
    }

    /// The identities that this workload has at this moment, and the bundles that go with them (SPIFFE
    /// Broker API section 5.2.1).
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no identity that
    /// can be used; where a process is referred to and the agent is on another machine.
    pub async fn fetch_x509(&self, of: &Reference) -> Result<IdentitySnapshot, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_x509(of).await?.next().await })
            .await
    }

    /// A watch of these. It ends when the connection does; [`x509_source`](Self::x509_source) is one
    /// that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer in time; where a process is referred
    /// to and the agent is on another machine.
    pub async fn watch_x509(&self, of: &Reference) -> Result<X509Watch, WorkloadApiError> {
        self.watch_x509_from(of, IdentitySnapshot::default()).await
    }

    async fn watch_x509_from(
        &self,
        of: &Reference,
        latest: IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let reference = Some(of.to_wire());
        let asked = request(SubscribeToX509svidRequest { reference });
        let opening = async {
            let mut service = self.service(of).await?;
            service.subscribe_to_x509svid(asked).await.map_err(refused)
        };
        let messages = self.client.prompt(opening).await?.into_inner();
        let messages = messages.map(|message| message.map(messages::x509));
        Ok(self.client.x509_watch(messages, latest))
    }

    /// The X.509 authorities that this workload may use at this moment (SPIFFE Broker API section
    /// 5.2.2).
    ///
    /// # Errors
    ///
    /// As for [`fetch_x509`](Self::fetch_x509).
    pub async fn fetch_x509_bundles(&self, of: &Reference) -> Result<BundleSet, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_x509_bundles(of).await?.next().await })
            .await
    }

    /// A watch of these. It ends when the connection does;
    /// [`x509_bundle_source`](Self::x509_bundle_source) is one that does not.
    ///
    /// # Errors
    ///
    /// As for [`watch_x509`](Self::watch_x509).
    pub async fn watch_x509_bundles(
        &self,
        of: &Reference,
    ) -> Result<BundleWatch, WorkloadApiError> {
        let reference = Some(of.to_wire());
        let asked = request(SubscribeToX509BundlesRequest { reference });
        let opening = async {
            let mut service = self.service(of).await?;
            service
                .subscribe_to_x509_bundles(asked)
                .await
                .map_err(refused)
        };
        let messages = self.client.prompt(opening).await?.into_inner();
        let messages = messages.map(|message| Ok(message?.bundles.into_iter().collect()));
        Ok(self.client.bundle_watch(messages, x509_authorities))
    }

    /// JWT-SVIDs of this workload for this audience: of one identity, or of all that it has (SPIFFE
    /// Broker API section 6.2.1). There is at least one, and the first is the default one.
    ///
    /// # Errors
    ///
    /// Where no audience is named, and as for [`fetch_x509`](Self::fetch_x509).
    pub async fn fetch_jwt_svids(
        &self,
        of: &Reference,
        audience: impl IntoIterator<Item = impl Into<String>>,
        id: Option<&SpiffeId>,
    ) -> Result<Vec<JwtSvid>, WorkloadApiError> {
        let audience = named(audience)?;
        let asked = request(FetchJwtsvidRequest {
            reference: Some(of.to_wire()),
            audience: audience.clone(),
            spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        });
        let answer = async {
            let mut service = self.service(of).await?;
            service.fetch_jwtsvid(asked).await.map_err(refused)
        };
        let answer = self.client.prompt(answer).await?.into_inner();
        let audience = &audience;
        self.client
            .read_jwt(&messages::tokens(answer), Wanted { id, audience })
    }

    /// The keys which this workload may verify JWT-SVIDs with at this moment (SPIFFE Broker API section
    /// 6.2.2).
    ///
    /// # Errors
    ///
    /// As for [`fetch_x509`](Self::fetch_x509).
    pub async fn fetch_jwt_bundles(&self, of: &Reference) -> Result<BundleSet, WorkloadApiError> {
        self.client
            .prompt(async { self.watch_jwt_bundles(of).await?.next().await })
            .await
    }

    /// A watch of these. It ends when the connection does;
    /// [`jwt_bundle_source`](Self::jwt_bundle_source) is one that does not.
    ///
    /// # Errors
    ///
    /// As for [`watch_x509`](Self::watch_x509).
    pub async fn watch_jwt_bundles(&self, of: &Reference) -> Result<BundleWatch, WorkloadApiError> {
        let reference = Some(of.to_wire());
        let asked = request(SubscribeToJwtBundlesRequest { reference });
        let opening = async {
            let mut service = self.service(of).await?;
            service
                .subscribe_to_jwt_bundles(asked)
                .await
                .map_err(refused)
        };
        let messages = self.client.prompt(opening).await?.into_inner();
        let messages = messages.map(|message| Ok(message?.bundles.into_iter().collect()));
        Ok(self.client.bundle_watch(messages, jwt_keys))
    }

    /// The API, connected to for one call about this workload.
    async fn service(&self, of: &Reference) -> Result<ApiClient<Channel>, WorkloadApiError> {
        if of.is_local() && !self.is_here {
            let endpoint = self.client.endpoint().clone();
            return Err(WorkloadApiError::NotOnThisMachine { endpoint });
        }
        let limit = self.client.limits().message();
        Ok(ApiClient::new(self.client.connect().await?).max_decoding_message_size(limit))
    }
}

/// A request with the header that every request has (SPIFFE Broker Endpoint section 3).
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("broker.spiffe.io", MetadataValue::from_static("true"));
    request
}
