//! Hearing of changes, whichever server made them, as soon as they are committed.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::server::store::Bell;

/// Rings at each notification that the trigger of the table `changes` sends. While there is no
/// connection it does not ring, and rings once when there is one again.
pub(in crate::server::store) struct PgBell {
    pool: PgPoolOptions,
    options: PgConnectOptions,
    state: State,
}

enum State {
    Connecting(Connecting),
    Listening(PgListener),
    Resting(Instant),
}

type Connecting = Pin<Box<dyn Future<Output = Result<PgListener, sqlx::Error>> + Send>>;

impl PgBell {
    pub(super) fn new(pool: PgPoolOptions, options: PgConnectOptions) -> Self {
        let state = State::Resting(Instant::now());
        Self {
            pool,
            options,
            state,
        }
    }

    fn connect(&self) -> Connecting {
        let (pool, options) = (self.pool.clone(), self.options.clone());
        Box::pin(async move {
            let pool = pool.connect_lazy_with(options);
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        })
    }

    fn rest(&mut self, why: Option<&sqlx::Error>) {
        debug!(
            error = why.map(tracing::field::display),
            "Hearing of no changes for now"
        );
        self.state = State::Resting(Instant::now() + REST);
    }
}

#[async_trait]
impl Bell for PgBell {
    async fn rung(&mut self) {
        // What is begun is kept in `state`, so whoever calls this again goes on with it.
        loop {
            match &mut self.state {
                State::Resting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Connecting(self.connect());
                }
                State::Connecting(connecting) => match connecting.await {
                    Ok(listener) => {
                        self.state = State::Listening(listener);
                        // Something may have changed while nobody listened.
                        return;
                    }
                    Err(error) => self.rest(Some(&error)),
                },
                State::Listening(listener) => match listener.try_recv().await {
                    Ok(Some(_)) => return,
                    Ok(None) => self.rest(None),
                    Err(error) => self.rest(Some(&error)),
                },
            }
        }
    }
}

impl fmt::Debug for PgBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBell").finish_non_exhaustive()
    }
}

/// The channel that the trigger notifies. It is one for the whole database.
const CHANNEL: &str = "spiffe_changes";

/// How long to leave a database alone that does not take our connection.
const REST: Duration = Duration::from_secs(2);
