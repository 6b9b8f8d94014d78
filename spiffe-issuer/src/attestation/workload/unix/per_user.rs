//! Something for each user that is here, and nothing for those who were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One `T` for each user, made when it is first asked for and forgotten once nobody holds it.
#[derive(Debug)]
pub(super) struct PerUser<T> {
    make: fn() -> T,
    users: Mutex<HashMap<u32, Arc<T>>>,
}

impl<T> PerUser<T> {
    pub(super) fn new(make: fn() -> T) -> Self {
        Self {
            make,
            users: Mutex::default(),
        }
    }

    /// That of this user.
    pub(super) fn of(&self, uid: u32) -> Arc<T> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody needs those that only this map holds.
        users.retain(|_, one| Arc::strong_count(one) > 1);
        users
            .entry(uid)
            .or_insert_with(|| Arc::new((self.make)()))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_is_forgotten() {
        let turns = PerUser::new(Mutex::<()>::default);
        let first = turns.of(1);
        assert!(Arc::ptr_eq(&first, &turns.of(1)));
        for uid in 2..100 {
            turns.of(uid);
        }
        assert!(turns.users.lock().unwrap().len() <= 2);
    }
}
