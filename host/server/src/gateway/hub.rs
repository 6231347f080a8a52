//! The one task that connections hear from: it reads the journal, signals and time, and has `router` route them.
//!
//! One task owns all of it: no lock is held across sockets, and membership changes between two entries exactly
//! where the journal says so. A connection that can't keep up is cut off; it never holds up the others.

use std::time::{Duration, Instant};

use patchbay_core::{ChannelId, SessionId, Status, UserId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Online,
    outbox::Inbox,
    presence::Presence,
    router::Router,
    session::{Close, Door},
};
use crate::{
    bus::Signal,
    config::Config,
    ops::{self, Ops},
};

/// Commands that wait; whoever sends one more waits for a place.
const COMMANDS: usize = 1024;

/// A connection's end of the hub.
#[derive(Debug)]
pub struct Registered {
    /// Names the connection.
    pub id: u64,
    /// Everything after this place of the journal comes through `live`.
    pub seq: i64,
    /// What the user may see, and when the connection must end.
    pub inbox: Inbox,
    /// For a presence connection: who of those that share a channel with the user is here, with what they show.
    pub here: Vec<(UserId, Status)>,
}

enum Command {
    Register(Door, UserId, SessionId, oneshot::Sender<Result<Registered, ops::Error>>),
    Unregister(u64),
    Follow(u64, Vec<ChannelId>, oneshot::Sender<Result<i64, ops::Error>>),
    CloseAll(oneshot::Sender<()>),
    Finish(oneshot::Sender<()>),
}

/// The hub, as connections reach it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
}

impl Hub {
    /// Starts the hub at the journal's present end.
    pub fn start(ops: Ops, online: Online, config: &Config, signals: mpsc::Receiver<Signal>) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let head = ops.store().head();
        let position = *head.borrow();
        let presence = Presence::new(config.presence.grace);
        let router = Router::new(ops, online, presence, config.limits.sockets(), position);
        tokio::spawn(run(router, head, inbox, signals));
        Self { commands }
    }

    /// Registers a connection.
    ///
    /// # Errors
    /// If the user has too many, the database can't be read or the server is going away.
    pub async fn register(
        &self,
        door: Door,
        user: UserId,
        session: SessionId,
    ) -> Result<Registered, ops::Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || ops::Error::Unavailable("the server is going away".into());
        self.commands.send(Command::Register(door, user, session, reply)).await.map_err(|_| gone())?;
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

    /// Records what is still to be recorded, after the last connection.
    pub async fn finish(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Finish(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

async fn run(
    mut router: Router,
    mut head: watch::Receiver<i64>,
    mut inbox: mpsc::Receiver<Command>,
    mut signals: mpsc::Receiver<Signal>,
) {
    loop {
        let chores = router.chores_at().map(tokio::time::Instant::from_std);
        tokio::select! {
            changed = head.changed() => {
                if changed.is_err() {
                    return;
                }
                match router.catch_up().await {
                    // Commands and signals get their turn between two pages.
                    Ok(true) => head.mark_changed(),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(%error, "the journal can't be read; connections are cut off to resume");
                        router.close_every(Close::GoingAway);
                        head.mark_changed();
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
            command = inbox.recv() => match command {
                Some(command) => obey(&mut router, command).await,
                None => return,
            },
            Some(signal) = signals.recv() => router.pass_on(&signal),
            () = tokio::time::sleep_until(chores.unwrap_or_else(tokio::time::Instant::now)), if chores.is_some() => {
                router.do_chores(Instant::now());
            }
        }
        router.hand_over();
    }
}

async fn obey(router: &mut Router, command: Command) {
    match command {
        Command::Register(door, user, session, reply) => {
            let registered = router.register(door, user, session).await;
            if let Err(Ok(registered)) = reply.send(registered) {
                router.remove(registered.id);
            }
        }
        Command::Unregister(id) => router.remove(id),
        Command::Follow(id, channels, reply) => {
            let followed = router.follow(id, channels).await;
            let _ = reply.send(followed);
        }
        Command::CloseAll(reply) => {
            router.stop();
            let _ = reply.send(());
        }
        Command::Finish(reply) => {
            router.record_seen().await;
            let _ = reply.send(());
        }
    }
}
