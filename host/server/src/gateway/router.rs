//! Which connection hears of what: entries of the journal by the membership at their place in it, signals and
//! presence by who shares a channel.
//!
//! Owns: the table of connections and memberships. Must not: write to a socket, or wait for one.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use axum::extract::ws::Utf8Bytes;
use patchbay_core::{Audience, ChannelId, Seq, SessionId, Status, Timestamp, UserId, VisiblePresence};
use patchbay_protocol::{IsTyping, PresenceOf, VoiceMembership, event_frame, frame, signal_frame};
use patchbay_store::Entry;

use super::{
    Online,
    hub::Registered,
    members::{Members, Shift},
    outbox::{Delivery, Full, Outbox, outbox},
    presence::Presence,
    session::{Close, Door},
};
use crate::{
    bus::Signal,
    ops::{self, Ops},
};

/// Entries read from the journal at once.
const READ: i64 = 256;
/// Channels with more connected members than this tell nobody of presence: each coming and going would be told to
/// all of them, which grows with the square of the members.
const MAX_AUDIENCE: usize = 1_000;
/// How often users with open sockets are recorded as seen, for the case that the server doesn't live to record it
/// when the sockets close.
const RECORD_EVERY: Duration = Duration::from_secs(300);
/// How long closed sockets wait to be recorded together.
const RECORD_DELAY: Duration = Duration::from_secs(1);

struct Connection {
    door: Door,
    user: UserId,
    session: SessionId,
    outbox: Outbox,
    follows: HashSet<ChannelId>,
}

/// The connections of one user, by what they hear.
#[derive(Default)]
struct Connections {
    chat: Vec<u64>,
    presence: Vec<u64>,
    voice: Vec<u64>,
}

impl Connections {
    fn all(&self) -> impl Iterator<Item = &u64> {
        self.chat.iter().chain(&self.presence).chain(&self.voice)
    }
}

pub(super) struct Router {
    ops: Ops,
    online: Online,
    presence: Presence,
    /// One more is refused.
    sockets_per_user: usize,
    /// Users whose last socket has closed, to be recorded.
    seen: HashMap<UserId, Timestamp>,
    record_at: Instant,
    record_all_at: Instant,
    /// The last entry that has been routed.
    position: i64,
    next_id: u64,
    /// No more connections come in.
    closing: bool,
    connections: HashMap<u64, Connection>,
    /// Those for whom something has been queued that they have not been told of.
    touched: Vec<u64>,
    by_user: HashMap<UserId, Connections>,
    members: Members,
    followers: HashMap<ChannelId, HashSet<u64>>,
}

impl Router {
    pub fn new(ops: Ops, online: Online, presence: Presence, sockets_per_user: usize, position: i64) -> Self {
        Self {
            sockets_per_user,
            ops,
            online,
            presence,
            seen: HashMap::new(),
            record_at: Instant::now() + RECORD_EVERY,
            record_all_at: Instant::now() + RECORD_EVERY,
            position,
            next_id: 0,
            closing: false,
            connections: HashMap::new(),
            touched: Vec::new(),
            by_user: HashMap::new(),
            members: Members::new(MAX_AUDIENCE),
            followers: HashMap::new(),
        }
    }

    pub async fn register(
        &mut self,
        door: Door,
        user: UserId,
        session: SessionId,
    ) -> Result<Registered, ops::Error> {
        if self.closing {
            return Err(ops::Error::Unavailable("the server is going away".into()));
        }
        let mine = self.by_user.get(&user);
        if mine.is_some_and(|mine| mine.all().count() >= self.sockets_per_user) {
            let why = format!("a user can have {} sockets", self.sockets_per_user);
            return Err(ops::Error::Conflict("too_many_sockets", why));
        }
        let chosen = if self.presence.contains(user) {
            self.presence.shown(user)
        } else {
            // What this reads may be newer than `position`. Entries between the two then find the membership
            // as it is now, which is what delivery goes by.
            let mut conn = self.ops.store().read().await?;
            let channels = conn.channel_ids_of(user).await?;
            let chosen = conn.user(user).await?.ok_or_else(ops::Error::unauthenticated)?.status;
            let shift = self.members.arrive(user, channels);
            self.tell_of(shift);
            self.online.insert(user);
            chosen
        };
        let change = self.presence.connect(user, chosen);
        let (outbox, inbox) = outbox();
        self.next_id += 1;
        let id = self.next_id;
        let connection = Connection { door, user, session, outbox, follows: HashSet::new() };
        self.connections.insert(id, connection);
        let mine = self.by_user.entry(user).or_default();
        match door {
            Door::Chat => mine.chat.push(id),
            Door::Presence => mine.presence.push(id),
            Door::Voice(_) => mine.voice.push(id),
        }
        if let Some(change) = change {
            self.tell_of_presence(&change);
        }
        let here = if door == Door::Presence { self.who_is_here(user) } else { Vec::new() };
        Ok(Registered { id, seq: self.position, inbox, here })
    }

    /// Asks again which of them are public: what made one private may have been routed since the connection
    /// asked. What comes later will be seen here.
    pub async fn follow(&mut self, id: u64, channels: Vec<ChannelId>) -> Result<i64, ops::Error> {
        let found = self.ops.store().read().await?.readable_channels(None, &channels).await?;
        if let Some(connection) = self.connections.get_mut(&id) {
            for (channel, _) in found.into_iter().filter(|(_, is_public)| *is_public) {
                connection.follows.insert(channel);
                self.followers.entry(channel).or_default().insert(id);
            }
        }
        Ok(self.position)
    }

    pub fn remove(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for channel in connection.follows {
            if let Some(followers) = self.followers.get_mut(&channel) {
                followers.remove(&id);
                if followers.is_empty() {
                    self.followers.remove(&channel);
                }
            }
        }
        let user = connection.user;
        if let Some(mine) = self.by_user.get_mut(&user) {
            mine.chat.retain(|other| *other != id);
            mine.presence.retain(|other| *other != id);
            mine.voice.retain(|other| *other != id);
            if mine.all().next().is_none() {
                self.by_user.remove(&user);
            }
        }
        let (now, at) = (Instant::now(), Timestamp::now());
        // Who is invisible has been gone since they chose to be.
        if self.presence.disconnect(user, now, at) && self.presence.shown(user) != Status::Offline {
            self.note_seen(user, at);
        }
    }

    /// When [`Router::do_chores`] has something to do.
    pub fn chores_at(&self) -> Option<Instant> {
        Some(self.presence.deadline().map_or(self.record_at, |at| at.min(self.record_at)))
    }

    /// Lets those go whose grace period is over, and has records written that are due.
    pub fn do_chores(&mut self, now: Instant) {
        for (user, change) in self.presence.tick(now) {
            if let Some(change) = change {
                self.tell_of_presence(&change);
            }
            self.online.remove(user);
            let shift = self.members.depart(user);
            self.tell_of(shift);
        }
        if now < self.record_at {
            return;
        }
        if now >= self.record_all_at {
            self.record_all_at = now + RECORD_EVERY;
            let at = Timestamp::now();
            let shown = self.presence.users().filter(|user| self.presence.shown(*user) != Status::Offline);
            self.seen.extend(shown.map(|user| (user, at)));
        }
        self.record_at = self.record_all_at;
        let (ops, users) = (self.ops.clone(), std::mem::take(&mut self.seen));
        tokio::spawn(async move { record(&ops, users).await });
    }

    fn note_seen(&mut self, user: UserId, at: Timestamp) {
        self.seen.insert(user, at);
        self.record_at = self.record_at.min(Instant::now() + RECORD_DELAY);
    }

    /// Records at once whose last socket has closed.
    pub async fn record_seen(&mut self) {
        record(&self.ops, std::mem::take(&mut self.seen)).await;
    }

    /// Routes the next page of the journal; whether there may be more.
    pub async fn catch_up(&mut self) -> Result<bool, ops::Error> {
        let mut conn = self.ops.store().read().await?;
        let entries = conn.journal(Seq(self.position), READ).await?;
        let more = i64::try_from(entries.len()).unwrap_or(i64::MAX) >= READ;
        for entry in entries {
            if entry.kind == "channel.created"
                && let Some(channel) = entry.channel_id
            {
                // Its members join in entries that follow, and should hear of the channel before.
                for user in conn.member_ids(channel).await? {
                    let shift = self.members.join(channel, user);
                    self.tell_of(shift);
                }
            }
            self.route(&entry);
            self.position = entry.seq.0;
        }
        Ok(more)
    }

    fn route(&mut self, entry: &Entry) {
        let (channel, target) = (entry.channel_id, entry.target_user_id);
        if entry.kind == "member.added"
            && let (Some(channel), Some(user)) = (channel, target)
        {
            let shift = self.members.join(channel, user);
            self.tell_of(shift);
        }
        // An update that is not for everyone is one of a channel that is private now: followers may no longer
        // know what it is called.
        if let ("channel.updated", Audience::Channel, Some(channel)) =
            (entry.kind.as_str(), entry.audience, channel)
        {
            self.unfollow(channel);
        }
        let text = Utf8Bytes::from(event_frame(&entry.kind, entry.seq.0, &entry.payload));
        let delivery = Delivery { seq: Some(entry.seq.0), text };
        for id in self.audience(entry) {
            self.deliver(id, &delivery);
        }
        match (entry.kind.as_str(), channel, target) {
            ("member.added", Some(channel), Some(user)) => self.introduce(channel, user),
            ("member.removed", Some(channel), Some(user)) => {
                let shift = self.members.leave(channel, user);
                self.tell_of(shift);
                self.ops.end_voice_of_member(channel, user);
            }
            ("channel.updated", Some(channel), _) => self.ops.recheck_voice(channel),
            ("channel.deleted", Some(channel), _) => {
                self.ops.recheck_voice(channel);
                let shift = self.members.delete(channel);
                self.tell_of(shift);
                self.unfollow(channel);
            }
            _ => {}
        }
    }

    /// The connections that may see an entry, each once.
    fn audience(&self, entry: &Entry) -> Vec<u64> {
        if entry.audience == Audience::Everyone {
            return self.by_user.values().flat_map(|mine| &mine.chat).copied().collect();
        }
        let mut users: HashSet<UserId> = entry.target_user_id.into_iter().collect();
        let mut ids: Vec<u64> = Vec::new();
        if let (Audience::Channel, Some(channel)) = (entry.audience, entry.channel_id) {
            users.extend(self.members.of(channel));
            ids.extend(self.followers.get(&channel).into_iter().flatten().filter(|id| {
                self.connections.get(id).is_some_and(|connection| !users.contains(&connection.user))
            }));
        }
        ids.extend(users.iter().flat_map(|user| self.chat_of(*user)));
        ids
    }

    fn chat_of(&self, user: UserId) -> &[u64] {
        self.by_user.get(&user).map_or(&[], |mine| &mine.chat)
    }

    fn presence_of(&self, user: UserId) -> &[u64] {
        self.by_user.get(&user).map_or(&[], |mine| &mine.presence)
    }

    fn deliver(&mut self, id: u64, delivery: &Delivery) {
        let Some(connection) = self.connections.get(&id) else { return };
        // Signals among a chat's events are worth less than the connection: they don't fill its queue.
        let is_extra = delivery.seq.is_none() && connection.door == Door::Chat;
        if is_extra && connection.outbox.is_crowded() {
            return;
        }
        match connection.outbox.push(delivery) {
            Ok(true) => self.touched.push(id),
            Ok(false) => {}
            Err(Full) => {
                connection.outbox.close(Close::SlowConsumer);
                self.remove(id);
            }
        }
    }

    /// Has all that was queued sent. Until then a connection sleeps on, so that what one page of the journal holds for
    /// it leaves in one write.
    pub fn hand_over(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(connection) = self.connections.get(&id) {
                connection.outbox.wake();
            }
        }
    }

    fn unfollow(&mut self, channel: ChannelId) {
        for id in self.followers.remove(&channel).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.follows.remove(&channel);
            }
        }
    }

    pub fn pass_on(&mut self, signal: &Signal) {
        match signal {
            Signal::SessionEnded(session) => self.close(Close::Authentication, |c| c.session == *session),
            Signal::AuthorityChanged(user) => self.close_of(Close::GoingAway, *user, |_| true),
            Signal::Typing { channel_id, user_id } => self.tell_of_typing(*channel_id, *user_id),
            Signal::Voice { channel_id, user_id, is_in } => {
                self.tell_of_voice(*channel_id, *user_id, *is_in);
            }
            Signal::OfPlugin { channel_id, kind, json } => self.tell_of_plugin(*channel_id, kind, json),
            Signal::StatusChosen { user_id, status } => {
                if let Some(change) = self.presence.choose(*user_id, *status, Timestamp::now()) {
                    if let Some(at) = change.last_seen {
                        self.note_seen(*user_id, at);
                    }
                    self.tell_of_presence(&change);
                    self.tell(&[*user_id], &change);
                }
            }
        }
    }

    fn tell_of_typing(&mut self, channel: ChannelId, typist: UserId) {
        let data = IsTyping { channel_id: channel.0, user_id: typist.0 };
        let delivery = Delivery { seq: None, text: Utf8Bytes::from(frame("typing", data)) };
        let members = self.members.of(channel).filter(|user| *user != typist);
        let ids: Vec<u64> = members.flat_map(|user| self.chat_of(user)).copied().collect();
        for id in ids {
            self.deliver(id, &delivery);
        }
    }

    fn tell_of_voice(&mut self, channel: ChannelId, user: UserId, is_in: bool) {
        let data = VoiceMembership { channel_id: channel.0, user_id: user.0 };
        let text = frame(if is_in { "voice.joined" } else { "voice.left" }, data);
        let delivery = Delivery { seq: None, text: Utf8Bytes::from(text) };
        let mut ids: Vec<u64> =
            self.members.of(channel).flat_map(|user| self.chat_of(user)).copied().collect();
        ids.extend(self.followers.get(&channel).into_iter().flatten());
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.deliver(id, &delivery);
        }
    }

    fn tell_of_plugin(&mut self, channel: ChannelId, kind: &str, json: &str) {
        let delivery = Delivery { seq: None, text: Utf8Bytes::from(signal_frame(kind, json)) };
        let ids: Vec<u64> = self.members.of(channel).flat_map(|user| self.chat_of(user)).copied().collect();
        for id in ids {
            self.deliver(id, &delivery);
        }
    }

    fn who_is_here(&self, viewer: UserId) -> Vec<(UserId, Status)> {
        self.members.acquaintances(viewer).into_iter().map(|user| (user, self.presence.shown(user))).collect()
    }

    /// Tells those who share a channel with a user what they see of the user from now on.
    fn tell_of_presence(&mut self, change: &VisiblePresence) {
        let users: Vec<UserId> = self.members.acquaintances(change.user_id).into_iter().collect();
        self.tell(&users, change);
    }

    /// A new member and the others see each other from now on.
    fn introduce(&mut self, channel: ChannelId, newcomer: UserId) {
        let others: Vec<UserId> = self.members.acquainted(channel).filter(|user| *user != newcomer).collect();
        let seen = |router: &Self, user| VisiblePresence::of(user, router.presence.shown(user), None, true);
        if self.presence.shown(newcomer) != Status::Offline {
            self.tell(&others, &seen(self, newcomer));
        }
        for other in others {
            if self.presence.shown(other) != Status::Offline {
                self.tell(&[newcomer], &seen(self, other));
            }
        }
    }

    fn tell_of(&mut self, shift: Shift) {
        match shift {
            Shift::None => {}
            Shift::Parted(pairs) => {
                for (one, other) in pairs {
                    self.hide(one, other);
                    self.hide(other, one);
                }
            }
            // Their presence sockets come again, to a snapshot. What a chat tells of presence is best effort.
            Shift::Afresh(users) => {
                for user in users {
                    self.close_of(Close::GoingAway, user, |door| door == Door::Presence);
                }
            }
        }
    }

    /// The viewer is no longer told of a user, and is not to keep what it saw last.
    fn hide(&mut self, user: UserId, viewer: UserId) {
        if self.presence.shown(user) != Status::Offline {
            self.tell(&[viewer], &VisiblePresence::of(user, Status::Offline, None, false));
        }
    }

    fn tell(&mut self, users: &[UserId], change: &VisiblePresence) {
        let text = frame("presence.changed", PresenceOf::from(change));
        let delivery = Delivery { seq: None, text: Utf8Bytes::from(text) };
        let ids = users.iter().flat_map(|user| [self.chat_of(*user), self.presence_of(*user)]);
        let ids: Vec<u64> = ids.flatten().copied().collect();
        for id in ids {
            self.deliver(id, &delivery);
        }
    }

    /// Tells every connection, and whoever comes from now on, that the server is going away.
    pub fn stop(&mut self) {
        self.closing = true;
        self.close_every(Close::GoingAway);
    }

    pub fn close_every(&mut self, why: Close) {
        self.close(why, |_| true);
    }

    fn close_of(&self, why: Close, user: UserId, which: impl Fn(Door) -> bool) {
        let Some(mine) = self.by_user.get(&user) else { return };
        let connections = mine.all().filter_map(|id| self.connections.get(id));
        for connection in connections.filter(|connection| which(connection.door)) {
            connection.outbox.close(why);
        }
    }

    fn close(&mut self, why: Close, which: impl Fn(&Connection) -> bool) {
        for connection in self.connections.values().filter(|connection| which(connection)) {
            connection.outbox.close(why);
        }
    }
}

/// Records when these users were last here.
async fn record(ops: &Ops, users: HashMap<UserId, Timestamp>) {
    if users.is_empty() {
        return;
    }
    if let Err(error) = ops.seen_last(users.into_iter().collect()).await {
        tracing::warn!(%error, "last_seen was not recorded");
    }
}
