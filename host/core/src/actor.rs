//! Who is asking.

use crate::{UserId, permission::Standing};

/// The authority under which an operation runs. Made by authentication or lent to a plugin as a handle;
/// nothing else turns a user id into the right to act as that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user or bot, with what the permission rules need to know of it.
    User {
        /// Who it is.
        id: UserId,
        /// May administer the deployment.
        is_superuser: bool,
        /// A bot account.
        is_bot: bool,
    },
    /// The deployment itself; given to a plugin only by an explicit grant.
    System,
}

impl Actor {
    /// The user behind this actor; none for the system.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::System => None,
        }
    }

    /// Whether this actor may administer the deployment.
    pub fn is_superuser(&self) -> bool {
        match self {
            Self::User { is_superuser, .. } => *is_superuser,
            Self::System => true,
        }
    }

    /// What the permission rules see of this actor.
    pub fn standing(&self) -> Standing {
        match self {
            Self::User { is_superuser: true, .. } => Standing::Superuser,
            Self::User { .. } => Standing::User,
            Self::System => Standing::System,
        }
    }
}
