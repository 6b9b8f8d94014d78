//! The calls for bundles, X.509 and others.

use std::fmt;
use std::pin::Pin;

use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tracing::warn;

use super::client::{Api, refused, request};
use super::decode::{self, Bundles, Decoded, ReadBundle};
use super::{Limits, WorkloadApiClient, WorkloadApiError};
use crate::bundle::BundleSet;
#[cfg(feature = "incubating-wit")]
use crate::proto::workload::WitBundlesRequest;
use crate::proto::workload::{JwtBundlesRequest, X509BundlesRequest};
use crate::with_causes;

impl WorkloadApiClient {
    /// The bundles of this moment that X.509-SVIDs are verified with (SPIFFE Workload API section
    /// 5.2.2). It needs no identity of one's own.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no bundle that
    /// can be used.
    pub async fn fetch_x509_bundles(&self) -> Result<BundleSet, WorkloadApiError> {
        self.prompt(async { self.watch_x509_bundles().await?.next().await })
            .await
    }

    /// A watch of the bundles that X.509-SVIDs are verified with. It ends when the connection does;
    /// [`BundleSource`](crate::source::BundleSource) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer for 30 seconds.
    pub async fn watch_x509_bundles(&self) -> Result<BundleWatch, WorkloadApiError> {
        let ask = |mut api: Api| async move {
            api.fetch_x509_bundles(request(X509BundlesRequest {})).await
        };
        let messages = self
            .open(ask)
            .await?
            .map(|message| Ok(message?.bundles.into_iter().collect()));
        Ok(self.bundle_watch(messages, decode::x509_authorities))
    }

    /// The bundles of this moment that JWT-SVIDs are verified with (SPIFFE Workload API section
    /// 6.2.2).
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no bundle that
    /// can be used.
    pub async fn fetch_jwt_bundles(&self) -> Result<BundleSet, WorkloadApiError> {
        self.prompt(async { self.watch_jwt_bundles().await?.next().await })
            .await
    }

    /// A watch of the bundles that JWT-SVIDs are verified with. It ends when the connection does;
    /// [`JwtSource`](crate::source::JwtSource) has one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer for 30 seconds.
    pub async fn watch_jwt_bundles(&self) -> Result<BundleWatch, WorkloadApiError> {
        let ask = |mut api: Api| async move {
            api.fetch_jwt_bundles(request(JwtBundlesRequest {})).await
        };
        let messages = self
            .open(ask)
            .await?
            .map(|message| Ok(message?.bundles.into_iter().collect()));
        Ok(self.bundle_watch(messages, decode::jwt_keys))
    }

    /// The bundles of this moment that WIT-SVIDs are verified with (SPIFFE Workload API section
    /// 7.2.2).
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no bundle that
    /// can be used. An API without WIT-SVIDs answers `Unimplemented`, and will do so the next time
    /// (section 7).
    #[cfg(feature = "incubating-wit")]
    pub async fn fetch_wit_bundles(&self) -> Result<BundleSet, WorkloadApiError> {
        self.prompt(async { self.watch_wit_bundles().await?.next().await })
            .await
    }

    /// A watch of the bundles that WIT-SVIDs are verified with. It ends when the connection does.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer for 30 seconds.
    #[cfg(feature = "incubating-wit")]
    pub async fn watch_wit_bundles(&self) -> Result<BundleWatch, WorkloadApiError> {
        let ask = |mut api: Api| async move {
            api.fetch_wit_bundles(request(WitBundlesRequest {})).await
        };
        let messages = self.open(ask).await?.map(|message| {
            let bundles = message?.bundles.into_iter();
            Ok(bundles
                .map(|(name, jwks)| (name, jwks.into_bytes()))
                .collect())
        });
        Ok(self.bundle_watch(messages, decode::wit_keys))
    }

    /// What reads these messages, each bundle in this way.
    pub(crate) fn bundle_watch(
        &self,
        messages: impl Stream<Item = Result<Bundles, Status>> + Send + 'static,
        read: ReadBundle,
    ) -> BundleWatch {
        BundleWatch {
            messages: Box::pin(messages),
            read,
            limits: *self.limits(),
        }
    }
}

/// The messages of one stream of bundles, each read.
pub struct BundleWatch {
    messages: Pin<Box<dyn Stream<Item = Result<Bundles, Status>> + Send>>,
    read: ReadBundle,
    limits: Limits,
}

impl BundleWatch {
    /// The next bundles; the first ones come at once. They replace the ones before them: of a trust
    /// domain that is left out, or whose bundle has a flaw, nobody is believed any more. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Unusable`](WorkloadApiError::Unusable) where a message brought no bundle that can be used,
    /// and then more may come. After any other error the stream is over.
    pub async fn next(&mut self) -> Result<BundleSet, WorkloadApiError> {
        Ok(self.decoded().await?.value)
    }

    pub(crate) async fn decoded(&mut self) -> Result<Decoded<BundleSet>, WorkloadApiError> {
        let message = self.messages.next().await.ok_or(WorkloadApiError::Ended)?;
        let message = message.map_err(refused)?;
        let decoded = decode::bundles(&message, self.read, &self.limits)?;
        for flaw in &decoded.flaws {
            warn!(error = %with_causes(flaw), "part of a Workload API message ignored");
        }
        Ok(decoded)
    }
}

impl fmt::Debug for BundleWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleWatch").finish_non_exhaustive()
    }
}
