//! Who is asking.

use std::sync::Arc;

use crate::{UserId, permission::Standing};

/// The authority under which an operation runs. Made by authentication or lent to a plugin as a handle;
/// nothing else turns a user id into the right to act as that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    who: Who,
    via: Option<Via>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    User {
        id: UserId,
        is_superuser: bool,
        is_bot: bool,
    },
    /// The deployment itself; given to a plugin only by an explicit grant.
    System,
}

/// The plugin through which an actor acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Its name.
    pub plugin: Arc<str>,
    /// How many plugins stand between a person and what is done: 1 for a plugin that answers a request, one more for
    /// each that reacts to what the one before has done.
    pub depth: u8,
}

/// Most plugins between a person and what is done. Beyond it two plugins that answer each other would go on for
/// ever.
pub const MAX_DEPTH: u8 = 2;

impl Actor {
    /// The deployment itself.
    pub const SYSTEM: Self = Self { who: Who::System, via: None };

    /// A user or bot, with what the permission rules need to know of it.
    pub fn user(id: UserId, is_superuser: bool, is_bot: bool) -> Self {
        Self { who: Who::User { id, is_superuser, is_bot }, via: None }
    }

    /// The same authority, used by a plugin.
    #[must_use]
    pub fn through(mut self, via: Via) -> Self {
        self.via = Some(via);
        self
    }

    /// The plugin that uses this authority, if one does.
    pub fn via(&self) -> Option<&Via> {
        self.via.as_ref()
    }

    /// How many plugins stand between a person and what is done.
    pub fn depth(&self) -> u8 {
        self.via.as_ref().map_or(0, |via| via.depth)
    }

    /// The user behind this actor; none for the system.
    pub fn user_id(&self) -> Option<UserId> {
        match self.who {
            Who::User { id, .. } => Some(id),
            Who::System => None,
        }
    }

    /// Whether this is a bot account.
    pub fn is_bot(&self) -> bool {
        matches!(self.who, Who::User { is_bot: true, .. })
    }

    /// Whether this actor may administer the deployment.
    pub fn is_superuser(&self) -> bool {
        match self.who {
            Who::User { is_superuser, .. } => is_superuser,
            Who::System => true,
        }
    }

    /// What the permission rules see of this actor.
    pub fn standing(&self) -> Standing {
        match self.who {
            Who::User { is_superuser: true, .. } => Standing::Superuser,
            Who::User { .. } => Standing::User,
            Who::System => Standing::System,
        }
    }
}
