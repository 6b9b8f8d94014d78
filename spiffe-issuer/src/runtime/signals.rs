//! What the operating system asks of a process.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::supervisor::{Shutdown, TaskError};

/// Done when the process is asked to end, by SIGTERM or SIGINT. The signals are caught from this
/// call on, not only when the future is first waited for.
///
/// # Errors
///
/// If the system does not let the signals be caught.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "Asked to end"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "Asked to end"),
        }
    })
}

/// Does `act` at each `signal` until told to stop: SIGUSR1 reads settings anew, SIGUSR2 opens the
/// log file anew. The signal is caught from when it was made with [`signal`] on.
///
/// # Errors
///
/// None; it is a task as the supervisor runs them.
pub async fn on_each(
    mut signal: Signal,
    stop: Shutdown,
    mut act: impl FnMut() + Send,
) -> Result<(), TaskError> {
    while let Some(Some(())) = stop.run_until_cancelled(signal.recv()).await {
        act();
    }
    stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn send(signal: &str) {
        let pid = std::process::id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    #[tokio::test]
    async fn a_signal_ends_the_waiting() {
        for signal in ["-TERM", "-INT"] {
            let asked = asked_to_end().unwrap();
            send(signal);
            asked.await;
        }
    }

    #[tokio::test]
    async fn each_signal_is_acted_upon_until_told_to_stop() {
        let caught = signal(SignalKind::user_defined2()).unwrap();
        let (acted, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let stop = Shutdown::new();
        let task = {
            let (acted, count) = (acted.clone(), count.clone());
            on_each(caught, stop.clone(), move || {
                count.fetch_add(1, Ordering::Relaxed);
                acted.notify_one();
            })
        };
        let operator = async {
            for _ in 0..2 {
                send("-USR2");
                acted.notified().await;
            }
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(task, operator);
        ended.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
