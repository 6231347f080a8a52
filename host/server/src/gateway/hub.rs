//! Reads the journal and routes each entry to the connections whose users may see it, as the membership is at
//! that place of the journal.
//!
//! One task owns all of it: no lock is held across sockets, and membership changes between two entries exactly
//! where the journal says so. A connection that can't keep up is cut off; it never holds up the others.

use std::collections::{HashMap, HashSet};

use axum::extract::ws::Utf8Bytes;
use patchbay_core::{Audience, ChannelId, Seq, SessionId, UserId};
use patchbay_protocol::{event_frame, frame};
use patchbay_store::Entry;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Online, session::Close};
use crate::{
    bus::Signal,
    ops::{self, Ops},
};

/// Frames that wait for one connection. Beyond this it is too slow.
const QUEUE: usize = 512;
/// Entries read from the journal at once.
const READ: i64 = 256;
/// Commands that wait; whoever sends one more waits for a place.
const COMMANDS: usize = 1024;

/// A frame on its way; serialised once, shared by all who get it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the journal; none for signals.
    pub seq: Option<i64>,
    /// The frame.
    pub text: Utf8Bytes,
}

/// A connection's end of the hub.
#[derive(Debug)]
pub struct Registered {
    /// Names the connection.
    pub id: u64,
    /// Everything after this place of the journal comes through `live`.
    pub seq: i64,
    /// What the user may see.
    pub live: mpsc::Receiver<Delivery>,
    /// Set when the connection must end.
    pub closed: watch::Receiver<Option<Close>>,
}

enum Command {
    Register(UserId, SessionId, oneshot::Sender<Result<Registered, ops::Error>>),
    Unregister(u64),
    Follow(u64, Vec<ChannelId>, oneshot::Sender<Result<i64, ops::Error>>),
    CloseAll(oneshot::Sender<()>),
}

/// The hub, as connections reach it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
}

impl Hub {
    /// Starts the hub at the journal's present end.
    pub fn start(ops: Ops, online: Online, signals: mpsc::Receiver<Signal>) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let head = ops.store().head();
        let position = *head.borrow();
        let state = State {
            ops,
            online,
            position,
            next_id: 0,
            connections: HashMap::new(),
            by_user: HashMap::new(),
            members: HashMap::new(),
            channels: HashMap::new(),
            followers: HashMap::new(),
        };
        tokio::spawn(run(state, head, inbox, signals));
        Self { commands }
    }

    /// Registers a connection.
    ///
    /// # Errors
    /// If the database can't be read or the server is going away.
    pub async fn register(&self, user: UserId, session: SessionId) -> Result<Registered, ops::Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || ops::Error::Unavailable("the server is going away".into());
        self.commands.send(Command::Register(user, session, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Takes a connection out.
    pub async fn unregister(&self, id: u64) {
        let _ = self.commands.send(Command::Unregister(id)).await;
    }

    /// From the returned place of the journal on the connection also hears of those of these channels that are
    /// public, for as long as they are.
    ///
    /// # Errors
    /// If the database can't be read or the server is going away.
    pub async fn follow(&self, id: u64, channels: Vec<ChannelId>) -> Result<i64, ops::Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || ops::Error::Unavailable("the server is going away".into());
        self.commands.send(Command::Follow(id, channels, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Tells every connection that the server is going away.
    pub async fn close_all(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::CloseAll(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

struct Connection {
    user: UserId,
    session: SessionId,
    live: mpsc::Sender<Delivery>,
    close: watch::Sender<Option<Close>>,
    follows: HashSet<ChannelId>,
}

struct State {
    ops: Ops,
    online: Online,
    /// The last entry that has been routed.
    position: i64,
    next_id: u64,
    connections: HashMap<u64, Connection>,
    by_user: HashMap<UserId, Vec<u64>>,
    /// Members with a connection, by channel.
    members: HashMap<ChannelId, HashSet<UserId>>,
    /// The same the other way round, so that a user who leaves can be taken out.
    channels: HashMap<UserId, HashSet<ChannelId>>,
    followers: HashMap<ChannelId, HashSet<u64>>,
}

async fn run(
    mut state: State,
    mut head: watch::Receiver<i64>,
    mut inbox: mpsc::Receiver<Command>,
    mut signals: mpsc::Receiver<Signal>,
) {
    loop {
        tokio::select! {
            changed = head.changed() => {
                if changed.is_err() {
                    return;
                }
                match state.catch_up().await {
                    // Commands and signals get their turn between two pages.
                    Ok(true) => head.mark_changed(),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(%error, "the journal can't be read; connections are cut off to resume");
                        state.close_every(Close::GoingAway);
                        head.mark_changed();
                        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                    }
                }
            }
            command = inbox.recv() => match command {
                Some(command) => state.obey(command).await,
                None => return,
            },
            Some(signal) = signals.recv() => state.pass_on(&signal),
        }
    }
}

impl State {
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Register(user, session, reply) => {
                let registered = self.register(user, session).await;
                if let Err(Ok(registered)) = reply.send(registered) {
                    self.remove(registered.id);
                }
            }
            Command::Unregister(id) => self.remove(id),
            Command::Follow(id, channels, reply) => {
                let followed = self.follow(id, channels).await;
                let _ = reply.send(followed);
            }
            Command::CloseAll(reply) => {
                self.close_every(Close::GoingAway);
                let _ = reply.send(());
            }
        }
    }

    async fn register(&mut self, user: UserId, session: SessionId) -> Result<Registered, ops::Error> {
        if !self.by_user.contains_key(&user) {
            // What this reads may be newer than `position`. Entries between the two then find the membership
            // as it is now, which is what delivery goes by.
            let channels = self.ops.store().read().await?.channel_ids_of(user).await?;
            for channel in &channels {
                self.members.entry(*channel).or_default().insert(user);
            }
            self.channels.insert(user, channels.into_iter().collect());
        }
        let (live, receiver) = mpsc::channel(QUEUE);
        let (close, closed) = watch::channel(None);
        self.next_id += 1;
        let id = self.next_id;
        self.connections.insert(id, Connection { user, session, live, close, follows: HashSet::new() });
        self.by_user.entry(user).or_default().push(id);
        self.online.add(user);
        Ok(Registered { id, seq: self.position, live: receiver, closed })
    }

    /// Asks again which of them are public: what made one private may have been routed since the connection
    /// asked. What comes later will be seen here.
    async fn follow(&mut self, id: u64, channels: Vec<ChannelId>) -> Result<i64, ops::Error> {
        let found = self.ops.store().read().await?.readable_channels(None, &channels).await?;
        if let Some(connection) = self.connections.get_mut(&id) {
            for (channel, _) in found.into_iter().filter(|(_, is_public)| *is_public) {
                connection.follows.insert(channel);
                self.followers.entry(channel).or_default().insert(id);
            }
        }
        Ok(self.position)
    }

    fn remove(&mut self, id: u64) {
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
        if let Some(ids) = self.by_user.get_mut(&user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_user.remove(&user);
                for channel in self.channels.remove(&user).unwrap_or_default() {
                    self.take_out(channel, user);
                }
            }
        }
        if self.online.remove(user) {
            let ops = self.ops.clone();
            tokio::spawn(async move {
                if let Err(error) = ops.seen_last(vec![user]).await {
                    tracing::warn!(%error, "last_seen was not recorded");
                }
            });
        }
    }

    fn take_out(&mut self, channel: ChannelId, user: UserId) {
        if let Some(members) = self.members.get_mut(&channel) {
            members.remove(&user);
            if members.is_empty() {
                self.members.remove(&channel);
            }
        }
        if let Some(channels) = self.channels.get_mut(&user) {
            channels.remove(&channel);
        }
    }

    fn put_in(&mut self, channel: ChannelId, user: UserId) {
        if let Some(channels) = self.channels.get_mut(&user) {
            channels.insert(channel);
            self.members.entry(channel).or_default().insert(user);
        }
    }

    /// Routes the next page of the journal; whether there may be more.
    async fn catch_up(&mut self) -> Result<bool, ops::Error> {
        let mut conn = self.ops.store().read().await?;
        let entries = conn.journal(Seq(self.position), READ).await?;
        let more = i64::try_from(entries.len()).unwrap_or(i64::MAX) >= READ;
        for entry in entries {
            if entry.kind == "channel.created"
                && let Some(channel) = entry.channel_id
            {
                // Its members join in entries that follow, and should hear of the channel before.
                for user in conn.member_ids(channel).await? {
                    self.put_in(channel, user);
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
            self.put_in(channel, user);
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
            ("member.removed", Some(channel), Some(user)) => self.take_out(channel, user),
            ("channel.deleted", Some(channel), _) => {
                for user in self.members.remove(&channel).unwrap_or_default() {
                    self.take_out(channel, user);
                }
                self.unfollow(channel);
            }
            _ => {}
        }
    }

    /// The connections that may see an entry, each once.
    fn audience(&self, entry: &Entry) -> Vec<u64> {
        if entry.audience == Audience::Everyone {
            return self.connections.keys().copied().collect();
        }
        let mut users: HashSet<UserId> = entry.target_user_id.into_iter().collect();
        let mut ids: Vec<u64> = Vec::new();
        if let (Audience::Channel, Some(channel)) = (entry.audience, entry.channel_id) {
            users.extend(self.members.get(&channel).into_iter().flatten());
            ids.extend(self.followers.get(&channel).into_iter().flatten().filter(|id| {
                self.connections.get(id).is_some_and(|connection| !users.contains(&connection.user))
            }));
        }
        ids.extend(users.iter().filter_map(|user| self.by_user.get(user)).flatten());
        ids
    }

    fn deliver(&mut self, id: u64, delivery: &Delivery) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.live.try_send(delivery.clone()).is_err() {
            connection.close.send_replace(Some(Close::SlowConsumer));
            self.remove(id);
        }
    }

    fn unfollow(&mut self, channel: ChannelId) {
        for id in self.followers.remove(&channel).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.follows.remove(&channel);
            }
        }
    }

    fn pass_on(&mut self, signal: &Signal) {
        match signal {
            Signal::SessionEnded(session) => {
                for connection in self.connections.values().filter(|c| c.session == *session) {
                    connection.close.send_replace(Some(Close::Authentication));
                }
            }
            Signal::AuthorityChanged(user) => {
                for connection in self.connections.values().filter(|c| c.user == *user) {
                    connection.close.send_replace(Some(Close::GoingAway));
                }
            }
            Signal::Typing { channel_id, user_id } => self.tell_of_typing(*channel_id, *user_id),
        }
    }

    fn tell_of_typing(&mut self, channel: ChannelId, typist: UserId) {
        #[derive(Serialize)]
        struct Typing {
            channel_id: i64,
            user_id: i64,
        }
        let data = Typing { channel_id: channel.0, user_id: typist.0 };
        let delivery = Delivery { seq: None, text: Utf8Bytes::from(frame("typing", data)) };
        let members = self.members.get(&channel).into_iter().flatten().filter(|user| **user != typist);
        let ids: Vec<u64> = members.filter_map(|user| self.by_user.get(user)).flatten().copied().collect();
        for id in ids {
            self.deliver(id, &delivery);
        }
    }

    fn close_every(&mut self, why: Close) {
        for connection in self.connections.values() {
            connection.close.send_replace(Some(why));
        }
    }
}
