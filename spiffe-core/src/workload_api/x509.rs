//! The calls for X.509-SVIDs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tracing::warn;
use zeroize::Zeroize;

use super::client::{Api, refused, request};
use super::decode::{self, Decoded};
use super::{Limits, WorkloadApiClient, WorkloadApiError};
use crate::clock::Clock;
use crate::proto::workload::{X509svidRequest, X509svidResponse};
use crate::snapshot::IdentitySnapshot;
use crate::with_causes;

impl WorkloadApiClient {
    /// The identities and bundles of this moment.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, says nothing for 30 seconds, or sends no identity
    /// that can be used.
    pub async fn fetch_x509(&self) -> Result<IdentitySnapshot, WorkloadApiError> {
        self.prompt(async { self.watch_x509().await?.next().await })
            .await
    }

    /// A watch of the identities and bundles. It ends when the connection does;
    /// [`X509Source`](crate::source::X509Source) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or does not answer for 30 seconds.
    pub async fn watch_x509(&self) -> Result<X509Watch, WorkloadApiError> {
        self.watch_x509_from(IdentitySnapshot::default()).await
    }

    /// A watch that goes on from what is known already.
    pub(super) async fn watch_x509_from(
        &self,
        latest: IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let ask =
            |mut api: Api| async move { api.fetch_x509svid(request(X509svidRequest {})).await };
        Ok(self.x509_watch(self.open(ask).await?, latest))
    }

    /// What reads these messages, to go on from what is known already.
    pub(crate) fn x509_watch(
        &self,
        messages: impl Stream<Item = Result<X509svidResponse, Status>> + Send + 'static,
        latest: IdentitySnapshot,
    ) -> X509Watch {
        X509Watch {
            messages: Box::pin(messages),
            latest,
            limits: *self.limits(),
            clock: Arc::clone(self.clock()),
        }
    }
}

/// The messages of one stream, each read into a snapshot.
pub struct X509Watch {
    messages: Pin<Box<dyn Stream<Item = Result<X509svidResponse, Status>> + Send>>,
    latest: IdentitySnapshot,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl X509Watch {
    /// The next snapshot; the first one comes at once. It replaces the one before it, except for
    /// what came with a flaw: an SVID that cannot be used leaves the old one in place. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Unusable`](WorkloadApiError::Unusable) where a message brought no identity, and then more
    /// may come. After any other error the stream is over.
    pub async fn next(&mut self) -> Result<IdentitySnapshot, WorkloadApiError> {
        let Decoded { value, flaws } = self.decoded().await?;
        match (value.svids(), flaws.into_iter().next()) {
            ([], Some(flaw)) => Err(flaw.into()),
            _ => Ok(value),
        }
    }

    /// The next snapshot, also where there is no SVID in it, with what was left out.
    pub(crate) async fn decoded(&mut self) -> Result<Decoded<IdentitySnapshot>, WorkloadApiError> {
        let message = self.messages.next().await.ok_or(WorkloadApiError::Ended)?;
        let mut message = message.map_err(refused)?;
        let decoded = decode::x509(&message, &self.latest, self.clock.now(), &self.limits);
        // The keys live on in the SVIDs, which wipe them as well.
        for svid in &mut message.svids {
            svid.x509_svid_key.zeroize();
        }
        let decoded = decoded?;
        for flaw in &decoded.flaws {
            warn!(error = %with_causes(flaw), "part of a Workload API message ignored");
        }
        self.latest = decoded.value.clone();
        Ok(decoded)
    }
}

impl fmt::Debug for X509Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Watch")
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}
