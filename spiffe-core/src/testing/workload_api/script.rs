//! What the fake says: one answer for each call, replaced by the test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Code, Status};

use crate::clock::{Clock, SystemClock};
use crate::proto::workload::{
    JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, WitBundlesResponse, WitsvidResponse,
    X509BundlesResponse, X509svidResponse,
};

/// A call of the Workload API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rpc {
    /// `FetchJWTBundles`.
    JwtBundles,
    /// `FetchJWTSVID`.
    JwtSvid,
    /// `ValidateJWTSVID`.
    ValidateJwt,
    /// `FetchWITBundles`.
    WitBundles,
    /// `FetchWITSVID`.
    WitSvid,
    /// `FetchX509Bundles`.
    X509Bundles,
    /// `FetchX509SVID`.
    X509Svid,
}

const RPCS: usize = 7;

/// How tokens are made for a request.
pub(super) type Mint =
    Arc<dyn Fn(&JwtsvidRequest) -> Result<JwtsvidResponse, Status> + Send + Sync>;

/// What a stream hears, at once and whenever it changes.
#[derive(Clone)]
pub(super) enum Answer<T> {
    Message(T),
    Nothing,
    Refusal(Code),
}

impl<T> Answer<T> {
    pub(super) fn into_item(self) -> Option<Result<T, Status>> {
        match self {
            Self::Message(message) => Some(Ok(message)),
            Self::Nothing => None,
            Self::Refusal(code) => Some(Err(status(code))),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test chose the code")]
pub(super) fn status(code: Code) -> Status {
    Status::new(code, "as the test wants it")
}

/// All answers, shared by the test and the connections.
pub(super) struct Script {
    calls: watch::Sender<[usize; RPCS]>,
    messages: watch::Sender<[usize; RPCS]>,
    next_refusals: Mutex<Vec<(Rpc, Code)>>,
    /// Whom calls on behalf of others were about.
    #[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
    asked_about: Mutex<Vec<String>>,
    /// What tokens are judged by.
    pub(super) clock: watch::Sender<Arc<dyn Clock>>,
    /// A change ends all streams.
    pub(super) ends: watch::Sender<()>,
    pub(super) delay: watch::Sender<Duration>,
    pub(super) jwt: watch::Sender<Answer<Mint>>,
    pub(super) jwt_bundles: watch::Sender<Answer<JwtBundlesResponse>>,
    pub(super) wit: watch::Sender<Answer<WitsvidResponse>>,
    pub(super) wit_bundles: watch::Sender<Answer<WitBundlesResponse>>,
    pub(super) x509: watch::Sender<Answer<X509svidResponse>>,
    pub(super) x509_bundles: watch::Sender<Answer<X509BundlesResponse>>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            calls: watch::Sender::new([0; RPCS]),
            messages: watch::Sender::new([0; RPCS]),
            next_refusals: Mutex::new(Vec::new()),
            #[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
            asked_about: Mutex::default(),
            clock: watch::Sender::new(Arc::new(SystemClock)),
            ends: watch::Sender::new(()),
            delay: watch::Sender::new(Duration::ZERO),
            jwt: watch::Sender::new(Answer::Nothing),
            jwt_bundles: watch::Sender::new(Answer::Nothing),
            wit: watch::Sender::new(Answer::Nothing),
            wit_bundles: watch::Sender::new(Answer::Nothing),
            x509: watch::Sender::new(Answer::Nothing),
            x509_bundles: watch::Sender::new(Answer::Nothing),
        }
    }

    pub(super) fn refuse(&self, code: Code) {
        for rpc in [
            Rpc::JwtBundles,
            Rpc::JwtSvid,
            Rpc::WitBundles,
            Rpc::WitSvid,
            Rpc::X509Bundles,
            Rpc::X509Svid,
        ] {
            self.refuse_rpc(rpc, code);
        }
    }

    pub(super) fn refuse_rpc(&self, rpc: Rpc, code: Code) {
        match rpc {
            Rpc::JwtBundles | Rpc::ValidateJwt => {
                self.jwt_bundles.send_replace(Answer::Refusal(code));
            }
            Rpc::JwtSvid => {
                self.jwt.send_replace(Answer::Refusal(code));
            }
            Rpc::WitBundles => {
                self.wit_bundles.send_replace(Answer::Refusal(code));
            }
            Rpc::WitSvid => {
                self.wit.send_replace(Answer::Refusal(code));
            }
            Rpc::X509Bundles => {
                self.x509_bundles.send_replace(Answer::Refusal(code));
            }
            Rpc::X509Svid => {
                self.x509.send_replace(Answer::Refusal(code));
            }
        }
    }

    pub(super) fn refuse_next(&self, rpc: Rpc, code: Code, times: usize) {
        self.next_refusals()
            .extend(std::iter::repeat_n((rpc, code), times));
    }

    /// Whether this call is one of those that are to be refused.
    pub(super) fn next_refusal(&self, rpc: Rpc) -> Option<Status> {
        let mut refusals = self.next_refusals();
        let next = refusals.iter().position(|(meant, _)| *meant == rpc)?;
        Some(status(refusals.remove(next).1))
    }

    fn next_refusals(&self) -> MutexGuard<'_, Vec<(Rpc, Code)>> {
        self.next_refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(any(feature = "delegated-identity", feature = "incubating-broker"))]
    pub(super) fn asked_about(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked_about
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_call(&self, rpc: Rpc) {
        self.calls.send_modify(|calls| calls[rpc as usize] += 1);
    }

    pub(super) fn count_message(&self, rpc: Rpc) {
        self.messages.send_modify(|sent| sent[rpc as usize] += 1);
    }

    pub(super) fn calls(&self, rpc: Rpc) -> usize {
        self.calls.borrow()[rpc as usize]
    }

    pub(super) fn messages(&self, rpc: Rpc) -> usize {
        self.messages.borrow()[rpc as usize]
    }

    /// Waits until the call was made so often.
    pub(super) async fn called(&self, rpc: Rpc, times: usize) {
        reached(&self.calls, rpc, times).await;
    }

    /// Waits until streams of the call have said so many messages.
    pub(super) async fn told(&self, rpc: Rpc, times: usize) {
        reached(&self.messages, rpc, times).await;
    }
}

async fn reached(counts: &watch::Sender<[usize; RPCS]>, rpc: Rpc, times: usize) {
    let mut counts = counts.subscribe();
    // It fails only where the script is gone, and that is borrowed meanwhile.
    let _ = counts
        .wait_for(|counts| counts[rpc as usize] >= times)
        .await;
}
