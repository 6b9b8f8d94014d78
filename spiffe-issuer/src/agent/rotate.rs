//! Has the SVIDs of workloads signed, in batches: first those that somebody waits for, then those
//! whose time has come, then those that somebody may want.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::X509Svid;
use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::x509::{Certificate, KeyKind, PrivateKey, X509Error};
use tokio::task::spawn_blocking;

use super::cache::Cache;
use super::csr::{self, RequestError};
use super::own_identity::OwnIdentity;
use super::renewal::Renewal;
use super::server_client::{CallError, ServerClient, Wanted};
use crate::domain::Entry;
use crate::runtime::{Shutdown, TaskError};

/// What keeping workloads in SVIDs takes.
pub struct Rotation {
    /// The server.
    pub server: ServerClient,
    /// The identity that we ask with.
    pub own: Arc<OwnIdentity>,
    /// Where it stands what is to be signed.
    pub cache: Arc<Cache>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// When an SVID is to be renewed.
    pub renewal: Renewal,
    /// What keys workloads get.
    pub key_kind: KeyKind,
}

/// How much is asked for at a time, and how long to wait after a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stride {
    batch: usize,
    failures: u32,
}

impl Rotation {
    /// Rotates until told to stop.
    ///
    /// # Errors
    ///
    /// None: what fails is tried again.
    pub async fn run(&self, stop: Shutdown) -> Result<(), TaskError> {
        stop.run_until_cancelled(async {
            let mut stride = Stride::FULL;
            loop {
                self.own.in_force().await;
                stride = self.step(stride).await;
            }
        })
        .await;
        Ok(())
    }

    /// Has one batch signed, or waits until there is one.
    async fn step(&self, stride: Stride) -> Stride {
        let now = self.clock.now();
        let work = self.cache.work(now);
        let batch = &work.entries[..work.entries.len().min(stride.batch)];
        if batch.is_empty() {
            let next = work.next.unwrap_or(now + LONGEST_REST);
            tokio::select! {
                () = self.cache.wanted() => {}
                () = sleep_until(&*self.clock, next) => {}
            }
            return stride;
        }
        match self.sign(batch).await {
            Ok(()) => stride.after_success(),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    count = batch.len(),
                    "X509-SVIDs could not be signed"
                );
                let stride = stride.after_failure();
                let pause = stride.pause(fastrand::f64());
                sleep_until(&*self.clock, self.clock.now() + pause).await;
                stride
            }
        }
    }

    async fn sign(&self, batch: &[Arc<Entry>]) -> Result<(), RotationError> {
        for entry in batch {
            tracing::info!(
                entry_id = %entry.id,
                spiffe_id = %entry.body.spiffe_id,
                "Creating X509-SVID"
            );
        }
        let (keys, wanted) = make_requests(batch.to_vec(), self.key_kind).await?;
        let answers = self.server.sign(&wanted).await?;
        let now = self.clock.now();
        let mut signed = Vec::new();
        for ((wanted, key), answer) in wanted.iter().zip(keys).zip(answers) {
            let entry = &wanted.entry;
            match answer
                .map_err(ItemError::from)
                .and_then(|chain| svid(chain, key, entry, now))
            {
                Ok(svid) => {
                    let (begins, ends) = (svid.not_before(), svid.not_after());
                    let luck = fastrand::f64();
                    let renew_at = self.renewal.time_of_new(begins, ends, now, luck);
                    signed.push((entry.clone(), svid, renew_at));
                }
                Err(error) => {
                    tracing::warn!(
                        entry_id = %entry.id,
                        spiffe_id = %entry.body.spiffe_id,
                        error = &error as &dyn std::error::Error,
                        "X509-SVID was not signed"
                    );
                    self.cache.refused(entry, now);
                }
            }
        }
        self.cache.signed(signed, now);
        Ok(())
    }
}

/// A new key and its request for each entry. Keys are made anew for each SVID and never kept
/// anywhere but in memory.
async fn make_requests(
    batch: Vec<Arc<Entry>>,
    kind: KeyKind,
) -> Result<(Vec<PrivateKey>, Vec<Wanted>), RotationError> {
    let made = spawn_blocking(move || {
        let requests = batch.into_iter().map(|entry| {
            let key = PrivateKey::generate(kind)?;
            let csr = csr::request(&key)?;
            Ok((key, Wanted { entry, csr }))
        });
        requests.collect::<Result<Vec<_>, RotationError>>()
    });
    let made = made.await.map_err(|_| RotationError::Stopped)??;
    Ok(made.into_iter().unzip())
}

/// The SVID of this chain, if it is the one that the entry speaks of.
fn svid(
    chain: Vec<Certificate>,
    key: PrivateKey,
    entry: &Entry,
    now: SystemTime,
) -> Result<X509Svid, ItemError> {
    let svid = X509Svid::new(chain, key)?.with_hint(entry.body.hint.as_str());
    if *svid.id() != entry.body.spiffe_id {
        return Err(ItemError::Another);
    }
    if svid.not_after() <= now {
        return Err(ItemError::Over);
    }
    Ok(svid)
}

impl Stride {
    /// As many requests as the server takes at a time.
    const FULL: Self = Self {
        batch: 500,
        failures: 0,
    };

    fn after_success(self) -> Self {
        Self {
            batch: (self.batch * 2).min(Self::FULL.batch),
            failures: 0,
        }
    }

    fn after_failure(self) -> Self {
        Self {
            batch: (self.batch / 2).max(1),
            failures: self.failures.saturating_add(1),
        }
    }

    /// `luck`, from 0 to 1, spreads agents that failed together.
    fn pause(self, luck: f64) -> Duration {
        let growth = 1.5_f64.powi(self.failures.saturating_sub(1).min(40) as i32);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE.mul_f64(growth));
        pause.mul_f64(0.9 + 0.2 * luck)
    }
}

/// Why a batch was not signed.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("making a key")]
    Key(#[from] X509Error),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the work was stopped")]
    Stopped,
}

/// Why one of a batch was not signed.
#[derive(Debug, thiserror::Error)]
enum ItemError {
    #[error("the server signed another identity")]
    Another,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("what the server signed is over already; are the clocks right?")]
    Over,
    #[error("what the server signed is no SVID for this key")]
    Svid(#[from] X509Error),
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_halve_with_each_failure_and_double_with_each_success() {
        let mut stride = Stride::FULL;
        let mut batches = Vec::new();
        for _ in 0..10 {
            stride = stride.after_failure();
            batches.push(stride.batch);
        }
        assert_eq!(batches, [250, 125, 62, 31, 15, 7, 3, 1, 1, 1]);
        let mut batches = Vec::new();
        for _ in 0..10 {
            stride = stride.after_success();
            batches.push(stride.batch);
        }
        assert_eq!(batches, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500]);
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut stride = Stride::FULL;
        let pauses: Vec<_> = (0..14)
            .map(|_| {
                stride = stride.after_failure();
                stride.pause(0.5).as_millis()
            })
            .collect();
        assert_eq!(&pauses[..4], [500, 750, 1125, 1687]);
        assert_eq!(&pauses[12..], [60_000, 60_000]);
    }
}
