//! Keeps the bundles of others fresh. Each is fetched by a task of its own, so that one that does not
//! answer holds up nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe_core::clock::{Clock, sleep_until};
use spiffe_core::{TrustDomain, with_causes};
use tokio::task::JoinSet;
use tracing::warn;

use super::{Federation, FederationError, Partner};
use crate::domain::Page;
use crate::runtime::health::Part;
use crate::runtime::{Shutdown, TaskError};

/// Fetches bundles as they become due, until told to stop.
///
/// That an endpoint does not answer is no failure of ours; that the store does not is.
///
/// # Errors
///
/// None: a failure is tried again.
pub async fn run(
    federation: Arc<Federation>,
    clock: Arc<dyn Clock>,
    mut part: Part,
    stop: Shutdown,
) -> Result<(), TaskError> {
    let mut fetching = Fetching::default();
    let mut managed = Vec::new();
    loop {
        let now = clock.now();
        let mut next = now + LOOK_EVERY;
        match everybody(&federation).await {
            Ok(partners) => {
                part.succeeded();
                let domains: Vec<_> = partners.iter().map(domain).cloned().collect();
                Federation::tell_managed(&managed, &domains);
                managed = domains;
                for partner in partners {
                    match due(&partner, now) {
                        None => fetching.begin(&federation, partner),
                        Some(at) => next = next.min(at),
                    }
                }
            }
            Err(error) => {
                part.failed(&error);
                warn!(error = %with_causes(&error), "Failed to reload configs");
            }
        }
        let next = next.max(now + SHORTEST);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = federation.changed.notified() => {}
            () = fetching.until(&*clock, next) => {}
        }
    }
}

/// All relationships there are.
async fn everybody(federation: &Federation) -> Result<Vec<Partner>, FederationError> {
    Ok(federation.list(&Page::ALL).await?.items)
}

/// When a partner is to be asked; nothing where that is now. A time that is too far away is none that
/// we set: the clock was ahead then.
fn due(partner: &Partner, now: SystemTime) -> Option<SystemTime> {
    let next = partner.status.next_at?;
    let sane = now..now + FARTHEST;
    (next > now && sane.contains(&next)).then_some(next)
}

fn domain(partner: &Partner) -> &TrustDomain {
    &partner.relationship.trust_domain
}

/// The fetches that are under way, one of each partner at the most.
#[derive(Default)]
struct Fetching {
    tasks: JoinSet<TrustDomain>,
    from: BTreeSet<TrustDomain>,
}

impl Fetching {
    fn begin(&mut self, federation: &Arc<Federation>, partner: Partner) {
        let domain = domain(&partner).clone();
        if !self.from.insert(domain.clone()) {
            return;
        }
        let federation = Arc::clone(federation);
        self.tasks.spawn(async move {
            // It is told, and kept beside the relationship, where it happens.
            let _ = federation.fetches.fetch(&partner).await;
            domain
        });
    }

    /// Waits until then, and notes meanwhile which fetches came to their end. Dropping it loses none.
    async fn until(&mut self, clock: &dyn Clock, then: SystemTime) {
        let mut pause = std::pin::pin!(sleep_until(clock, then));
        loop {
            tokio::select! {
                () = &mut pause => return,
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(domain) => {
                        self.from.remove(&domain);
                    }
                    // Whoever it was is asked again; a panic is told by the runtime.
                    Err(_) => self.from.clear(),
                },
            }
        }
    }
}

/// How often to look what is in the list.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon to look again at the least.
const SHORTEST: Duration = Duration::from_secs(1);
/// No pause between two fetches is longer.
const FARTHEST: Duration = Duration::from_secs(24 * 3600);
