//! Runs the machine on a stream and a clock.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use tracing::{debug, warn};

use super::decode::Decoded;
use super::session::{Action, Break, Event, Session, State};
use super::{WorkloadApiClient, WorkloadApiError, X509Watch};
use crate::backoff::Backoff;
use crate::clock::{self, Clock};
use crate::snapshot::IdentitySnapshot;

/// What a watch has to tell.
pub(crate) enum News {
    /// There is another snapshot.
    Snapshot(IdentitySnapshot),
    /// Something went wrong, and is tried again.
    Trouble(WorkloadApiError),
}

/// Watches for good and tells the news. It returns only when trying again cannot help.
pub(crate) async fn follow(
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    seed: u64,
    tell: impl FnMut(News) + Send,
) -> WorkloadApiError {
    let driver = Driver {
        client,
        clock,
        watch: None,
        latest: IdentitySnapshot::default(),
        tell,
    };
    driver
        .run(Session::new(Backoff::new(MIN_WAIT, MAX_WAIT, seed)))
        .await
}

struct Driver<T> {
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    watch: Option<X509Watch>,
    latest: IdentitySnapshot,
    tell: T,
}

impl<T: FnMut(News) + Send> Driver<T> {
    async fn run(mut self, mut session: Session) -> WorkloadApiError {
        loop {
            let (event, trouble) = match self.wait(session.state()).await {
                Ok(event) => (event, None),
                Err(error) => (event_of(&error), Some(error)),
            };
            let action = session.handle(event, self.clock.now());
            if let Some(action) = action {
                self.act(action);
            }
            match trouble {
                Some(error) if session.state() == State::Stopped => return error,
                Some(error) => self.report(error),
                None => {}
            }
        }
    }

    async fn wait(&mut self, state: State) -> Result<Event, WorkloadApiError> {
        match (state, &mut self.watch) {
            (State::Live, Some(watch)) => {
                let Decoded { snapshot, flaws } = watch.decoded().await?;
                if let ([], Some(flaw)) = (snapshot.svids(), flaws.into_iter().next()) {
                    (self.tell)(News::Trouble(flaw.into()));
                }
                Ok(Event::Update(snapshot))
            }
            (State::Connecting, _) => {
                self.watch = None;
                self.watch = Some(self.client.watch_x509_from(self.latest.clone()).await?);
                Ok(Event::Opened)
            }
            (State::Waiting { until }, _) => {
                // The connection is not kept open meanwhile.
                self.watch = None;
                clock::sleep_until(&*self.clock, until).await;
                Ok(Event::TimerFired)
            }
            // The machine is live only after `Opened`, and nobody waits once it has stopped.
            (State::Live | State::Stopped, _) => Err(WorkloadApiError::Ended),
        }
    }

    fn act(&mut self, action: Action) {
        self.latest = match action {
            Action::Publish(snapshot) => snapshot,
            Action::Withdraw if self.latest.svids().is_empty() => return,
            Action::Withdraw => {
                warn!(endpoint = %self.client.endpoint(), "identities withdrawn");
                IdentitySnapshot::new(Vec::new(), self.latest.bundles().clone())
            }
        };
        debug!(svids = self.latest.svids().len(), "identities updated");
        (self.tell)(News::Snapshot(self.latest.clone()));
    }

    fn report(&mut self, error: WorkloadApiError) {
        warn!(endpoint = %self.client.endpoint(), %error, "Workload API failed, will try again");
        (self.tell)(News::Trouble(error));
    }
}

fn event_of(error: &WorkloadApiError) -> Event {
    let code = match error {
        WorkloadApiError::Unusable(_) => return Event::Unusable,
        WorkloadApiError::Refused(status) => status.code(),
        _ => Code::Unavailable,
    };
    Event::Broke(match code {
        // SPIFFE Workload Endpoint section 6 and appendix A.
        Code::InvalidArgument | Code::Unimplemented => Break::Lasting,
        Code::PermissionDenied => Break::Denied,
        _ => Break::Passing,
    })
}

const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);
