//! Runs the machine on a stream and a clock.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::decode::Decoded;
use super::session::{Action, Event, Session, State};
use super::{Feed, Flaw, WhenDenied, WorkloadApiClient, WorkloadApiError};
use crate::backoff::Backoff;
use crate::clock::{self, Clock};
use crate::with_causes;

/// What a watch has to tell.
pub(crate) enum News<T> {
    /// What is known is another thing now.
    Update(T),
    /// Something went wrong, or with a part of what was just told.
    Trouble(WorkloadApiError),
}

/// How a watch goes about it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) when_denied: WhenDenied,
    /// The ceiling of the first wait, and that of the longest one.
    pub(crate) waits: (Duration, Duration),
}

impl Settings {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            when_denied: WhenDenied::default(),
            waits: (MIN_WAIT, MAX_WAIT),
        }
    }
}

/// Watches for good and tells the news. It returns only when trying again cannot help.
pub(crate) async fn follow<F: Feed>(
    feed: F,
    client: WorkloadApiClient,
    settings: Settings,
    tell: impl FnMut(News<F::State>) + Send,
) -> WorkloadApiError {
    let (min, max) = settings.waits;
    let backoff = Backoff::new(min, max, fastrand::u64(..));
    let driver = Driver {
        feed,
        client,
        clock: settings.clock,
        stream: None,
        heard: false,
        latest: F::State::default(),
        tell,
    };
    let session = Session::new(backoff, settings.when_denied);
    driver
        .run(session.with_pause_when_denied(F::PAUSE_WHEN_DENIED))
        .await
}

struct Driver<F: Feed, T> {
    feed: F,
    client: WorkloadApiClient,
    clock: Arc<dyn Clock>,
    stream: Option<F::Stream>,
    /// Whether the stream has said anything yet.
    heard: bool,
    latest: F::State,
    tell: T,
}

impl<F: Feed, T: FnMut(News<F::State>) + Send> Driver<F, T> {
    async fn run(mut self, mut session: Session) -> WorkloadApiError {
        loop {
            let heard = self.wait(session.state()).await;
            let (event, flaw, trouble) = match heard {
                Ok((event, flaw)) => (event, flaw, None),
                Err(error) => (event_of::<F>(&error), None, Some(error)),
            };
            let action = session.handle(event, self.clock.now());
            if let Some(action) = action {
                self.act(action);
            }
            if let Some(flaw) = flaw {
                (self.tell)(News::Trouble(flaw.into()));
            }
            match trouble {
                Some(error) if session.state() == State::Stopped => return error,
                Some(error) => self.report(error),
                None => {}
            }
        }
    }

    async fn wait(&mut self, state: State) -> Result<Heard<F::State>, WorkloadApiError> {
        match (state, &mut self.stream) {
            (State::Live, Some(stream)) => {
                let next = F::next(stream);
                let message = match self.heard {
                    // Silence is normal then: nothing changes.
                    true => next.await,
                    // The first message is the answer to what was asked.
                    false => self.client.prompt(next).await,
                };
                self.heard = true;
                let Decoded { value, flaws } = message?;
                Ok((Event::Update(value), flaws.into_iter().next()))
            }
            (State::Connecting, _) => {
                (self.stream, self.heard) = (None, false);
                self.stream = Some(self.feed.open(&self.client, &self.latest).await?);
                Ok((Event::Opened, None))
            }
            (State::Waiting { until }, _) => {
                // The connection is not kept open meanwhile.
                self.stream = None;
                clock::sleep_until(&*self.clock, until).await;
                Ok((Event::TimerFired, None))
            }
            // The machine is live only after `Opened`, and nobody waits once it has stopped.
            (State::Live | State::Stopped, _) => Err(WorkloadApiError::Ended),
        }
    }

    fn act(&mut self, action: Action<F::State>) {
        self.latest = match action {
            Action::Publish(latest) => latest,
            Action::Withdraw if F::is_void(&self.latest) => return,
            Action::Withdraw => {
                warn!(endpoint = %self.client.endpoint(), what = F::WHAT, "withdrawn");
                F::withdrawn(&self.latest)
            }
        };
        debug!(what = F::WHAT, "updated by the agent");
        (self.tell)(News::Update(self.latest.clone()));
    }

    fn report(&mut self, error: WorkloadApiError) {
        warn!(endpoint = %self.client.endpoint(), what = F::WHAT, error = %with_causes(&error), "agent failed, will try again");
        (self.tell)(News::Trouble(error));
    }
}

/// What befell the stream, and what was left out of a message.
type Heard<T> = (Event<T>, Option<Flaw>);

fn event_of<F: Feed>(error: &WorkloadApiError) -> Event<F::State> {
    match error {
        WorkloadApiError::Unusable(_) => Event::Unusable,
        error => Event::Broke(F::meaning(error)),
    }
}

const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);
