//! Whether the SDK's types fit what the host writes: this crate is where both can be seen.

use patchbay_core::{Event as Core, Member, Message, MessageId, Role, User, UserId};
use patchbay_protocol::event_data;
use patchbay_sdk::Event;

use crate::world::World;

#[test]
fn every_kind_is_read() {
    let world = World::new("demo");
    let mut state = world.state();
    let ann = state.add_user("ann", false, false);
    let channel_id = state.add_channel("general", &[ann], false);
    let user: User = state.users[&ann].clone();
    let actor = state.actor(&user);
    let file = state.upload(&actor, "a.txt", "text/plain", b"hello").unwrap().id;
    let message: Message = state.post(&actor, channel_id, "hello @ann", None, &[file]).unwrap();
    let (reaction, _) = state.react(&actor, message.id, "👍").unwrap();
    let channel = state.rooms[&channel_id].channel.clone();
    let member = Member { channel_id, user: user.clone(), role: Role::Owner, joined_at: channel.created_at };
    let pinned = |is_pinned| Core::Pinned { message_id: message.id, channel_id, by: ann, is_pinned };
    let deleted = Core::MessageDeleted {
        id: message.id,
        channel_id,
        parent_id: Some(MessageId(1)),
        is_tombstone: true,
        deleted_at: channel.created_at,
    };
    let plugin =
        Core::Plugin { kind: "plugin.poll.voted".to_owned(), channel_id, data: "{\"poll\":1}".to_owned() };
    for event in [
        Core::MessageCreated(message.clone()),
        Core::MessageUpdated(message.clone()),
        deleted,
        pinned(true),
        pinned(false),
        Core::ChannelCreated(channel.clone()),
        Core::ChannelUpdated(channel.clone()),
        Core::ChannelDeleted(channel),
        Core::MemberAdded(member.clone()),
        Core::MemberUpdated(member),
        Core::MemberRemoved { channel_id, user_id: UserId(7) },
        Core::ReactionAdded(channel_id, reaction.clone()),
        Core::ReactionRemoved(channel_id, reaction),
        Core::UserUpdated(user),
        plugin,
    ] {
        let read = Event::read(event.kind(), &event_data(&event));
        assert!(!matches!(read, Event::Unknown { .. }), "{read:?}");
        if let (Event::MessageCreated(read), Core::MessageCreated(message)) = (&read, &event) {
            assert_eq!((read.content.as_str(), read.files.len()), (message.content.as_str(), 1));
            assert_eq!(read.mentions, [u64::try_from(ann.0).unwrap()]);
        }
    }
}
