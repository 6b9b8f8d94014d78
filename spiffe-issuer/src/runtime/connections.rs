//! How many connections there may be: each takes descriptors, of which a process has only so many.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The connections of all peers, whatever tells those apart; cheap to clone.
#[derive(Debug)]
pub struct Connections<P: Eq + Hash>(Arc<Inner<P>>);

#[derive(Debug)]
struct Inner<P> {
    at_most: usize,
    peers: Mutex<HashMap<P, usize>>,
    turned_away: Mutex<TurnedAway>,
}

/// Those for whom there was no place, since they were last told of.
#[derive(Debug, Default)]
struct TurnedAway {
    count: u64,
    told: Option<Instant>,
}

/// A connection's place; ends when it is dropped.
#[derive(Debug)]
pub struct Place<P: Eq + Hash> {
    connections: Connections<P>,
    peer: P,
}

impl<P: Eq + Hash + Clone> Connections<P> {
    /// Up to `at_most` connections, of which no peer may have more than half.
    #[must_use]
    pub fn new(at_most: usize) -> Self {
        Self(Arc::new(Inner {
            at_most,
            peers: Mutex::default(),
            turned_away: Mutex::default(),
        }))
    }

    /// As many as this process has descriptors for, after it has taken all that it may have. Half of
    /// them are for other things: files, and sockets of other kinds.
    #[must_use]
    pub fn by_descriptors(each: usize) -> Self {
        let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                Ok(()) => hard,
                Err(_) => soft,
            },
            Err(_) => 1024,
        };
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self::new((descriptors / 2 / each).min(MOST))
    }

    /// How many connections there may be.
    #[must_use]
    pub fn at_most(&self) -> usize {
        self.0.at_most
    }

    /// Counts one who got no place. Returns how many did not since this was last worth a line in the
    /// log, which it is once a second: whoever floods us should not flood the log as well.
    #[must_use]
    pub fn turned_away(&self, now: Instant) -> Option<u64> {
        let turned_away = &self.0.turned_away;
        let mut turned_away = turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        turned_away.count += 1;
        if turned_away.told.is_some_and(|told| now < told + QUIET) {
            return None;
        }
        let count = std::mem::take(&mut turned_away.count);
        turned_away.told = Some(now);
        Some(count)
    }

    /// A place for a connection of this peer, if there is one.
    #[must_use]
    pub fn enter(&self, peer: P) -> Option<Place<P>> {
        let mut peers = self.0.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = peers.values().sum();
        let own = peers.get(&peer).copied().unwrap_or_default();
        if all >= self.0.at_most || own >= self.0.at_most.div_ceil(2) {
            return None;
        }
        peers.insert(peer.clone(), own + 1);
        drop(peers);
        let connections = self.clone();
        Some(Place { connections, peer })
    }
}

impl<P: Eq + Hash> Clone for Connections<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Eq + Hash> Drop for Place<P> {
    fn drop(&mut self) {
        let peers = &self.connections.0.peers;
        let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = peers.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// More than a healthy fleet needs, and little enough to hold in memory.
const MOST: usize = 16 * 1024;

const QUIET: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peer_takes_more_than_half() {
        let connections = Connections::new(4);
        let places: Vec<_> = (0..5).filter_map(|_| connections.enter(1)).collect();
        assert_eq!(places.len(), 2);
        let others: Vec<_> = (2..9).filter_map(|peer| connections.enter(peer)).collect();
        assert_eq!(others.len(), 2);
        drop(places);
        assert!(connections.enter(1).is_some());
        drop(others);
        assert!(
            connections.0.peers.lock().unwrap().is_empty(),
            "all is given back"
        );
    }

    #[test]
    fn who_is_turned_away_is_told_of_once_a_second() {
        let connections = Connections::<u32>::new(0);
        let begin = Instant::now();
        for (after, told) in [
            (0, Some(1)),
            (1, None),
            (999, None),
            (1000, Some(3)),
            (1500, None),
        ] {
            let now = begin + Duration::from_millis(after);
            assert_eq!(connections.turned_away(now), told, "after {after} ms");
        }
    }

    #[test]
    fn there_is_room_for_some() {
        assert!(Connections::by_descriptors(4).enter(1).is_some());
    }
}
