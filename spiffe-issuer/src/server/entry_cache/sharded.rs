//! A map whose copies share what they have in common.
//!
//! Copying it costs one pointer. The first change after that copies one path of three: 64 pointers,
//! 64 pointers, and one of 4 096 small maps; further changes to the same small map are made in
//! place.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::iter::repeat_n;
use std::sync::Arc;

/// A map from `K` to `V`, cheap to copy and cheap to change a little.
#[derive(Debug, Clone)]
pub(super) struct Sharded<K, V> {
    hasher: RandomState,
    rows: Arc<Vec<Arc<Row<K, V>>>>,
    len: usize,
}

type Row<K, V> = Vec<Arc<HashMap<K, V>>>;

const WIDTH: usize = 64;

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        // All of them share one empty map until the first change.
        let row = repeat_n(Arc::new(HashMap::new()), WIDTH).collect();
        Self {
            hasher: RandomState::new(),
            rows: Arc::new(repeat_n(Arc::new(row), WIDTH).collect()),
            len: 0,
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (row, column) = self.place(key);
        self.rows[row][column].get(key)
    }

    pub(super) fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.shard(&key).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        if !self.contains(key) {
            // Nothing is copied for what is not there.
            return None;
        }
        let removed = self.shard(key).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn shard(&mut self, key: &K) -> &mut HashMap<K, V> {
        let (row, column) = self.place(key);
        let row = Arc::make_mut(&mut Arc::make_mut(&mut self.rows)[row]);
        Arc::make_mut(&mut row[column])
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> (usize, usize) {
        // Only the low bits are wanted, so it does not matter what the cast cuts off.
        let hash = self.hasher.hash_one(key) as usize;
        (hash % WIDTH, hash / WIDTH % WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut map = Sharded::default();
        for n in 0..10_000 {
            assert_eq!(map.insert(n, n), None);
        }
        let copy = map.clone();
        assert_eq!(map.insert(7, 8), Some(7));
        assert_eq!(map.remove(&9), Some(9));
        assert_eq!(map.remove(&9), None);
        assert_eq!(
            (map.get(&7), map.get(&9), map.len()),
            (Some(&8), None, 9_999)
        );
        assert_eq!(
            (copy.get(&7), copy.get(&9), copy.len()),
            (Some(&7), Some(&9), 10_000)
        );
    }

    #[test]
    fn copies_share_what_did_not_change() {
        let mut map = Sharded::default();
        for n in 0..1000 {
            map.insert(n, n);
        }
        let copy = map.clone();
        map.insert(0, 1);
        let rows = || map.rows.iter().zip(copy.rows.iter());
        let changed_rows = rows().filter(|(a, b)| !Arc::ptr_eq(a, b));
        assert_eq!(changed_rows.count(), 1);
        let shards = rows().flat_map(|(a, b)| a.iter().zip(b.iter()));
        let changed_shards = shards.filter(|(a, b)| !Arc::ptr_eq(a, b));
        assert_eq!(changed_shards.count(), 1);
    }
}
