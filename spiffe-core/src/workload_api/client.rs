//! The client: a connection of its own for each call, so that nothing outlives the stream it serves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use super::{Endpoint, Limits, WorkloadApiError};
use crate::clock::{Clock, SystemClock};
use crate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;

/// The API over a connection.
pub(super) type Api = SpiffeWorkloadApiClient<Channel>;

/// A client of the Workload API. Cheap to clone; it connects when it is asked something.
#[derive(Debug, Clone)]
pub struct WorkloadApiClient {
    endpoint: Endpoint,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl WorkloadApiClient {
    /// A client of the API at `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            limits: Limits::default(),
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

    /// The same client that reads as much as these limits say.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where it connects to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The API, connected to for one call.
    pub(super) async fn service(&self) -> Result<Api, WorkloadApiError> {
        let channel = self.connect().await?;
        Ok(SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(self.limits.message()))
    }

    /// Opens a stream. Who answers pings and nothing else is not waited for.
    pub(super) async fn open<T, F>(
        &self,
        ask: impl FnOnce(Api) -> F,
    ) -> Result<Streaming<T>, WorkloadApiError>
    where
        F: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let opening = async { ask(self.service().await?).await.map_err(refused) };
        Ok(self.prompt(opening).await?.into_inner())
    }

    /// Waits for an answer that is to come at once.
    pub(crate) async fn prompt<T>(
        &self,
        answer: impl Future<Output = Result<T, WorkloadApiError>>,
    ) -> Result<T, WorkloadApiError> {
        let silent = |_| WorkloadApiError::Silent {
            endpoint: self.endpoint.clone(),
            waited: ANSWER_TIMEOUT,
        };
        timeout(ANSWER_TIMEOUT, answer).await.map_err(silent)?
    }

    /// A connection for one call.
    pub(crate) async fn connect(&self) -> Result<Channel, WorkloadApiError> {
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

/// A request with the header that every request has: it keeps those out that a workload was tricked
/// into (SPIFFE Workload Endpoint section 3).
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

pub(crate) fn refused(status: Status) -> WorkloadApiError {
    WorkloadApiError::Refused(Box::new(status))
}

/// How long an answer may take, and the beginning of one that is a stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// After how much silence the other end is asked whether it is still there: an agent behind `tcp`
/// may be gone without a word. Servers written in Go, as SPIRE's agent is, take a ping more often
/// than every five minutes for abuse.
const PING_AFTER: Duration = Duration::from_secs(6 * 60);
/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::proto::workload::JwtBundlesRequest;

    /// It takes connections and says nothing.
    fn client_of_a_silent_api() -> WorkloadApiClient {
        let held = Mutex::new(Vec::new());
        WorkloadApiClient::new(Endpoint::custom("memory", move || {
            let (near, far) = tokio::io::duplex(1024);
            held.lock().unwrap().push(far);
            std::future::ready(Ok(near))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_fell_silent_is_noticed() {
        let client = client_of_a_silent_api();
        let begin = Instant::now();
        let mut api = client.service().await.unwrap();
        let asked = api.fetch_jwt_bundles(request(JwtBundlesRequest {}));
        let asked = timeout(Duration::from_secs(3600), asked).await;
        asked.unwrap().unwrap_err();
        assert_eq!(begin.elapsed(), PING_AFTER + PING_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_awaited_for_long() {
        let client = client_of_a_silent_api();
        let begin = Instant::now();
        let why = client.fetch_jwt_svids(["db"], None).await.unwrap_err();
        assert_eq!(begin.elapsed(), ANSWER_TIMEOUT);
        assert_eq!(why.to_string(), "memory has not answered within 30s");
    }
}
