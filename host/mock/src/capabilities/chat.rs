//! Users, channels, messages, reactions, presence, signals.

use async_trait::async_trait;
use patchbay_core::{
    Actor, ChannelForViewer, ChannelId, Event, FileId, Message, MessageId, Reaction, ReactionCount,
    ReactionId, Status, User, UserId, permission::Action,
};
use patchbay_runtime::capabilities::{
    channels::Channels, messages::Messages, presence::Presence, reactions::Reactions, realtime::Realtime,
    users::Users,
};
use serde_json::json;

use super::name_of;
use crate::world::{Answer, State, World, invalid, not_found, user_of};

#[async_trait]
impl Users for World {
    async fn get(&self, actor: &Actor, id: UserId) -> Answer<User> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("users", "get"), arguments, |state| {
            state.users.get(&id).cloned().ok_or_else(|| not_found("user"))
        })
    }

    async fn find(&self, actor: &Actor, username: &str) -> Answer<User> {
        let arguments = json!({ "actor": name_of(self, actor), "username": username });
        self.call(("users", "find"), arguments, |state| {
            state.user_named(username).cloned().ok_or_else(|| not_found("user"))
        })
    }
}

#[async_trait]
impl Channels for World {
    async fn get(&self, actor: &Actor, id: ChannelId) -> Answer<ChannelForViewer> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("channels", "get"), arguments, |state| {
            let room = state.enter(actor, id, Action::Read)?;
            Ok(state.seen(actor, room))
        })
    }

    async fn list(
        &self,
        actor: &Actor,
        after: Option<ChannelId>,
        limit: u32,
    ) -> Answer<Vec<ChannelForViewer>> {
        let arguments =
            json!({ "actor": name_of(self, actor), "after": after.map(|id| id.0), "limit": limit });
        self.call(("channels", "list"), arguments, |state| {
            let readable = state.rooms.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
            let readable = readable.filter_map(|(id, _)| state.enter(actor, *id, Action::Read).ok());
            Ok(readable.take(limit as usize).map(|room| state.seen(actor, room)).collect())
        })
    }

    async fn members(
        &self,
        actor: &Actor,
        id: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Answer<Vec<UserId>> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0, "after": after.map(|id| id.0), "limit": limit });
        self.call(("channels", "members"), arguments, |state| {
            let room = state.enter(actor, id, Action::Read)?;
            let after = room.members.keys().filter(|id| after.is_none_or(|after| **id > after));
            Ok(after.copied().take(limit as usize).collect())
        })
    }
}

#[async_trait]
impl Messages for World {
    async fn get(&self, actor: &Actor, id: MessageId) -> Answer<Message> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("messages", "get"), arguments, |state| state.message(actor, id).cloned())
    }

    async fn list(
        &self,
        actor: &Actor,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: u32,
    ) -> Answer<Vec<Message>> {
        let arguments = json!({ "actor": name_of(self, actor), "channel": channel.0, "before": before.map(|id| id.0), "limit": limit });
        self.call(("messages", "list"), arguments, |state| {
            state.enter(actor, channel, Action::Read)?;
            let of_it = state.messages.values().rev().filter(|message| message.channel_id == channel);
            let of_it = of_it.filter(|message| before.is_none_or(|before| message.id < before));
            Ok(of_it.take(limit as usize).cloned().collect())
        })
    }

    async fn show(&self, actor: &Actor, ids: &[MessageId]) -> Answer<Vec<(MessageId, String)>> {
        let asked: Vec<_> = ids.iter().map(|id| id.0).collect();
        let arguments = json!({ "actor": name_of(self, actor), "ids": asked });
        self.call(("messages", "show"), arguments, |state| {
            let seen = ids.iter().filter_map(|id| state.message(actor, *id).ok());
            let shown = seen.filter(|message| message.deleted_at.is_none()).map(|message| {
                let json = serde_json::to_string(&patchbay_protocol::Message::from(message));
                (message.id, json.unwrap_or_default())
            });
            Ok(shown.collect())
        })
    }

    async fn post(
        &self,
        actor: &Actor,
        channel: ChannelId,
        content: &str,
        parent: Option<MessageId>,
        files: Vec<FileId>,
    ) -> Answer<Message> {
        let ids: Vec<_> = files.iter().map(|id| id.0).collect();
        let arguments = json!({
            "actor": name_of(self, actor), "channel": channel.0, "content": content,
            "parent": parent.map(|id| id.0), "files": ids,
        });
        self.call(("messages", "post"), arguments, |state| {
            state.post(actor, channel, content, parent, &files)
        })
    }

    async fn edit(&self, actor: &Actor, id: MessageId, content: &str) -> Answer<Message> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0, "content": content });
        self.call(("messages", "edit"), arguments, |state| state.edit(actor, id, content))
    }

    async fn delete(&self, actor: &Actor, id: MessageId) -> Answer<()> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("messages", "delete"), arguments, |state| state.delete(actor, id))
    }
}

#[async_trait]
impl Reactions for World {
    async fn add(&self, actor: &Actor, message: MessageId, emoji: &str) -> Answer<(Reaction, bool)> {
        let arguments = json!({ "actor": name_of(self, actor), "message": message.0, "emoji": emoji });
        self.call(("reactions", "add"), arguments, |state| state.react(actor, message, emoji))
    }

    async fn remove(&self, actor: &Actor, message: MessageId, emoji: &str) -> Answer<()> {
        let arguments = json!({ "actor": name_of(self, actor), "message": message.0, "emoji": emoji });
        self.call(("reactions", "remove"), arguments, |state| {
            let user = user_of(actor)?;
            let channel = state.message(actor, message)?.channel_id;
            let is_it = |r: &Reaction| r.message_id == message && r.user_id == user && r.emoji == emoji;
            let index = state.reactions.iter().position(is_it).ok_or_else(|| not_found("reaction"))?;
            let reaction = state.reactions.remove(index);
            state.emit(actor, Event::ReactionRemoved(channel, reaction))
        })
    }

    async fn list(
        &self,
        actor: &Actor,
        message: MessageId,
        after: Option<ReactionId>,
        limit: u32,
    ) -> Answer<Vec<Reaction>> {
        let arguments = json!({ "actor": name_of(self, actor), "message": message.0, "after": after.map(|id| id.0), "limit": limit });
        self.call(("reactions", "list"), arguments, |state| {
            state.message(actor, message)?;
            let of_it = state.reactions.iter().filter(|r| r.message_id == message);
            let of_it = of_it.filter(|r| after.is_none_or(|after| r.id > after));
            Ok(of_it.take(limit as usize).cloned().collect())
        })
    }

    async fn counts(&self, actor: &Actor, messages: &[MessageId]) -> Answer<Vec<ReactionCount>> {
        let ids: Vec<_> = messages.iter().map(|id| id.0).collect();
        let arguments = json!({ "actor": name_of(self, actor), "messages": ids });
        self.call(("reactions", "counts"), arguments, |state| Ok(counts(state, actor, messages)))
    }
}

fn counts(state: &State, actor: &Actor, messages: &[MessageId]) -> Vec<ReactionCount> {
    let mut counts: Vec<ReactionCount> = Vec::new();
    for message in messages.iter().filter(|id| state.message(actor, **id).is_ok()) {
        for reaction in state.reactions.iter().filter(|r| r.message_id == *message) {
            let me = Some(reaction.user_id) == actor.user_id();
            let same = |c: &&mut ReactionCount| c.message_id == *message && c.emoji == reaction.emoji;
            match counts.iter_mut().find(same) {
                Some(count) => (count.count, count.me) = (count.count + 1, count.me || me),
                None => counts.push(ReactionCount {
                    message_id: *message,
                    emoji: reaction.emoji.clone(),
                    count: 1,
                    me,
                }),
            }
        }
    }
    counts
}

#[async_trait]
impl Presence for World {
    /// Everybody is as they chose to be shown, to those who share a channel with them.
    async fn get(&self, actor: &Actor, users: &[UserId]) -> Answer<Vec<Status>> {
        let ids: Vec<_> = users.iter().map(|id| id.0).collect();
        let arguments = json!({ "actor": name_of(self, actor), "users": ids });
        self.call(("presence", "get"), arguments, |state| {
            let shares = |id: &UserId| {
                let both = |room: &crate::world::Room| {
                    let viewer = actor.user_id();
                    viewer.is_some_and(|viewer| room.members.contains_key(&viewer))
                        && room.members.contains_key(id)
                };
                actor.is_superuser() || actor.user_id() == Some(*id) || state.rooms.values().any(both)
            };
            let seen = |id: &UserId| {
                let user = state.users.get(id).filter(|_| shares(id));
                user.map_or(Status::Offline, |user| user.status)
            };
            Ok(users.iter().map(seen).collect())
        })
    }
}

#[async_trait]
impl Realtime for World {
    async fn signal(
        &self,
        plugin: &str,
        actor: &Actor,
        channel: ChannelId,
        kind: &str,
        json: &str,
    ) -> Answer<()> {
        let data = serde_json::from_str(json).map_err(|_| invalid("a signal is a JSON object"))?;
        let arguments =
            json!({ "actor": name_of(self, actor), "channel": channel.0, "kind": kind, "data": data });
        self.call(("realtime", "signal"), arguments, |state| {
            state.enter(actor, channel, Action::Write)?;
            state.signals.push((channel, format!("plugin.{plugin}.{kind}"), data));
            Ok(())
        })
    }
}
