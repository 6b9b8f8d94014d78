//! Those who wait for news: one watch for each set of selectors.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{Entry, SelectorSet};

/// Watches by what their readers were attested to be.
#[derive(Debug)]
pub(super) struct Subscribers<T> {
    watches: HashMap<SelectorSet, watch::Sender<T>>,
}

impl<T: Clone + PartialEq> Subscribers<T> {
    /// A reader for these selectors, which begins with `now`.
    pub(super) fn subscribe(&mut self, selectors: &SelectorSet, now: T) -> watch::Receiver<T> {
        // Those whom nobody reads any more are left over from readers that went away.
        self.watches.retain(|_, watch| watch.receiver_count() > 0);
        match self.watches.get(selectors) {
            Some(watch) => {
                publish(watch, now);
                watch.subscribe()
            }
            None => {
                let watch = watch::Sender::new(now);
                let reader = watch.subscribe();
                self.watches.insert(selectors.clone(), watch);
                reader
            }
        }
    }

    /// The sets of selectors that somebody waits for.
    pub(super) fn live(&self) -> impl Iterator<Item = &SelectorSet> {
        let live = self.watches.iter();
        live.filter(|(_, watch)| watch.receiver_count() > 0)
            .map(|(selectors, _)| selectors)
    }

    /// Tells everyone whom one of these entries concerns. Who would be told what it knows already
    /// is not told.
    pub(super) fn tell(&self, entries: &[Arc<Entry>], news: impl Fn(&SelectorSet) -> T) {
        for (selectors, watch) in &self.watches {
            let concerns = |entry: &Arc<Entry>| entry.body.selectors.is_subset(selectors);
            if entries.iter().any(concerns) {
                publish(watch, news(selectors));
            }
        }
    }

    /// Tells everyone.
    pub(super) fn tell_all(&self, news: impl Fn(&SelectorSet) -> T) {
        for (selectors, watch) in &self.watches {
            publish(watch, news(selectors));
        }
    }
}

impl<T> Default for Subscribers<T> {
    fn default() -> Self {
        Self {
            watches: HashMap::new(),
        }
    }
}

fn publish<T: PartialEq>(watch: &watch::Sender<T>, news: T) {
    watch.send_if_modified(|known| {
        let is_news = *known != news;
        if is_news {
            *known = news;
        }
        is_news
    });
}

#[cfg(test)]
mod tests {
    use super::super::samples::{entry, selectors};
    use super::*;

    #[test]
    fn only_those_concerned_are_told_and_only_what_is_new() {
        let (one, other) = (selectors(&["a:1", "b:2"]), selectors(&["b:2"]));
        let mut subscribers = Subscribers::default();
        let mut first = subscribers.subscribe(&one, 0);
        let mut second = subscribers.subscribe(&other, 0);

        let entry = entry("e", 1, &["a:1"]);
        subscribers.tell(&[entry], |_| 1);
        assert!(first.has_changed().unwrap());
        assert!(!second.has_changed().unwrap());
        assert_eq!(*first.borrow_and_update(), 1);

        subscribers.tell_all(|_| 1);
        assert!(!first.has_changed().unwrap(), "it knows");
        assert_eq!(*second.borrow_and_update(), 1);
    }

    #[test]
    fn readers_of_one_set_share_a_watch_and_leave_nothing_behind() {
        let mut subscribers = Subscribers::default();
        let set = selectors(&["a:1"]);
        let first = subscribers.subscribe(&set, 1);
        let mut second = subscribers.subscribe(&set, 2);
        assert!(first.has_changed().unwrap(), "what is known is renewed");
        assert_eq!(*second.borrow_and_update(), 2);
        assert_eq!(subscribers.live().count(), 1);
        drop((first, second));
        assert_eq!(subscribers.live().count(), 0);
        let _other = subscribers.subscribe(&selectors(&["b:2"]), 0);
        assert_eq!(subscribers.watches.len(), 1);
    }
}
