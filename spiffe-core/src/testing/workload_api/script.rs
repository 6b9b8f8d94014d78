//! What the fake says: one answer for each call, replaced by the test.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Code, Status};

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
    pub(super) delay: watch::Sender<Duration>,
    pub(super) jwt: watch::Sender<Answer<Mint>>,
    pub(super) jwt_bundles: watch::Sender<Answer<JwtBundlesResponse>>,
    pub(super) wit: watch::Sender<Answer<WitsvidResponse>>,
    pub(super) wit_bundles: watch::Sender<Answer<WitBundlesResponse>>,
    pub(super) x509: watch::Sender<Answer<X509svidResponse>>,
    pub(super) x509_bundles: watch::Sender<Answer<X509BundlesResponse>>,
    calls: [AtomicUsize; RPCS],
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            delay: watch::Sender::new(Duration::ZERO),
            jwt: watch::Sender::new(Answer::Nothing),
            jwt_bundles: watch::Sender::new(Answer::Nothing),
            wit: watch::Sender::new(Answer::Nothing),
            wit_bundles: watch::Sender::new(Answer::Nothing),
            x509: watch::Sender::new(Answer::Nothing),
            x509_bundles: watch::Sender::new(Answer::Nothing),
            calls: array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    pub(super) fn refuse(&self, code: Code) {
        self.jwt.send_replace(Answer::Refusal(code));
        self.jwt_bundles.send_replace(Answer::Refusal(code));
        self.wit.send_replace(Answer::Refusal(code));
        self.wit_bundles.send_replace(Answer::Refusal(code));
        self.x509.send_replace(Answer::Refusal(code));
        self.x509_bundles.send_replace(Answer::Refusal(code));
    }

    pub(super) fn count(&self, rpc: Rpc) {
        self.calls[rpc as usize].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn calls(&self, rpc: Rpc) -> usize {
        self.calls[rpc as usize].load(Ordering::SeqCst)
    }
}
