//! Who has a socket open.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use patchbay_core::UserId;

/// How many sockets each user has open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Online(Arc<RwLock<HashMap<UserId, usize>>>);

impl Online {
    /// Whether the user has a socket open.
    pub fn contains(&self, user: UserId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(&user)
    }

    /// Counts a socket; whether it is the user's first.
    pub(super) fn add(&self, user: UserId) -> bool {
        let mut sockets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let count = sockets.entry(user).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// Takes a socket out of the count; whether it was the user's last.
    pub(super) fn remove(&self, user: UserId) -> bool {
        let mut sockets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match sockets.get_mut(&user) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) => sockets.remove(&user).is_some(),
            None => false,
        }
    }
}
