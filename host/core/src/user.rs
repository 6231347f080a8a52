//! People and bots.

use crate::{Timestamp, UserId};

/// What a user chose to show; what others see also depends on whether a socket is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Here.
    Online,
    /// Not at the keyboard.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Not here, or invisible by choice.
    Offline,
}

impl Status {
    /// The name that the database and the API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Online, Self::Away, Self::Busy, Self::Offline].into_iter().find(|s| s.as_str() == name)
    }
}

/// What others see of a user's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisiblePresence {
    /// Whose.
    pub user_id: UserId,
    /// What the user chose to show, or offline for who isn't here.
    pub status: Status,
    /// When the user was last here, or chose to be invisible.
    pub last_seen: Option<Timestamp>,
}

impl VisiblePresence {
    /// What others see of a user who chose to show this.
    pub fn of(user_id: UserId, chosen: Status, last_seen: Option<Timestamp>, is_here: bool) -> Self {
        Self { user_id, status: if is_here { chosen } else { Status::Offline }, last_seen }
    }
}

/// A person or a bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// 2 to 32 of letters, digits, `_ . -`; unique without regard to case.
    pub username: String,
    /// Shown only to the user and to superusers.
    pub email: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Inactive users can't log in.
    pub is_active: bool,
    /// May administer the deployment.
    pub is_superuser: bool,
    /// A bot account.
    pub is_bot: bool,
    /// The object that holds the profile picture.
    pub profile_picture: Option<String>,
    /// What the user chose to show.
    pub status: Status,
    /// When a socket of the user was last open.
    pub last_seen: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When the account last changed.
    pub updated_at: Timestamp,
}
