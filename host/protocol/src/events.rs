//! The `data` of the gateway's event frames. It is written once, when the event enters the journal, and read
//! by everyone who may see it: so nothing in it may depend on the reader.

use patchbay_core::{Event, Message as CoreMessage};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::{Channel, Member, Message, Reaction, Time, User};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}InChannel")]
struct InChannel<T: Serialize> {
    channel_id: i64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeletedMessage")]
struct Deleted {
    id: i64,
    channel_id: i64,
    parent_id: Option<i64>,
    is_tombstone: bool,
    deleted_at: Time,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeletedChannel")]
struct Id {
    id: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RemovedMember")]
struct UserId {
    user_id: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PinnedMessage")]
struct Pinned {
    message_id: i64,
    user_id: i64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReadMark")]
struct Read {
    message_id: i64,
}

fn json(value: &impl Serialize) -> String {
    // These types have string keys and no fallible parts: serialising them can't fail.
    serde_json::to_string(value).unwrap_or_else(|_| "{}".into())
}

/// The event's data as a JSON object.
pub fn event_data(event: &Event) -> String {
    match event {
        Event::MessageCreated(message) | Event::MessageUpdated(message) => json(&Message::from(message)),
        Event::MessageDeleted { id, channel_id, parent_id, is_tombstone, deleted_at } => json(&Deleted {
            id: id.0,
            channel_id: channel_id.0,
            parent_id: parent_id.map(|id| id.0),
            is_tombstone: *is_tombstone,
            deleted_at: (*deleted_at).into(),
        }),
        Event::Pinned { message_id, channel_id, by, .. } => json(&InChannel {
            channel_id: channel_id.0,
            rest: Pinned { message_id: message_id.0, user_id: by.0 },
        }),
        Event::ChannelCreated(channel) | Event::ChannelUpdated(channel) => json(&Channel::from(channel)),
        Event::ChannelDeleted(channel) => json(&Id { id: channel.id.0 }),
        Event::MemberAdded(member) | Event::MemberUpdated(member) => json(&InChannel {
            channel_id: member.channel_id.0,
            rest: Member {
                user: User::public(&member.user),
                role: member.role.into(),
                joined_at: member.joined_at.into(),
            },
        }),
        Event::MemberRemoved { channel_id, user_id } => {
            json(&InChannel { channel_id: channel_id.0, rest: UserId { user_id: user_id.0 } })
        }
        Event::ReactionAdded(channel_id, reaction) | Event::ReactionRemoved(channel_id, reaction) => {
            json(&InChannel { channel_id: channel_id.0, rest: Reaction::from(reaction) })
        }
        Event::UserUpdated(user) => json(&User::public(user)),
        Event::ReadUpdated { channel_id, message_id, .. } => {
            json(&InChannel { channel_id: channel_id.0, rest: Read { message_id: message_id.0 } })
        }
        Event::Plugin { data, .. } => data.clone(),
    }
}

/// Every kind of event with its meaning and the schema of its data; those of plugins are theirs.
pub fn event_schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, &'static str, Schema)> {
    vec![
        ("message.created", "A message was posted.", generator.subschema_for::<Message>()),
        ("message.updated", "A message was edited.", generator.subschema_for::<Message>()),
        ("message.deleted", "A message is gone.", generator.subschema_for::<Deleted>()),
        ("message.pinned", "`user_id` pinned it.", generator.subschema_for::<InChannel<Pinned>>()),
        ("message.unpinned", "`user_id` unpinned it.", generator.subschema_for::<InChannel<Pinned>>()),
        ("channel.created", "A channel was made.", generator.subschema_for::<Channel>()),
        (
            "channel.updated",
            "Its name, description or visibility changed.",
            generator.subschema_for::<Channel>(),
        ),
        ("channel.deleted", "A channel is gone.", generator.subschema_for::<Id>()),
        ("member.added", "A user became a member.", generator.subschema_for::<InChannel<Member>>()),
        ("member.updated", "A member's role changed.", generator.subschema_for::<InChannel<Member>>()),
        ("member.removed", "A user is no longer a member.", generator.subschema_for::<InChannel<UserId>>()),
        (
            "reaction.added",
            "Somebody reacted to a message.",
            generator.subschema_for::<InChannel<Reaction>>(),
        ),
        (
            "reaction.removed",
            "Somebody took a reaction back.",
            generator.subschema_for::<InChannel<Reaction>>(),
        ),
        ("user.updated", "A user's public profile changed.", generator.subschema_for::<User>()),
        (
            "read.updated",
            "One's own read mark moved, on any device.",
            generator.subschema_for::<InChannel<Read>>(),
        ),
    ]
}

/// What remains in the journal of a deleted message: its shape without its content.
pub fn scrubbed_message(message: &CoreMessage, deleted_at: patchbay_core::Timestamp) -> String {
    json(&Message {
        content: String::new(),
        has_attachments: false,
        files: Vec::new(),
        mentions: Vec::new(),
        deleted_at: Some(deleted_at.into()),
        ..Message::from(message)
    })
}
