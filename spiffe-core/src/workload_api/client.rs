//! The client: a connection of its own for each call, so that nothing outlives the stream it serves.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tower::service_fn;
use tracing::warn;
use zeroize::Zeroize;

use super::decode::{self, Decoded};
use super::{Endpoint, WorkloadApiError};
use crate::clock::{Clock, SystemClock};
use crate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::proto::workload::{X509svidRequest, X509svidResponse};
use crate::snapshot::IdentitySnapshot;

/// A client of the Workload API. Cheap to clone; it connects when it is asked something.
#[derive(Debug, Clone)]
pub struct WorkloadApiClient {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl WorkloadApiClient {
    /// The most bytes that one message may have.
    pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

    /// A client of the API at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            clock: Arc::new(SystemClock),
        }
    }

    /// A client of the API that the environment names.
    ///
    /// # Errors
    ///
    /// As for [`Endpoint::from_env`].
    pub fn from_env() -> Result<Self, WorkloadApiError> {
        Ok(Self::new(Endpoint::from_env()?))
    }

    /// The same client with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Where it connects to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The identities and bundles of this moment.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, refuses, or sends no identity that can be used.
    pub async fn fetch_x509(&self) -> Result<IdentitySnapshot, WorkloadApiError> {
        self.watch_x509().await?.next().await
    }

    /// A watch of the identities and bundles. It ends when the connection does;
    /// [`X509Source`](crate::source::X509Source) is one that does not.
    ///
    /// # Errors
    ///
    /// Where the API cannot be reached, or refuses.
    pub async fn watch_x509(&self) -> Result<X509Watch, WorkloadApiError> {
        self.watch_x509_from(IdentitySnapshot::default()).await
    }

    /// A watch that goes on from what is known already.
    pub(super) async fn watch_x509_from(
        &self,
        latest: IdentitySnapshot,
    ) -> Result<X509Watch, WorkloadApiError> {
        let mut request = Request::new(X509svidRequest {});
        // It keeps requests out that a workload was tricked into (SPIFFE Workload Endpoint section 3).
        request
            .metadata_mut()
            .insert("workload.spiffe.io", MetadataValue::from_static("true"));
        let messages = SpiffeWorkloadApiClient::new(self.connect().await?)
            .max_decoding_message_size(Self::MAX_MESSAGE)
            .fetch_x509svid(request)
            .await
            .map_err(refused)?
            .into_inner();
        Ok(X509Watch {
            messages,
            latest,
            clock: Arc::clone(&self.clock),
        })
    }

    async fn connect(&self) -> Result<Channel, WorkloadApiError> {
        let io = self.endpoint.connect().await.map_err(|source| {
            let endpoint = self.endpoint.clone();
            WorkloadApiError::Unreachable { endpoint, source }
        })?;
        // The channel may ask again when the connection ends. It gets no second one: to reconnect is
        // the session's business.
        let mut io = Some(TokioIo::new(io));
        let once = service_fn(move |_| {
            let io = io.take();
            async move { io.ok_or(io::Error::from(io::ErrorKind::NotConnected)) }
        });
        tonic::transport::Endpoint::from_static("http://localhost")
            .http2_keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .connect_with_connector(once)
            .await
            .map_err(|source| WorkloadApiError::Handshake {
                endpoint: self.endpoint.clone(),
                source,
            })
    }
}

/// The messages of one stream, each read into a snapshot.
pub struct X509Watch {
    messages: Streaming<X509svidResponse>,
    latest: IdentitySnapshot,
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
        let Decoded { snapshot, flaws } = self.decoded().await?;
        match (snapshot.svids(), flaws.into_iter().next()) {
            ([], Some(flaw)) => Err(flaw.into()),
            _ => Ok(snapshot),
        }
    }

    /// The next snapshot, also where there is no SVID in it, with what was left out.
    pub(super) async fn decoded(&mut self) -> Result<Decoded, WorkloadApiError> {
        let message = self.messages.message().await.map_err(refused)?;
        let mut message = message.ok_or(WorkloadApiError::Ended)?;
        let decoded = decode::x509(&message, &self.latest, self.clock.now());
        // The keys live on in the SVIDs, which wipe them as well.
        for svid in &mut message.svids {
            svid.x509_svid_key.zeroize();
        }
        let decoded = decoded?;
        for flaw in &decoded.flaws {
            warn!(error = %flaw, "part of a Workload API message ignored");
        }
        self.latest = decoded.snapshot.clone();
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

/// After how much silence the other end is asked whether it is still there: an agent behind `tcp`
/// may be gone without a word. Servers written in Go, as SPIRE's agent is, take a ping more often
/// than every five minutes for abuse.
const PING_AFTER: Duration = Duration::from_secs(6 * 60);
/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

fn refused(status: tonic::Status) -> WorkloadApiError {
    WorkloadApiError::Refused(Box::new(status))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_api_that_fell_silent_is_noticed() {
        let (answerer, _held) = mpsc::unbounded_channel();
        let client = WorkloadApiClient::new(Endpoint::memory(answerer));
        let begin = Instant::now();
        let fetched = timeout(Duration::from_secs(3600), client.fetch_x509()).await;
        let why = fetched.unwrap().unwrap_err();
        assert!(matches!(why, WorkloadApiError::Refused(_)), "{why}");
        assert_eq!(begin.elapsed(), PING_AFTER + PING_TIMEOUT);
    }
}
