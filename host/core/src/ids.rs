//! Typed ids, so that a user id can't be passed where a channel id is meant.

use std::fmt;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// A user or bot.
    UserId,
    /// A channel, direct message or voice channel.
    ChannelId,
    /// A message; rises with time within a channel.
    MessageId,
    /// An uploaded file.
    FileId,
    /// One reaction of one user to one message.
    ReactionId,
    /// A login: one chain of refresh tokens.
    SessionId,
    /// A position in the journal; the first entry is 1, 0 is "before everything".
    Seq,
}
