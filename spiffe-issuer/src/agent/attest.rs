//! Keeps the agent attested: does what its [lifecycle](super::lifecycle) asks for.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe_core::TrustBundle;
use spiffe_core::clock::{Clock, sleep_until};
use tokio::sync::mpsc;

use super::bootstrap::{Bootstrap, BootstrapError};
use super::cache::Cache;
use super::csr::{self, RequestError};
use super::lifecycle::{Action, End, Event, Lifecycle, Term, Why};
use super::own_identity::{NextKey, OwnIdentity, OwnIdentityError};
use super::server_client::{AttestCallError, CallError, ServerClient, TurnedAway};
use crate::attestation::AttestError;
use crate::attestation::node::NodeProver;
use crate::keys::KeyError;
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};

/// What keeping an agent attested takes.
pub struct Attestation {
    /// The identity to keep.
    pub own: Arc<OwnIdentity>,
    /// The server.
    pub server: ServerClient,
    /// What the server calls our way of proving ourselves.
    pub attestor: &'static str,
    /// Our half of it.
    pub prover: Arc<dyn NodeProver>,
    /// Whom to believe at first.
    pub bootstrap: Bootstrap,
    /// What is taken back from workloads when we are no agent any more.
    pub cache: Arc<Cache>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where it says how it stands.
    pub health: Part,
    /// Calls that were turned away.
    pub turned_away: mpsc::Receiver<TurnedAway>,
    /// Told when our identity was signed by one that is tainted.
    pub tainted: mpsc::Receiver<()>,
}

impl Attestation {
    /// Keeps the agent attested, beginning with the identity of these times, if there is one.
    ///
    /// # Errors
    ///
    /// Why it is no agent any more.
    pub async fn run(mut self, found: Option<Term>, stop: Shutdown) -> Result<(), TaskError> {
        let now = self.clock.now();
        let (mut state, mut actions) = Lifecycle::start(found, now);
        let mut wake = now;
        loop {
            self.tell(&state);
            let mut event = None;
            for action in actions {
                match action {
                    Action::Attest => event = Some(unless(&stop, self.attest(&state)).await),
                    Action::Forget => self.own.forget().await,
                    Action::Renew => event = Some(unless(&stop, self.renew()).await),
                    Action::Sleep(until) => wake = until,
                    Action::Stop(end) => return Err(self.stopped(end).into()),
                }
            }
            let event = match event {
                Some(asked) => asked,
                None => unless(&stop, self.next_event(wake)).await,
            };
            let Some(event) = event else { return Ok(()) };
            let (now, luck) = (self.clock.now(), fastrand::f64());
            (state, actions) = state.handle(event, now, luck);
        }
    }

    /// What happens while nothing is to be done.
    async fn next_event(&mut self, wake: SystemTime) -> Event {
        loop {
            tokio::select! {
                () = sleep_until(&*self.clock, wake) => return Event::TimerFired,
                Some(()) = self.tainted.recv() => {
                    tracing::warn!("Agent SVID is tainted by a root authority, forcing rotation");
                    return Event::Tainted;
                }
                Some(told) = self.turned_away.recv() => {
                    // What was said to an identity that is no longer in force does not matter.
                    if told.generation == self.own.generation() {
                        return Event::TurnedAway(told.why);
                    }
                }
            }
        }
    }

    async fn attest(&self, state: &Lifecycle) -> Event {
        match state {
            Lifecycle::Renewing { .. } => tracing::info!("Attesting again to renew the agent SVID"),
            _ => tracing::info!("SVID is not found. Starting node attestation"),
        }
        self.outcome(self.try_attest().await, "Node attestation failed")
    }

    async fn try_attest(&self) -> Result<Term, AttestationError> {
        if !self.own.has_proven_bundle() {
            self.own.try_bundle(self.first_bundle().await?);
        }
        let (key, csr) = self.next_key().await?;
        let claim = self.prover.claim(key.signer().public_key()).await?;
        let admitted = self
            .server
            .attest(self.attestor, claim, &*self.prover, csr)
            .await?;
        let can_reattest = admitted.can_reattest;
        let term = self.adopt(admitted.chain, &key, can_reattest).await?;
        tracing::info!(
            spiffe_id = self.own.id().map(tracing::field::display),
            reattestable = can_reattest,
            "Node attestation was successful"
        );
        Ok(term)
    }

    async fn first_bundle(&self) -> Result<TrustBundle, BootstrapError> {
        self.bootstrap.bundle(self.own.trust_domain()).await
    }

    async fn renew(&self) -> Event {
        self.outcome(self.try_renew().await, "Renewing the agent SVID failed")
    }

    async fn try_renew(&self) -> Result<Term, AttestationError> {
        let (key, csr) = self.next_key().await?;
        let chain = self.server.renew(csr).await?;
        let term = self.adopt(chain, &key, false).await?;
        tracing::info!(
            spiffe_id = self.own.id().map(tracing::field::display),
            "Agent SVID renewed"
        );
        Ok(term)
    }

    async fn next_key(&self) -> Result<(NextKey, Vec<u8>), AttestationError> {
        let key = self.own.next_key().await?;
        let signer = key.signer().clone();
        let csr = tokio::task::spawn_blocking(move || csr::request(&*signer))
            .await
            .map_err(|_| AttestationError::Stopped)??;
        Ok((key, csr))
    }

    async fn adopt(
        &self,
        chain: Vec<spiffe_core::x509::Certificate>,
        key: &NextKey,
        can_reattest: bool,
    ) -> Result<Term, OwnIdentityError> {
        self.own
            .adopt(chain, key, can_reattest, self.clock.now())
            .await
    }

    fn outcome(&self, outcome: Result<Term, AttestationError>, what: &'static str) -> Event {
        match outcome {
            Ok(term) => Event::Admitted(term),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "{what}");
                Event::Failed(error.why())
            }
        }
    }

    /// Says how the agent stands, in its health and, when it is not well, in its log.
    fn tell(&mut self, state: &Lifecycle) {
        match state {
            Lifecycle::Attested { .. } | Lifecycle::Renewing { failures: 0, .. } => {
                self.health.succeeded();
            }
            Lifecycle::Unattested { failures: 0 } => {}
            Lifecycle::Lapsed
            | Lifecycle::Reattesting { .. }
            | Lifecycle::Renewing { .. }
            | Lifecycle::Unattested { .. } => {
                self.health.unready(state);
                tracing::warn!("This agent is not well: {state}");
            }
            Lifecycle::Ended(_) => self.health.died(state),
        }
    }

    /// Takes back what workloads were given where this agent is none any more.
    fn stopped(&self, end: End) -> End {
        match end {
            End::Banned => {
                tracing::error!("Agent is banned: removing SVID and shutting down");
                self.cache.withdraw(self.clock.now());
            }
            End::Evicted => {
                tracing::error!("Agent is no longer known: removing SVID and shutting down")
            }
            End::Refused => {}
        }
        end
    }
}

/// What is done unless the process stops before.
async fn unless<E>(stop: &Shutdown, work: impl Future<Output = E>) -> Option<E> {
    stop.run_until_cancelled(work).await
}

/// Why attesting or renewing came to nothing.
#[derive(Debug, thiserror::Error)]
enum AttestationError {
    #[error("there is nobody to believe")]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the key for the agent SVID cannot be made")]
    Key(#[from] KeyError),
    #[error("the agent SVID that the server gave is not good")]
    NotGood(#[from] OwnIdentityError),
    #[error("there is no proof of what this node is")]
    Prove(#[from] AttestError),
    #[error("the key for the agent SVID cannot ask for one")]
    Request(#[from] RequestError),
    #[error("the work was stopped")]
    Stopped,
}

impl From<AttestCallError> for AttestationError {
    fn from(error: AttestCallError) -> Self {
        match error {
            AttestCallError::Call(error) => Self::Call(error),
            AttestCallError::Prove(error) => Self::Prove(error),
        }
    }
}

impl AttestationError {
    fn why(&self) -> Why {
        match self {
            Self::Call(error) => error.why(),
            // Without proof there is no use in asking again, unless somebody mends the node.
            Self::Prove(AttestError::Unfit(_)) => Why::Never,
            _ => Why::Later,
        }
    }
}
