//! Why an operation did not do what it was asked. The doors turn these into problem documents, error frames
//! and WIT errors; none of them decides anything by itself.

use patchbay_core::text::Fault;
use patchbay_store::StoreError;

use crate::auth::passwords::PasswordError;

/// An operation's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// Its path.
    pub field: String,
    /// Stable snake_case.
    pub code: String,
    /// A sentence without the field's name.
    pub message: String,
}

impl FieldFault {
    /// A fault of `field`.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// What exists in no sense that the actor may know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// `user_not_found`
    User,
    /// `channel_not_found`
    Channel,
    /// `member_not_found`
    Member,
    /// `message_not_found`
    Message,
    /// `reaction_not_found`
    Reaction,
    /// `session_not_found`
    Session,
    /// `plugin_not_found`
    Plugin,
    /// `file_not_found`
    File,
    /// `pin_not_found`
    Pin,
    /// `profile_picture_not_found`
    Picture,
    /// `thumbnail_not_found`
    Thumbnail,
    /// `invite_not_found`
    Invite,
    /// `command_not_found`
    Command,
    /// `voice_participant_not_found`
    VoiceParticipant,
    /// `bot_not_found`
    Bot,
}

impl Thing {
    /// Its name in sentences and codes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Channel => "channel",
            Self::Member => "member",
            Self::Message => "message",
            Self::Reaction => "reaction",
            Self::Session => "session",
            Self::Plugin => "plugin",
            Self::File => "file",
            Self::Pin => "pin",
            Self::Picture => "profile_picture",
            Self::Thumbnail => "thumbnail",
            Self::Command => "command",
            Self::Bot => "bot",
            Self::Invite => "invite",
            Self::VoiceParticipant => "voice_participant",
        }
    }
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It doesn't exist, or the actor may not know that it does.
    #[error("{} not found", .0.as_str())]
    NotFound(Thing),
    /// The actor knows it but may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The same with a code of its own.
    #[error("{1}")]
    Denied(&'static str, String),
    /// Who asks is not known: code and sentence.
    #[error("{1}")]
    Unauthenticated(&'static str, &'static str),
    /// Fields are wrong.
    #[error("{} field(s) are wrong", .0.len())]
    Invalid(Vec<FieldFault>),
    /// It contradicts what is there: code and sentence.
    #[error("{1}")]
    Conflict(&'static str, String),
    /// A component was refused: code and sentence.
    #[error("{1}")]
    Refused(String, String),
    /// A plugin's hook refused a message.
    #[error("{detail}")]
    RefusedByPlugin {
        /// The plugin's own code.
        code: String,
        /// A sentence for the author.
        detail: String,
    },
    /// More bytes than are allowed.
    #[error("{0}")]
    TooLarge(String),
    /// Too often; how long to wait.
    #[error("too many requests")]
    TooMany(std::time::Duration),
    /// More bytes than the actor may have in all files together.
    #[error("{0}")]
    QuotaExceeded(String),
    /// It can't be done now.
    #[error("{0}")]
    Unavailable(String),
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// Anything else that is not the client's doing.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// One wrong field.
    pub fn invalid(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldFault::new(field, code, message)])
    }

    /// No or no good token.
    pub fn unauthenticated() -> Self {
        Self::Unauthenticated("unauthenticated", "a valid access token is needed")
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => {
                tracing::warn!(%reason, "the database is unavailable");
                Self::Unavailable("the database is unavailable".into())
            }
            StoreError::TooSlow => {
                Self::Unavailable("the search takes too long; say more of what you look for".into())
            }
            StoreError::Nul => Self::invalid("", "characters", "must not contain U+0000"),
            other => Self::Store(other),
        }
    }
}

impl From<PasswordError> for Error {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Unavailable(error.to_string()),
            PasswordError::Failed(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Gathers the faults of several fields, so that a client hears of all of them at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldFault>);

impl Faults {
    /// Takes note of a check of `field`.
    pub fn check(&mut self, field: &str, result: std::result::Result<(), Fault>) {
        if let Err(fault) = result {
            self.0.push(FieldFault::new(field, fault.code, fault.message));
        }
    }

    /// Takes note of a fault.
    pub fn push(&mut self, field: &str, code: &str, message: impl Into<String>) {
        self.0.push(FieldFault::new(field, code, message));
    }

    /// [`Error::Invalid`] if there was any.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}
