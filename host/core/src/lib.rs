//! The vocabulary of Patchbay: ids, entities, the rules of who may do what, and the events that changes
//! leave behind.
//!
//! Owns: the meaning of things. Must not: do IO, await, serialise, or know a database, a socket or a plugin.

mod actor;
mod channel;
mod event;
mod file;
mod ids;
mod message;
pub mod permission;
mod reaction;
pub mod search;
pub mod text;
mod time;
mod user;

pub use actor::{Actor, MAX_DEPTH, Via};
pub use channel::{Channel, ChannelForViewer, MAX_FIRST_MEMBERS, MAX_FOLLOWED, Member, Role};
pub use event::{Audience, Event};
pub use file::{File, Image, TextKind};
pub use ids::{ChannelId, FileId, MessageId, ReactionId, Seq, SessionId, UserId};
pub use message::{MAX_FILES, Message, MessageEdit, Sender};
pub use reaction::{Reaction, ReactionCount};
pub use search::{Hit, SearchFilter, SearchOrder, SearchPage, SearchQuery, SearchTerm};
pub use time::Timestamp;
pub use user::{Status, User, VisiblePresence};
