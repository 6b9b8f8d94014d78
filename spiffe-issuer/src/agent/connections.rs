//! How many connections there may be: each takes descriptors, of which a process has only so many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The connections of all users; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    at_most: usize,
    users: Mutex<HashMap<u32, usize>>,
}

/// A connection's place; ends when it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Connections,
    uid: u32,
}

impl Connections {
    /// Up to `at_most` connections, of which no user may have more than half.
    #[must_use]
    pub fn new(at_most: usize) -> Self {
        Self(Arc::new(Inner {
            at_most,
            users: Mutex::default(),
        }))
    }

    /// As many as this process has descriptors for, after it has taken all that it may have.
    #[must_use]
    pub fn by_descriptors() -> Self {
        let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                Ok(()) => hard,
                Err(_) => soft,
            },
            Err(_) => 1024,
        };
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self::new((descriptors / 2 / DESCRIPTORS_EACH).min(MOST))
    }

    /// A place for a connection of this user, if there is one.
    #[must_use]
    pub fn enter(&self, uid: u32) -> Option<Place> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = users.values().sum();
        let own = users.get(&uid).copied().unwrap_or_default();
        if all >= self.0.at_most || own >= self.0.at_most.div_ceil(2) {
            return None;
        }
        users.insert(uid, own + 1);
        drop(users);
        let connections = self.clone();
        Some(Place { connections, uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let users = &self.connections.0.users;
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = users.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// The socket, the pidfd and the directory below `/proc`, and one that is open for a moment.
const DESCRIPTORS_EACH: usize = 4;

const MOST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_more_than_half() {
        let connections = Connections::new(4);
        let places: Vec<_> = (0..5).filter_map(|_| connections.enter(1)).collect();
        assert_eq!(places.len(), 2);
        let others: Vec<_> = (2..9).filter_map(|uid| connections.enter(uid)).collect();
        assert_eq!(others.len(), 2);
        drop(places);
        assert!(connections.enter(1).is_some());
        drop(others);
        assert!(
            connections.0.users.lock().unwrap().is_empty(),
            "all is given back"
        );
    }

    #[test]
    fn there_is_room_for_some() {
        assert!(Connections::by_descriptors().enter(1).is_some());
    }
}
