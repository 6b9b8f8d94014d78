//! One workload's stream: who it is, what it may have, and for how long that holds.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use spiffe_core::clock::Clock;
use spiffe_core::proto::workload::{X509BundlesResponse, X509svidResponse};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use super::messages;
use crate::agent::cache::{Cache, Nearest, Rights};
use crate::agent::limit::{Limits, TooOften};
use crate::agent::peer::Caller;
use crate::attestation::workload::{Found, WorkloadAttestors, WorkloadError};
use crate::domain::{Fault, Kind, SelectorSet};
use crate::runtime::Shutdown;

/// What all streams of the Workload API stand on.
pub struct Workloads {
    /// Who finds out what a caller is.
    pub attestors: WorkloadAttestors,
    /// What there is to give.
    pub cache: Arc<Cache>,
    /// How much each user may ask.
    pub limits: Limits,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// `allow_unauthenticated_verifiers`: whether the bundle of our own trust domain is given to
    /// those who have no identity.
    pub allow_unauthenticated_verifiers: bool,
    /// Streams end when this says so.
    pub stop: Shutdown,
}

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloads").finish_non_exhaustive()
    }
}

/// What a stream tells.
pub(super) trait Wish: Send + 'static {
    /// Its messages.
    type Message: Send + 'static;

    /// Whether to wait for identities that are not signed yet.
    const WAITS_FOR_SIGNATURES: bool;

    /// Whether those who have no identity may be told something all the same.
    fn is_for_anyone(workloads: &Workloads) -> bool;

    /// What to tell, if there is anything.
    fn message(rights: &Rights) -> Option<Self::Message>;

    /// Whether both make the same message.
    fn is_same(one: &Rights, other: &Rights) -> bool;
}

/// X.509-SVIDs with the bundles.
pub(super) struct Svids;

impl Wish for Svids {
    type Message = X509svidResponse;
    const WAITS_FOR_SIGNATURES: bool = true;

    fn is_for_anyone(_: &Workloads) -> bool {
        false
    }

    fn message(rights: &Rights) -> Option<X509svidResponse> {
        messages::svids(rights)
    }

    fn is_same(one: &Rights, other: &Rights) -> bool {
        one.identities == other.identities && Bundles::is_same(one, other)
    }
}

/// X.509 bundles.
pub(super) struct Bundles;

impl Wish for Bundles {
    type Message = X509BundlesResponse;
    const WAITS_FOR_SIGNATURES: bool = false;

    fn is_for_anyone(workloads: &Workloads) -> bool {
        workloads.allow_unauthenticated_verifiers
    }

    fn message(rights: &Rights) -> Option<X509BundlesResponse> {
        messages::bundles(rights)
    }

    fn is_same(one: &Rights, other: &Rights) -> bool {
        (&one.bundle, &one.foreign) == (&other.bundle, &other.foreign)
    }
}

/// One stream.
pub(super) struct Watch<W: Wish> {
    workloads: Arc<Workloads>,
    caller: Caller,
    found: Found,
    rights: Receiver<Option<Rights>>,
    told: Rights,
    wish: PhantomData<W>,
}

impl<W: Wish> Watch<W> {
    /// Finds out who calls, and what is to be told first.
    pub(super) async fn begin(
        workloads: Arc<Workloads>,
        caller: Caller,
    ) -> Result<(W::Message, Self), Refused> {
        let turn = workloads.limits.turn(caller.uid()).await?;
        let found = workloads.attestors.attest(caller.process()).await?;
        drop(turn);
        let now = workloads.clock.now();
        let mut rights = workloads.cache.subscribe(&found.selectors, now);
        let (message, told) = {
            let asked = Asked {
                workloads: &workloads,
                caller: &caller,
                found: &found,
            };
            let first = stopping(&workloads.stop, asked.first::<W>(&mut rights)).await?;
            // Signing may have taken a while.
            found.check(caller.process())?;
            first
        };
        let watch = Self {
            workloads,
            caller,
            found,
            rights,
            told,
            wish: PhantomData,
        };
        Ok((message, watch))
    }

    /// Waits for the next news.
    pub(super) async fn next(&mut self) -> Result<W::Message, Refused> {
        let asked = Asked {
            workloads: &self.workloads,
            caller: &self.caller,
            found: &self.found,
        };
        let next = asked.next::<W>(&mut self.rights, &self.told);
        let (message, told) = stopping(&self.workloads.stop, next).await?;
        self.told = told;
        Ok(message)
    }
}

/// A caller who was attested.
struct Asked<'a> {
    workloads: &'a Workloads,
    caller: &'a Caller,
    found: &'a Found,
}

impl Asked<'_> {
    async fn first<W: Wish>(
        &self,
        rights: &mut Receiver<Option<Rights>>,
    ) -> Result<(W::Message, Rights), Refused> {
        let deadline = Instant::now() + FIRST_PATIENCE;
        let known = timeout_at(deadline, rights.wait_for(Option::is_some)).await;
        let known = known.map(|known| known.is_ok());
        match known {
            Ok(true) => {}
            Ok(false) => return Err(Refused::Stopping),
            Err(_) => return Err(Refused::NotSynced),
        }
        if W::WAITS_FOR_SIGNATURES {
            self.wait_for_signatures(rights, deadline).await;
        }
        let rights = self.judged::<W>(rights).map_err(|refused| match refused {
            // Those attestors might have found what an entry asks for.
            Refused::NoIdentity { .. } if !self.found.failed.is_empty() => {
                Refused::Attestors(self.found.failed.join(", "))
            }
            refused => refused,
        })?;
        let message = W::message(&rights).ok_or(Refused::NotSigned)?;
        Ok((message, rights))
    }

    async fn next<W: Wish>(
        &self,
        rights: &mut Receiver<Option<Rights>>,
        told: &Rights,
    ) -> Result<(W::Message, Rights), Refused> {
        loop {
            rights.changed().await.map_err(|_| Refused::Stopping)?;
            self.found.check(self.caller.process())?;
            if W::WAITS_FOR_SIGNATURES {
                let deadline = Instant::now() + NEXT_PATIENCE;
                self.wait_for_signatures(rights, deadline).await;
            }
            let now = self.judged::<W>(rights)?;
            if W::is_same(&now, told) {
                continue;
            }
            // Where there is nothing, it is being signed.
            if let Some(message) = W::message(&now) {
                return Ok((message, now));
            }
        }
    }

    /// Waits until all identities are signed that can be, so that one which comes later does not
    /// take the place of the default; but those that are there are not held up for long.
    async fn wait_for_signatures(&self, rights: &mut Receiver<Option<Rights>>, deadline: Instant) {
        let is_settled = |rights: &Option<Rights>| match rights {
            Some(rights) => rights.awaited == 0,
            None => true,
        };
        let has_some = rights
            .borrow()
            .as_ref()
            .is_some_and(|rights| !rights.identities.is_empty());
        let deadline = if has_some {
            deadline.min(Instant::now() + NEXT_PATIENCE)
        } else {
            deadline
        };
        // Whatever is there by then is told.
        let _ = timeout_at(deadline, rights.wait_for(is_settled))
            .await
            .map(|_| ());
    }

    /// What the caller may have now, if it may have anything.
    fn judged<W: Wish>(&self, rights: &mut Receiver<Option<Rights>>) -> Result<Rights, Refused> {
        let rights = rights.borrow_and_update().clone();
        let rights = rights.ok_or(Refused::NotSynced)?;
        if rights.has_any() || W::is_for_anyone(self.workloads) {
            return Ok(rights);
        }
        Err(Refused::NoIdentity {
            pid: self.caller.process().pid(),
            uid: self.caller.uid(),
            kinds: kinds(&self.found.selectors),
            nearest: self.workloads.cache.nearest(&self.found.selectors),
        })
    }
}

/// Work that ends when the agent does.
async fn stopping<T>(
    stop: &Shutdown,
    work: impl Future<Output = Result<T, Refused>>,
) -> Result<T, Refused> {
    stop.run_until_cancelled(work)
        .await
        .unwrap_or(Err(Refused::Stopping))
}

/// The types of these selectors: what they say may be nobody's business.
fn kinds(selectors: &SelectorSet) -> String {
    let mut kinds: Vec<_> = selectors.iter().map(|selector| selector.kind()).collect();
    kinds.dedup();
    match &kinds[..] {
        [] => "no type".to_owned(),
        kinds => kinds.join(", "),
    }
}

/// Why a workload is told nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It could not be found out what it is.
    #[error(transparent)]
    Attestation(#[from] WorkloadError),
    /// No entry matches what was found out, but some attestors could not look.
    #[error("no entry matches, but these attestors failed: {0}")]
    Attestors(String),
    /// The call lacks the security header.
    #[error("security header missing from request")]
    NoHeader,
    /// No entry matches.
    #[error(
        "no entry matches process {pid} of user {uid} with selectors of {kinds}; {}",
        Nearest::told(nearest.as_ref())
    )]
    NoIdentity {
        /// The process.
        pid: i32,
        /// Its user.
        uid: u32,
        /// The types of its selectors.
        kinds: String,
        /// The entry that it comes nearest to.
        nearest: Option<Nearest>,
    },
    /// An entry matches, but there is no SVID for it yet.
    #[error("the identity is not signed yet")]
    NotSigned,
    /// Nothing was heard from the server yet.
    #[error("the agent has not heard from its server yet")]
    NotSynced,
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
    /// Its user asks too often.
    #[error(transparent)]
    TooOften(#[from] TooOften),
    /// This agent does not do that.
    #[error("{0} are not served by this agent")]
    Unimplemented(&'static str),
    /// The connection does not say who called.
    #[error("the caller is not known")]
    Unknown,
}

impl Fault for Refused {
    fn kind(&self) -> Kind {
        match self {
            Self::Attestation(_)
            | Self::Attestors(_)
            | Self::NotSigned
            | Self::NotSynced
            | Self::Stopping => Kind::Unavailable,
            Self::NoHeader => Kind::Invalid,
            Self::NoIdentity { .. } => Kind::Denied,
            Self::TooOften(error) => error.kind(),
            Self::Unimplemented(_) => Kind::Unimplemented,
            Self::Unknown => Kind::Internal,
        }
    }

    fn told(&self) -> Option<String> {
        match self {
            Self::Attestation(error) => error.told(),
            Self::Attestors(_) => Some("workload attestation failed".to_owned()),
            Self::NoIdentity { .. } => Some("no identity issued".to_owned()),
            Self::NotSigned | Self::NotSynced | Self::Stopping => Some(self.to_string()),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooOften(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// A workload that starts with its agent waits for the first identity, but not for ever.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// So long those identities that are there are held up for those that are being signed.
const NEXT_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
