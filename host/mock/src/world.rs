//! The world that a plugin under test sees: people, channels, messages, files, its own state, all in memory.
//!
//! Owns: the world and its rules, which are the server's in short: who may read and write where. Must not: know how a
//! plugin is called, or what a test asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use patchbay_core::{
    Actor, Audience, Channel, ChannelForViewer, ChannelId, Event, File, FileId, MAX_DEPTH, Message,
    MessageId, Reaction, Role, Sender, Status, Timestamp, User, UserId,
    permission::{Access, Action, Verdict},
    text,
};
use patchbay_runtime::{
    Egress, HostError, HostErrorKind,
    capabilities::{
        http_client::IncomingAnswer, log::LogLevel, scheduler::ScheduledJob, vectors::VectorItem,
    },
};
use serde_json::Value;

pub(crate) type Answer<T> = Result<T, HostError>;

/// When a world begins, in milliseconds since 1970: the same each time, so that what a plugin writes down is, too.
const BEGINNING: i64 = 1_700_000_000_000;

/// A world. Clones are the same one.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

/// One call of a host function.
#[derive(Clone, Debug)]
pub(crate) struct HostCall {
    pub interface: &'static str,
    pub function: &'static str,
    pub arguments: Value,
    /// The code of the error that it ended in.
    pub error: Option<String>,
}

/// A channel and who is in it.
pub(crate) struct Room {
    pub channel: Channel,
    pub members: BTreeMap<UserId, Role>,
}

/// Something that happened.
pub(crate) struct JournalEntry {
    pub seq: i64,
    pub event: Event,
    pub actor: Option<UserId>,
    pub depth: u8,
    /// The plugin under test did it, or a person.
    pub is_own: bool,
    pub at: Timestamp,
    /// It was told to the plugin, or does not concern it.
    pub is_told: bool,
}

/// A value of the plugin's own.
pub(crate) struct Kept {
    pub value: Vec<u8>,
    /// It goes when this message goes.
    pub message: Option<MessageId>,
}

/// What a server answers that a plugin asks.
pub(crate) struct Canned {
    /// None: any.
    pub method: Option<String>,
    /// A whole URL, or the start of some, with `*` at the end.
    pub url: String,
    pub answer: IncomingAnswer,
}

impl Canned {
    pub fn fits(&self, method: &str, url: &str) -> bool {
        let url_fits = match self.url.strip_suffix('*') {
            Some(start) => url.starts_with(start),
            None => url == self.url,
        };
        url_fits && self.method.as_deref().is_none_or(|wanted| wanted == method)
    }
}

/// What a model answers to a prompt.
#[derive(Clone)]
pub(crate) struct Scripted {
    /// What one of its turns has in it; none: any.
    pub contains: Option<String>,
    pub pieces: Vec<String>,
    /// The code of the error that comes after the pieces.
    pub error: Option<String>,
}

/// A job that waits.
pub(crate) struct Waiting {
    pub job: ScheduledJob,
    /// For a job of the manifest: when it comes again, in ms.
    pub every: Option<i64>,
    pub failures: u32,
}

/// Everything.
pub(crate) struct State {
    pub plugin: String,
    pub bot: UserId,
    pub hears_all: bool,
    pub kv_bytes: usize,
    pub egress: Vec<Egress>,
    now: i64,
    last_id: i64,
    pub users: BTreeMap<UserId, User>,
    /// Of bots that people made: who, and what their tokens allow.
    pub bots: BTreeMap<UserId, (UserId, Vec<String>)>,
    pub rooms: BTreeMap<ChannelId, Room>,
    pub messages: BTreeMap<MessageId, Message>,
    pub reactions: Vec<Reaction>,
    pub files: BTreeMap<FileId, (File, Vec<u8>)>,
    pub kv: BTreeMap<String, Kept>,
    pub config: BTreeMap<String, Value>,
    pub secrets: BTreeMap<String, String>,
    pub jobs: BTreeMap<String, Waiting>,
    pub canned: Vec<Canned>,
    pub scripted: Vec<Scripted>,
    /// By collection and id.
    pub vectors: BTreeMap<String, BTreeMap<String, VectorItem>>,
    pub journal: Vec<JournalEntry>,
    pub signals: Vec<(ChannelId, String, Value)>,
    pub requests: Vec<Value>,
    pub prompts: Vec<Value>,
    pub log: Vec<(LogLevel, String)>,
    pub calls: Vec<HostCall>,
}

pub(crate) fn error(kind: HostErrorKind, code: &'static str, detail: impl Into<String>) -> HostError {
    HostError::new(kind, detail).with_code(code)
}

pub(crate) fn not_found(thing: &str) -> HostError {
    HostError::new(HostErrorKind::NotFound, format!("{thing} not found"))
        .with_code(format!("{thing}_not_found"))
}

pub(crate) fn forbidden(detail: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Forbidden, detail)
}

pub(crate) fn invalid(detail: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, detail)
}

/// The user behind an actor that has to be one.
pub(crate) fn user_of(actor: &Actor) -> Answer<UserId> {
    actor.user_id().ok_or_else(|| forbidden("this needs a user"))
}

impl World {
    /// An empty world, but for the plugin's bot, which has the plugin's name.
    pub fn new(plugin: &str) -> Self {
        let mut state = State {
            plugin: plugin.to_owned(),
            bot: UserId(0),
            hears_all: false,
            kv_bytes: usize::MAX,
            egress: Vec::new(),
            now: BEGINNING,
            last_id: 0,
            users: BTreeMap::new(),
            bots: BTreeMap::new(),
            rooms: BTreeMap::new(),
            messages: BTreeMap::new(),
            reactions: Vec::new(),
            files: BTreeMap::new(),
            kv: BTreeMap::new(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            jobs: BTreeMap::new(),
            canned: Vec::new(),
            scripted: Vec::new(),
            vectors: BTreeMap::new(),
            journal: Vec::new(),
            signals: Vec::new(),
            requests: Vec::new(),
            prompts: Vec::new(),
            log: Vec::new(),
            calls: Vec::new(),
        };
        state.bot = state.add_user(plugin, false, true);
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what a host function is asked to do, and writes down that it was.
    pub fn call<T>(
        &self,
        (interface, function): (&'static str, &'static str),
        arguments: Value,
        act: impl FnOnce(&mut State) -> Answer<T>,
    ) -> Answer<T> {
        let mut state = self.state();
        let done = act(&mut state);
        let error = done.as_ref().err().map(|error| error.code.to_string());
        state.calls.push(HostCall { interface, function, arguments, error });
        done
    }
}

impl State {
    /// The time, which moves on by a millisecond with each look.
    pub fn tick(&mut self) -> Timestamp {
        self.now += 1;
        Timestamp(self.now)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub fn advance(&mut self, ms: i64) {
        self.now = self.now.saturating_add(ms.max(0));
    }

    pub fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    pub fn add_user(&mut self, name: &str, is_superuser: bool, is_bot: bool) -> UserId {
        let (id, now) = (UserId(self.next_id()), self.tick());
        let user = User {
            id,
            username: name.to_owned(),
            email: format!("{name}@example.org"),
            full_name: None,
            is_active: true,
            is_superuser,
            is_bot,
            profile_picture: None,
            status: Status::Online,
            last_seen: None,
            created_at: now,
            updated_at: now,
        };
        self.users.insert(id, user);
        id
    }

    /// A channel; the first member owns it.
    pub fn add_channel(&mut self, name: &str, members: &[UserId], is_public: bool) -> ChannelId {
        let (id, now) = (ChannelId(self.next_id()), self.tick());
        let channel = Channel {
            id,
            name: name.to_owned(),
            description: None,
            is_direct_message: false,
            is_public,
            is_vc: false,
            created_by_id: members.first().copied(),
            created_at: now,
            updated_at: now,
        };
        let role = |index| if index == 0 { Role::Owner } else { Role::Member };
        let members = members.iter().enumerate().map(|(index, id)| (*id, role(index))).collect();
        self.rooms.insert(id, Room { channel, members });
        id
    }

    pub fn user_named(&self, name: &str) -> Option<&User> {
        self.users.values().find(|user| user.username.eq_ignore_ascii_case(name))
    }

    pub fn room_named(&self, name: &str) -> Option<&Room> {
        self.rooms.values().find(|room| room.channel.name == name)
    }

    /// The authority of a user of this world.
    pub fn actor(&self, user: &User) -> Actor {
        Actor::user(user.id, user.is_superuser, user.is_bot)
    }

    fn access(&self, actor: &Actor, room: &Room) -> Access {
        Access {
            standing: actor.standing(),
            role: actor.user_id().and_then(|id| room.members.get(&id).copied()),
            is_public: room.channel.is_public,
            is_direct_message: room.channel.is_direct_message,
        }
    }

    /// The channel, if the actor may do this there.
    pub fn enter(&self, actor: &Actor, id: ChannelId, action: Action) -> Answer<&Room> {
        let room = self.rooms.get(&id).ok_or_else(|| not_found("channel"))?;
        match self.access(actor, room).verdict(action) {
            Verdict::Allowed => Ok(room),
            Verdict::Hidden => Err(not_found("channel")),
            Verdict::Forbidden if action == Action::Write => {
                Err(forbidden("only members may write in this channel"))
            }
            Verdict::Forbidden => Err(forbidden("you may not do this in this channel")),
        }
    }

    /// The message, if the actor can read it.
    pub fn message(&self, actor: &Actor, id: MessageId) -> Answer<&Message> {
        let message = self.messages.get(&id).ok_or_else(|| not_found("message"))?;
        self.enter(actor, message.channel_id, Action::Read).map_err(|_| not_found("message"))?;
        Ok(message)
    }

    /// A channel as the actor sees it.
    pub fn seen(&self, actor: &Actor, room: &Room) -> ChannelForViewer {
        let of_it = self.messages.values().filter(|message| message.channel_id == room.channel.id);
        ChannelForViewer {
            channel: room.channel.clone(),
            role: actor.user_id().and_then(|id| room.members.get(&id).copied()),
            member_count: i64::try_from(room.members.len()).unwrap_or(i64::MAX),
            last_message_id: of_it.map(|message| message.id).max(),
            unread_count: 0,
            mention_count: 0,
        }
    }

    /// Writes down that something happened.
    pub fn emit(&mut self, actor: &Actor, event: Event) -> Answer<()> {
        if actor.depth() > MAX_DEPTH {
            let detail = "too many plugins stand between a person and this";
            return Err(error(HostErrorKind::Forbidden, "depth_exceeded", detail));
        }
        let entry = JournalEntry {
            seq: i64::try_from(self.journal.len()).unwrap_or(i64::MAX).saturating_add(1),
            event,
            actor: actor.user_id(),
            depth: actor.depth(),
            is_own: actor.via().is_some(),
            at: self.now(),
            is_told: false,
        };
        self.journal.push(entry);
        Ok(())
    }

    /// Whether the plugin may hear of this, as far as it is a matter of permission.
    pub fn hears(&self, event: &Event) -> bool {
        let is_member = || {
            let room = event.channel_id().and_then(|id| self.rooms.get(&id));
            room.is_some_and(|room| room.members.contains_key(&self.bot))
        };
        self.hears_all
            || event.target_user_id() == Some(self.bot)
            || match event.audience() {
                Audience::Everyone => true,
                Audience::Channel => is_member(),
                Audience::Target => false,
            }
    }

    pub fn post(
        &mut self,
        actor: &Actor,
        channel: ChannelId,
        content: &str,
        parent: Option<MessageId>,
        files: &[FileId],
    ) -> Answer<Message> {
        let sender = user_of(actor)?;
        text::check_text(content, usize::from(files.is_empty()), text::MAX_CONTENT_CHARS)
            .map_err(|fault| invalid(format!("content {}", fault.message)))?;
        self.enter(actor, channel, Action::Write)?;
        let parent_id = match parent {
            None => None,
            Some(parent) => {
                let parent = self.message(actor, parent)?;
                if parent.channel_id != channel {
                    return Err(invalid("parent_id must be in the same channel"));
                }
                Some(parent.parent_id.unwrap_or(parent.id))
            }
        };
        let sender = self.users.get(&sender).ok_or_else(|| not_found("user"))?;
        let sender = Sender {
            id: sender.id,
            username: sender.username.clone(),
            full_name: sender.full_name.clone(),
            is_bot: sender.is_bot,
        };
        let names = text::mentioned_usernames(content);
        let mut mentions: Vec<_> =
            names.iter().filter_map(|name| self.user_named(name)).map(|user| user.id).collect();
        mentions.sort();
        let (id, now) = (MessageId(self.next_id()), self.tick());
        let mut attached = Vec::new();
        for file in files {
            let (file, _) = self.files.get_mut(file).ok_or_else(|| not_found("file"))?;
            if file.uploaded_by_id != sender.id || file.message_id.is_some() {
                return Err(invalid("file_ids must be the sender's and not in use"));
            }
            file.message_id = Some(id);
            attached.push(file.clone());
        }
        if let Some(root) = parent_id.and_then(|id| self.messages.get_mut(&id)) {
            root.reply_count += 1;
        }
        let message = Message {
            id,
            content: content.to_owned(),
            is_bot: sender.is_bot,
            sender,
            channel_id: channel,
            parent_id,
            reply_count: 0,
            files: attached,
            mentions,
            created_at: now,
            updated_at: now,
            edited_at: None,
            deleted_at: None,
        };
        self.emit(actor, Event::MessageCreated(message.clone()))?;
        self.messages.insert(id, message.clone());
        Ok(message)
    }

    /// Checks that the actor may edit the message into this; its present text.
    pub fn may_edit(&self, actor: &Actor, id: MessageId, content: &str) -> Answer<&Message> {
        let message = self.message(actor, id)?;
        if actor.user_id() != Some(message.sender.id) {
            return Err(forbidden("only the sender may edit a message"));
        }
        text::check_text(content, usize::from(message.files.is_empty()), text::MAX_CONTENT_CHARS)
            .map_err(|fault| invalid(format!("content {}", fault.message)))?;
        Ok(message)
    }

    pub fn edit(&mut self, actor: &Actor, id: MessageId, content: &str) -> Answer<Message> {
        let mut message = self.may_edit(actor, id, content)?.clone();
        if message.content == content {
            return Ok(message);
        }
        let now = self.tick();
        (message.content, message.updated_at, message.edited_at) = (content.to_owned(), now, Some(now));
        self.emit(actor, Event::MessageUpdated(message.clone()))?;
        self.messages.insert(id, message.clone());
        Ok(message)
    }

    pub fn delete(&mut self, actor: &Actor, id: MessageId) -> Answer<()> {
        let message = self.message(actor, id)?.clone();
        if actor.user_id() != Some(message.sender.id) {
            self.enter(actor, message.channel_id, Action::Manage)?;
        }
        let event = Event::MessageDeleted {
            id,
            channel_id: message.channel_id,
            parent_id: message.parent_id,
            is_tombstone: false,
            deleted_at: self.tick(),
        };
        self.emit(actor, event)?;
        self.messages.remove(&id);
        self.reactions.retain(|reaction| reaction.message_id != id);
        self.kv.retain(|_, kept| kept.message != Some(id));
        self.files.retain(|_, (file, _)| file.message_id != Some(id));
        Ok(())
    }

    pub fn react(&mut self, actor: &Actor, message: MessageId, emoji: &str) -> Answer<(Reaction, bool)> {
        let user_id = user_of(actor)?;
        let channel = self.message(actor, message)?.channel_id;
        self.enter(actor, channel, Action::Write)?;
        let same = |r: &&Reaction| r.message_id == message && r.user_id == user_id && r.emoji == emoji;
        if let Some(reaction) = self.reactions.iter().find(same) {
            return Ok((reaction.clone(), false));
        }
        let (id, created_at) = (patchbay_core::ReactionId(self.next_id()), self.tick());
        let reaction = Reaction { id, emoji: emoji.to_owned(), user_id, message_id: message, created_at };
        self.emit(actor, Event::ReactionAdded(channel, reaction.clone()))?;
        self.reactions.push(reaction.clone());
        Ok((reaction, true))
    }

    pub fn upload(&mut self, actor: &Actor, filename: &str, file_type: &str, content: &[u8]) -> Answer<File> {
        let uploaded_by_id = user_of(actor)?;
        let (id, now) = (FileId(self.next_id()), self.tick());
        let file = File {
            id,
            filename: filename.to_owned(),
            file_path: id.to_string(),
            file_type: file_type.to_owned(),
            file_size: i64::try_from(content.len()).unwrap_or(i64::MAX),
            sha256: String::new(),
            image: None,
            uploaded_by_id,
            message_id: None,
            created_at: now,
            updated_at: now,
        };
        self.files.insert(id, (file.clone(), content.to_vec()));
        Ok(file)
    }
}
