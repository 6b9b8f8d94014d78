//! How many connections one stranger may have.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places for connections, so many for each network.
#[derive(Clone, Debug)]
pub(super) struct Places {
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place of one connection, for as long as it is held.
#[derive(Debug)]
pub(super) struct Place(Option<(Places, IpAddr)>);

impl Places {
    pub(super) fn new(each: usize) -> Self {
        Self {
            each,
            taken: Arc::default(),
        }
    }

    /// A place for who comes from there, if that network has one left. What has no address comes from
    /// somebody who was let in elsewhere.
    pub(super) fn take(&self, from: Option<SocketAddr>) -> Option<Place> {
        let Some(from) = from else {
            return Some(Place(None));
        };
        let network = network(from.ip());
        let mut taken = self.taken();
        let count = taken.entry(network).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), network))))
    }

    /// A poisoned lock still holds the counts.
    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, network)) = &self.0 else {
            return;
        };
        let mut taken = places.taken();
        if let Some(count) = taken.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(network);
            }
        }
    }
}

/// What one stranger may have all of: an address of version 4, and 2^64 of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_so_many_places_and_takes_none_from_another() {
        for (one, same, other) in [
            ("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"),
            (
                "[2001:db8::1]:1",
                "[2001:db8::f:0:0:1]:1",
                "[2001:db8:0:1::1]:1",
            ),
            (
                "[::ffff:192.0.2.1]:1",
                "192.0.2.1:1",
                "[::ffff:192.0.2.2]:1",
            ),
        ] {
            let places = Places::new(2);
            let take = |from: &str| places.take(Some(from.parse().unwrap()));
            let (first, second) = (take(one).unwrap(), take(same).unwrap());
            assert!(take(one).is_none() && take(same).is_none(), "{one}");
            let others = [take(other).unwrap(), take(other).unwrap()];
            assert!(places.take(None).is_some(), "who has no address");
            drop(first);
            let third = take(same).unwrap();
            assert!(take(one).is_none(), "{one}");
            drop((second, third, others));
            assert!(places.taken().is_empty(), "nothing is kept of who is gone");
        }
    }
}
