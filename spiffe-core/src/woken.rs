//! A future that is looked at when it was woken, however often it is asked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that waits for something rare beside something frequent: a task that is woken for each
/// message of a connection asks it each time, and mostly for nothing. What it waits for has timers and
/// lists of waiters, and those it looks at only where one of them called.
pub(crate) struct Woken<T> {
    future: Pin<Box<dyn Future<Output = T> + Send + Sync>>,
    bell: Arc<Bell>,
    /// Who asked last.
    asker: Option<Waker>,
}

impl<T> Woken<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + Sync + 'static) -> Self {
        Self {
            future: Box::pin(future),
            bell: Arc::new(Bell {
                // The first look is not waited for.
                rang: AtomicBool::new(true),
                asker: Mutex::new(Waker::noop().clone()),
            }),
            asker: None,
        }
    }

    fn know(&mut self, waker: &Waker) {
        if self
            .asker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            return;
        }
        self.asker = Some(waker.clone());
        let mut asker = self
            .bell
            .asker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asker.clone_from(waker);
    }
}

impl<T> Future for Woken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Before the bell is looked at: whoever rings it later wakes this one, and whoever rang it
        // before and woke another has left it rung.
        self.know(cx.waker());
        if !self.bell.rang.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let bell = Waker::from(Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&bell))
    }
}

impl<T> fmt::Debug for Woken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Woken").finish_non_exhaustive()
    }
}

/// What the future wakes: it remembers, and wakes who asked last.
struct Bell {
    rang: AtomicBool,
    asker: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        let asker = self
            .asker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Not under the lock: it may run whatever it likes.
        asker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn it_is_looked_at_once_for_each_time_it_was_woken() {
        let looks = Arc::new(AtomicUsize::new(0));
        let inner: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (seen, kept) = (Arc::clone(&looks), Arc::clone(&inner));
        let mut woken = Woken::new(poll_fn(move |cx| {
            *kept.lock().unwrap() = Some(cx.waker().clone());
            match seen.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Poll::Pending,
                _ => Poll::Ready("over"),
            }
        }));
        let wake = || inner.lock().unwrap().clone().unwrap().wake();
        let mut ask = |task: &Arc<Task>| {
            let waker = Waker::from(Arc::clone(task));
            Pin::new(&mut woken).poll(&mut Context::from_waker(&waker))
        };

        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        for _ in 0..3 {
            assert_eq!(ask(&first), Poll::Pending);
        }
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        wake();
        assert_eq!((first.woken(), second.woken()), (1, 0));
        assert_eq!(ask(&first), Poll::Pending);
        assert_eq!(looks.load(Ordering::Relaxed), 2);

        // Who asked last is woken, though the future has not been looked at since.
        assert_eq!(ask(&second), Poll::Pending);
        assert_eq!(looks.load(Ordering::Relaxed), 2);
        wake();
        assert_eq!((first.woken(), second.woken()), (1, 1));

        // A wake that went to another one is not lost.
        assert_eq!(ask(&first), Poll::Ready("over"));
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Task {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
