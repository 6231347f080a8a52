//! Who is here, for those who answer requests: the gateway's hub writes it, everybody reads it.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use patchbay_core::UserId;

/// The users who are here: with a socket open, or gone for less than the grace period. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Online(Arc<RwLock<HashSet<UserId>>>);

impl Online {
    /// Whether the user is here.
    pub fn contains(&self, user: UserId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&user)
    }

    pub(super) fn insert(&self, user: UserId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(user);
    }

    pub(super) fn remove(&self, user: UserId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&user);
    }
}
