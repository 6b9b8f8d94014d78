//! Every task of a process by its name, taken down in order.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Runs the parts of a process and takes them down in order.
///
/// Listeners stop first and finish what they let in; workers (everything behind them) stop after
/// that. A part that ends, fails or panics unasked takes the whole process down: a server
/// without its CA rotation is not a server that is a little worse.
#[derive(Debug)]
pub struct Supervisor {
    listeners: Group,
    workers: Group,
    grace: Duration,
}

/// Tells a task when to stop: `stop.cancelled().await`.
pub type Shutdown = CancellationToken;

/// Why a task failed.
pub type TaskError = Box<dyn StdError + Send + Sync>;

/// What a part of the process runs.
pub trait Task: Future<Output = Result<(), TaskError>> + Send + 'static {}

impl<F: Future<Output = Result<(), TaskError>> + Send + 'static> Task for F {}

/// How often a failed worker may be started again.
#[derive(Debug, Clone, Copy)]
pub struct Restarts {
    /// So many times...
    pub at_most: usize,
    /// ...in any stretch of this length.
    pub within: Duration,
}

/// The task that ended before it was told to, and why.
#[derive(Debug, thiserror::Error)]
#[error("{task} stopped")]
pub struct Stopped {
    /// Its name.
    pub task: &'static str,
    /// What it died of.
    #[source]
    pub cause: TaskError,
}

/// What a task can die of beside errors of its own.
#[derive(Debug, thiserror::Error)]
enum Death {
    #[error("it was aborted")]
    Aborted,
    #[error("it ended unasked")]
    Ended,
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl Supervisor {
    /// A supervisor that gives listeners and then workers `grace` each to stop.
    pub fn new(grace: Duration) -> Self {
        Self {
            listeners: Group::default(),
            workers: Group::default(),
            grace,
        }
    }

    /// Starts a part that lets requests in.
    pub fn listener<F: Task>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F) {
        self.listeners.spawn(name, task);
    }

    /// Starts a part that listeners, or time, give work to.
    pub fn worker<F: Task>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F) {
        self.workers.spawn(name, task);
    }

    /// Starts a worker that may fail or panic a few times before it takes the process down.
    pub fn restarting_worker<F: Task>(
        &mut self,
        name: &'static str,
        restarts: Restarts,
        task: impl Fn(Shutdown) -> F + Send + Sync + 'static,
    ) {
        self.workers
            .spawn(name, |stop| restarted(name, restarts, stop, task));
    }

    /// Runs until `signal` is done, and returns once everything has stopped.
    ///
    /// # Errors
    ///
    /// The task that ended before `signal` did.
    pub async fn run(mut self, signal: impl Future<Output = ()>) -> Result<(), Stopped> {
        let outcome = tokio::select! {
            () = signal => Ok(()),
            stopped = self.listeners.first() => Err(stopped),
            stopped = self.workers.first() => Err(stopped),
        };
        self.listeners.close(self.grace).await;
        self.workers.close(self.grace).await;
        outcome
    }
}

#[derive(Debug, Default)]
struct Group {
    tasks: JoinSet<Result<(), TaskError>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

type Ended = Result<(Id, Result<(), TaskError>), JoinError>;

impl Group {
    fn spawn<F: Task>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F) {
        let handle = self.tasks.spawn(task(self.stop.clone()));
        self.names.insert(handle.id(), name);
    }

    /// The first task that ends; waits for ever where there is none.
    async fn first(&mut self) -> Stopped {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.stopped(ended).unwrap_or_else(|task| Stopped {
                task,
                cause: Death::Ended.into(),
            }),
            None => std::future::pending().await,
        }
    }

    /// Asks all to stop. What has not stopped by the end of its grace is aborted; who failed at
    /// stopping, or would not stop, is named in the log.
    async fn close(&mut self, grace: Duration) {
        self.stop.cancel();
        if timeout(grace, self.join_all()).await.is_err() {
            self.tasks.abort_all();
            self.join_all().await;
        }
    }

    async fn join_all(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            if let Ok(Stopped { task, cause }) = self.stopped(ended) {
                tracing::warn!(task, error = &*cause, "Task failed while stopping");
            }
        }
    }

    /// What a task died of, or the name of the one that ended well.
    fn stopped(&self, ended: Ended) -> Result<Stopped, &'static str> {
        let (id, died) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(error))) => (id, Some(error)),
            Err(error) => (error.id(), Some(Death::of(error).into())),
        };
        let task = self.names.get(&id).copied().unwrap_or("a task");
        died.map(|cause| Stopped { task, cause }).ok_or(task)
    }
}

impl Death {
    fn of(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::Panicked(message(payload.as_ref())),
            Err(_) => Self::Aborted,
        }
    }
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
        .to_owned()
}

/// Runs `task` again when it fails, until it has failed too often.
async fn restarted<F: Task>(
    name: &'static str,
    restarts: Restarts,
    stop: Shutdown,
    task: impl Fn(Shutdown) -> F,
) -> Result<(), TaskError> {
    let mut failures = VecDeque::new();
    loop {
        let cause = match attempt(task(stop.clone())).await {
            Ok(()) if stop.is_cancelled() => return Ok(()),
            Ok(()) => Death::Ended.into(),
            Err(cause) => cause,
        };
        let now = Instant::now();
        failures.retain(|failed| now.duration_since(*failed) < restarts.within);
        failures.push_back(now);
        if failures.len() > restarts.at_most || stop.is_cancelled() {
            return Err(cause);
        }
        tracing::warn!(
            task = name,
            error = &*cause,
            "Task failed and is started again"
        );
        if timeout(PAUSE, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

/// Runs a task on its own, so that its panic is an error here.
async fn attempt<F: Task>(task: F) -> Result<(), TaskError> {
    // Aborts the task when it is dropped, so a supervisor that gives up on this one ends both.
    let mut alone = JoinSet::new();
    alone.spawn(task);
    match alone.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(Death::of(error).into()),
        None => Ok(()),
    }
}

/// How long a failed task rests, so that one that fails at once does not spin.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    async fn until_stopped(stop: Shutdown) -> Result<(), TaskError> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_named_and_takes_the_rest_down() {
        let mut parts = Supervisor::new(GRACE);
        parts.listener("listener", until_stopped);
        parts.worker("ca rotation", |_| async { panic!("no {}", "key") });
        let stopped = parts.run(std::future::pending()).await.unwrap_err();
        assert_eq!(stopped.task, "ca rotation");
        assert_eq!(stopped.cause.to_string(), "it panicked: no key");
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_or_ends_unasked_takes_the_rest_down() {
        type Outcome = fn() -> Result<(), TaskError>;
        for (outcome, cause) in [
            ((|| Err("disk full".into())) as Outcome, "disk full"),
            (|| Ok(()), "it ended unasked"),
        ] {
            let mut parts = Supervisor::new(GRACE);
            parts.worker("rotation", until_stopped);
            parts.listener("api", move |_| async move { outcome() });
            let stopped = parts.run(std::future::pending()).await.unwrap_err();
            assert_eq!((stopped.task, &*stopped.cause.to_string()), ("api", cause));
            assert_eq!(stopped.to_string(), "api stopped");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn listeners_stop_before_workers() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let seen = seen.clone();
            move |stop: Shutdown| async move {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                seen.lock().unwrap().push(what);
                Ok(())
            }
        };
        let mut parts = Supervisor::new(GRACE);
        parts.worker("rotation", note("worker"));
        parts.listener("api", note("listener"));
        parts.run(async {}).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["listener", "worker"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_stop_is_given_its_grace_and_no_more() {
        let mut parts = Supervisor::new(GRACE);
        parts.worker("stubborn", |_| std::future::pending());
        let begun = Instant::now();
        parts.run(async {}).await.unwrap();
        assert_eq!(begun.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarting_worker_is_given_up_when_it_fails_too_often() {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = runs.clone();
        let restarts = Restarts {
            at_most: 3,
            within: Duration::from_secs(60),
        };
        let mut parts = Supervisor::new(GRACE);
        parts.restarting_worker("sync", restarts, move |_| {
            let run = count.fetch_add(1, Ordering::Relaxed);
            async move {
                // The first failures lie further apart than counts together.
                if run < 10 {
                    tokio::time::sleep(Duration::from_secs(90)).await;
                }
                panic!("run {run}")
            }
        });
        let stopped = parts.run(std::future::pending()).await.unwrap_err();
        assert_eq!(stopped.task, "sync");
        assert_eq!(stopped.cause.to_string(), "it panicked: run 12");
        assert_eq!(runs.load(Ordering::Relaxed), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarting_worker_stops_when_told() {
        let restarts = Restarts {
            at_most: 3,
            within: Duration::from_secs(60),
        };
        let mut parts = Supervisor::new(GRACE);
        parts.restarting_worker("steady", restarts, until_stopped);
        parts.restarting_worker("resting", restarts, |_| async { Err("not now".into()) });
        let begun = Instant::now();
        parts
            .run(tokio::time::sleep(Duration::from_millis(500)))
            .await
            .unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
    }
}
