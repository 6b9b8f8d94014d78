//! The server as its agent calls it: typed calls, one connection, refusals with a meaning.

mod calls;
mod entries;
mod refusal;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use spiffe_core::IdentitySnapshot;
use spiffe_core::source::{IdentitySource, SnapshotCell};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::lifecycle::Why;

pub use calls::{Admitted, AttestCallError, Wanted};
pub use refusal::{CallError, Refusal};

/// The server; cheap to clone.
#[derive(Clone)]
pub struct ServerClient(Arc<Inner>);

struct Inner {
    dialer: Box<dyn Dialer>,
    identity: Arc<SnapshotCell>,
    link: ArcSwapOption<Link>,
    turned_away: mpsc::Sender<TurnedAway>,
}

/// A connection, and the generation of our identity that it was made with.
struct Link {
    generation: u64,
    channel: Channel,
}

/// Makes connections to the server, which present what our identity is at that moment.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// A new connection. It may be made only when it is used.
    ///
    /// # Errors
    ///
    /// Where it cannot be prepared.
    async fn dial(&self) -> Result<Channel, Box<dyn StdError + Send + Sync>>;
}

/// A call was turned away that was made with this generation of our identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnedAway {
    /// Why.
    pub why: Why,
    /// With which identity; news of an old one is no news.
    pub generation: u64,
}

impl ServerClient {
    /// The server that `dialer` reaches, called as who `identity` says. Calls that it turns away are
    /// told on the second value.
    pub fn new(
        dialer: Box<dyn Dialer>,
        identity: Arc<SnapshotCell>,
    ) -> (Self, mpsc::Receiver<TurnedAway>) {
        let (turned_away, told) = mpsc::channel(16);
        let inner = Inner {
            dialer,
            identity,
            link: ArcSwapOption::empty(),
            turned_away,
        };
        (Self(Arc::new(inner)), told)
    }

    /// The server that `dialer` reaches, called as nobody.
    #[must_use]
    pub fn anonymous(dialer: Box<dyn Dialer>) -> Self {
        let nobody = Arc::new(SnapshotCell::new(IdentitySnapshot::default()));
        Self::new(dialer, nobody).0
    }

    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, CallError> {
        self.call_with_generation(call)
            .await
            .map(|(_, answer)| answer)
    }

    /// Makes a call with our identity, and tells if it was turned away.
    async fn call_with_generation<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<(u64, T), CallError> {
        let link = self.link().await?;
        let answer = in_time(call(link.channel.clone())).await;
        answer
            .map(|answer| (link.generation, answer.into_inner()))
            .inspect_err(|error| self.tell(error, link.generation))
    }

    fn tell(&self, error: &CallError, generation: u64) {
        let why = error.why();
        if !matches!(why, Why::Later | Why::Never) {
            // Whoever listens is behind with the same news if there is no room.
            let _ = self.0.turned_away.try_send(TurnedAway { why, generation });
        }
    }

    /// The connection that was made with the identity that we have now: after each change of it, be
    /// it the SVID or the bundle, there is a new one.
    async fn link(&self) -> Result<Arc<Link>, CallError> {
        let generation = self.0.identity.snapshot().generation();
        if let Some(link) = self.0.link.load_full()
            && link.generation == generation
        {
            return Ok(link);
        }
        let channel = self.0.dialer.dial().await.map_err(CallError::Dial)?;
        let link = Arc::new(Link {
            generation,
            channel,
        });
        self.0.link.store(Some(link.clone()));
        Ok(link)
    }
}

impl fmt::Debug for ServerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerClient").finish_non_exhaustive()
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, CallError> {
    match timeout(RPC_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::TimedOut),
    }
}

/// Longer than a server under load takes, shorter than anybody waits.
const RPC_TIMEOUT: Duration = Duration::from_secs(30);
