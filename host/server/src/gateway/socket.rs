//! Drives one connection: moves frames between the socket, the session and the operations.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    time::{Duration, Instant},
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use patchbay_core::{
    ChannelId, FileId, MAX_FOLLOWED, MessageId, Seq, Status, Timestamp, UserId, VisiblePresence,
};
use patchbay_protocol::{
    self as protocol, Empty, Hello, Place, PresenceOf, PresenceSnapshot, Refusal, Resume, event_frame, frame,
    reply,
};
use patchbay_store::Viewer;
use serde::Serialize;
use serde_json::Value;

use super::{
    hub::Registered,
    outbox::{BATCH_BYTES, Delivery, Inbox, Ready},
    session::{Action, Close, Door, HEARTBEAT, Request, Session},
    voice::{self, FromRoom, Seated},
};
use crate::{
    app::App,
    http::Failure,
    ops::{self, Caller, NewPost, Replay},
};

/// How long a write may take, of all that is written at once. A client that doesn't read for this long is gone.
const WRITE: Duration = Duration::from_secs(20);
/// The same for the last frame of a connection that is to end anyway.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the driver stops.
enum End {
    /// The server closes.
    Close(Close),
    /// The client has left, or can't be reached.
    Gone,
}

impl From<axum::Error> for End {
    fn from(_: axum::Error) -> Self {
        Self::Gone
    }
}

struct Driver {
    app: App,
    socket: WebSocket,
    session: Session,
    member: Option<Member>,
}

/// Who is behind the connection.
struct Member {
    caller: Caller,
    hub: Registered,
    follows: Vec<ChannelId>,
    /// When to see whether the session has been refreshed or has expired.
    expires: Instant,
    /// Its place in a voice channel.
    voice: Option<Seated>,
}

/// Serves a connection until it ends.
pub(super) async fn drive(door: Door, app: App, socket: WebSocket, caller: Option<Caller>) {
    let session = Session::new(door, Instant::now(), app.config.limits.limits_rates());
    let mut driver = Driver { app, socket, session, member: None };
    let end = driver.serve(caller).await;
    if let Some(member) = driver.member.take() {
        if let Some(place) = member.voice {
            match end {
                // Whose login has ended does not come back.
                Err(End::Close(Close::Authentication)) => driver.app.ops.leave_voice(place.seat),
                _ => driver.app.ops.unlink_voice(place.seat),
            }
        }
        driver.app.hub.unregister(member.hub.id).await;
    }
    if let Err(End::Close(why)) = end {
        let close = CloseFrame { code: why as u16, reason: Utf8Bytes::from_static(why.reason()) };
        let _ = tokio::time::timeout(FAREWELL, driver.socket.send(Message::Close(Some(close)))).await;
        // The client's answer to the close frame ends the connection in an orderly way; it may not come.
        let farewell = async { while let Some(Ok(_)) = driver.socket.recv().await {} };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// What asks the database is kept apart (`Box::pin`): inlined it would be most of an idle connection's memory.
impl Driver {
    async fn serve(&mut self, caller: Option<Caller>) -> Result<(), End> {
        if let Some(caller) = caller {
            Box::pin(self.enter(caller)).await?;
        }
        loop {
            let expires = self.member.as_ref().map(|member| member.expires);
            let deadline = expires.map_or(self.session.deadline(), |at| at.min(self.session.deadline()));
            let deadline = tokio::time::Instant::from_std(deadline);
            let is_live = self.session.is_live();
            let (inbox, place) = match &mut self.member {
                Some(member) => (Some(&mut member.hub.inbox), member.voice.as_mut()),
                None => (None, None),
            };
            tokio::select! {
                ready = ready(inbox, is_live) => match ready {
                    Ready::Close(why) => return Err(End::Close(why)),
                    Ready::Frames(frames) => {
                        self.session.begin();
                        self.send_live(frames).await?;
                    }
                },
                told = voice::next(place) => match told {
                    FromRoom::Frame(text) => self.text(text).await?,
                    FromRoom::Ended(text) => {
                        self.text(text).await?;
                        return Err(End::Close(Close::Done));
                    }
                    FromRoom::Behind => return Err(End::Close(Close::SlowConsumer)),
                },
                () = tokio::time::sleep_until(deadline) => {
                    if expires.is_some_and(|at| at <= Instant::now()) {
                        Box::pin(self.check_expiry()).await?;
                    }
                    if let Some(why) = self.session.tick(Instant::now()) {
                        return Err(End::Close(why));
                    }
                }
                received = self.socket.recv() => self.receive(received).await?,
            }
        }
    }

    async fn receive(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match received {
            None => return Err(End::Gone),
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                // The library says only in its text that a frame was too large.
                let text = error.to_string();
                let too_large =
                    text.contains("too long") || text.contains("too large") || text.contains("too big");
                return Err(if too_large { End::Close(Close::TooLarge) } else { End::Gone });
            }
        };
        match message {
            Message::Text(text) => match self.session.frame(Instant::now(), &text) {
                Action::Authenticate(token, id) => match Box::pin(self.app.ops.authenticate(&token)).await {
                    Ok(caller) => Box::pin(self.enter(caller)).await,
                    Err(error) => {
                        self.refuse(id.as_ref(), error).await?;
                        Err(End::Close(Close::Authentication))
                    }
                },
                Action::Carry(request, id) => Box::pin(self.carry(request, id)).await,
                Action::Reject(id, code, detail) => self.error(id.as_ref(), code, &detail).await,
                Action::Close(why) => Err(End::Close(why)),
            },
            Message::Binary(_) => Err(End::Close(Close::BadFrame)),
            Message::Ping(_) | Message::Pong(_) => {
                self.session.alive(Instant::now());
                Ok(())
            }
            Message::Close(_) => Err(End::Gone),
        }
    }

    /// Somebody is behind the connection: registers it and says hello.
    async fn enter(&mut self, caller: Caller) -> Result<(), End> {
        let going_away = |_| End::Close(Close::GoingAway);
        let door = self.session.door();
        let registered = self.app.hub.register(door, caller.user_id, caller.session_id).await;
        let mut hub = registered.map_err(|error| match error {
            ops::Error::Conflict(..) => End::Close(Close::TooMany),
            _ => End::Close(Close::GoingAway),
        })?;
        let here = std::mem::take(&mut hub.here);
        let (actor, user_id, seq) = (caller.actor.clone(), caller.user_id, hub.seq);
        self.session.authenticated(Instant::now(), seq);
        self.member = Some(Member { caller, hub, follows: Vec::new(), expires: Instant::now(), voice: None });
        // The session may have ended between the check of the token and the registration, and its authority may
        // have changed.
        self.check_expiry().await?;
        let user = self.app.ops.user(&actor, user_id).await.map_err(going_away)?;
        if user.is_superuser != actor.is_superuser() {
            return Err(End::Close(Close::GoingAway));
        }
        let hello = Hello { heartbeat_ms: HEARTBEAT.as_secs() * 1000, seq, user: protocol::User::own(&user) };
        self.text(frame("hello", hello)).await?;
        match door {
            Door::Chat => Ok(()),
            Door::Presence => self.show_who_is_here(here.into_iter().collect()).await,
            Door::Voice(channel) => self.take_a_place(channel).await,
        }
    }

    /// Goes into a voice channel.
    async fn take_a_place(&mut self, channel: ChannelId) -> Result<(), End> {
        let Some(member) = &mut self.member else { return Err(End::Close(Close::Authentication)) };
        let settings = &self.app.config.voice;
        match voice::join(&self.app.ops, settings, &member.caller, channel).await {
            Ok((place, joined)) => {
                member.voice = Some(place);
                self.text(joined).await
            }
            Err(error) => {
                self.refuse(None, error).await?;
                Err(End::Close(Close::NotAllowed))
            }
        }
    }

    /// The people that the user shares a channel with. Changes since they were registered as here follow.
    async fn show_who_is_here(&mut self, mut here: BTreeMap<UserId, Status>) -> Result<(), End> {
        let Some(member) = &self.member else { return Err(End::Close(Close::Authentication)) };
        let known = self.app.ops.acquaintances(&member.caller.actor).await;
        let mut all: BTreeMap<UserId, VisiblePresence> = BTreeMap::new();
        for one in known.map_err(|_| End::Close(Close::GoingAway))? {
            let shown = here.remove(&one.user_id);
            let chosen = shown.unwrap_or(one.chosen);
            let seen = VisiblePresence::of(one.user_id, chosen, one.last_seen, shown.is_some());
            all.insert(one.user_id, seen);
        }
        // By channels with many members, of whom only those who are here are named.
        all.extend(here.into_iter().map(|(id, status)| (id, VisiblePresence::of(id, status, None, true))));
        let items = all.values().map(PresenceOf::from).collect();
        self.text(frame("presence.snapshot", PresenceSnapshot { items })).await
    }

    /// Ends the connection if its session has ended; notes when to ask again otherwise.
    async fn check_expiry(&mut self) -> Result<(), End> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let expiry = self.app.ops.session_expiry(member.caller.session_id).await;
        let left = match expiry {
            Ok(Some(at)) => at.0 - Timestamp::now().0,
            Ok(None) => 0,
            // The database can't be asked; the session has not been seen to end.
            Err(_) => 10_000,
        };
        if left <= 0 {
            return Err(End::Close(Close::Authentication));
        }
        // A day at most, so that no clock is asked for what it can't represent.
        member.expires = Instant::now() + Duration::from_millis(left.unsigned_abs().min(86_400_000));
        Ok(())
    }

    async fn carry(&mut self, request: Request, id: Option<Value>) -> Result<(), End> {
        let Some(member) = &self.member else { return Err(End::Close(Close::Authentication)) };
        if request.changes_something()
            && let Err(error) = member.caller.demand_write()
        {
            return self.refuse(id.as_ref(), error).await;
        }
        let actor = member.caller.actor.clone();
        let ops = self.app.ops.clone();
        let done: Result<Value, ops::Error> = match request {
            Request::Heartbeat => return self.text(reply("heartbeat_ack", id.as_ref(), Empty {})).await,
            Request::Resume(resume) => return self.resume(resume, id).await,
            Request::Voice(request) => {
                let Some(place) = &member.voice else { return Err(End::Close(Close::NotAllowed)) };
                return match place.carry(&ops, request, id.as_ref()).await {
                    Ok(answer) => self.text(answer).await,
                    Err(error) => self.refuse(id.as_ref(), error).await,
                };
            }
            Request::Send(send) => {
                let new = NewPost {
                    content: send.content,
                    parent_id: send.parent_id.map(MessageId),
                    file_ids: send.file_ids.into_iter().map(FileId).collect(),
                    key: send.nonce,
                };
                ops.post_message(&actor, ChannelId(send.channel_id), new)
                    .await
                    .map(|posted| json(&protocol::Message::from(&posted.message)))
            }
            Request::Typing(typing) => {
                ops.typing(&actor, ChannelId(typing.channel_id)).await.map(|()| json(&Empty {}))
            }
            Request::Read(read) => {
                let (channel, message) = (ChannelId(read.channel_id), MessageId(read.message_id));
                ops.mark_read(&actor, channel, message).await.map(|()| json(&Empty {}))
            }
            Request::SetStatus(chosen) => {
                ops.set_status(&actor, chosen.status.into()).await.map(|()| json(&chosen))
            }
            Request::Subscribe(subscribe) => {
                self.follow(subscribe.channel_ids, false).await.map(|seq| json(&Place { seq }))
            }
        };
        match done {
            Ok(data) => self.text(reply("ack", id.as_ref(), data)).await,
            Err(error) => self.refuse(id.as_ref(), error).await,
        }
    }

    /// Follows public channels; from which place of the journal on that holds.
    async fn follow(&mut self, channels: Vec<i64>, lenient: bool) -> Result<i64, ops::Error> {
        let Some(member) = &mut self.member else { return Err(ops::Error::unauthenticated()) };
        let asked = channels.into_iter().map(ChannelId).collect();
        let asked = self.app.ops.followable(&member.caller.actor, asked, lenient).await?;
        let mut follows = member.follows.clone();
        follows.extend(asked.iter().filter(|channel| !member.follows.contains(channel)));
        if follows.len() > MAX_FOLLOWED {
            return Err(ops::too_many_followed());
        }
        let seq = self.app.hub.follow(member.hub.id, asked).await?;
        member.follows = follows;
        Ok(seq)
    }

    /// Replays what the client has missed, or says that it has to start afresh.
    async fn resume(&mut self, resume: Resume, id: Option<Value>) -> Result<(), End> {
        // What the client followed before it went away may be gone or private by now.
        let here = match self.follow(resume.subscribe, true).await {
            Ok(seq) => seq,
            Err(error) => return self.refuse(id.as_ref(), error).await,
        };
        let Some(member) = &self.member else { return Err(End::Close(Close::Authentication)) };
        let viewer = Viewer { user_id: member.caller.user_id, subscribed: member.follows.clone() };
        let going_away = |_| End::Close(Close::GoingAway);
        let floor = self.app.ops.journal_floor().await.map_err(going_away)?;
        let Some((mut from, until)) = self.session.resume(resume.seq, floor.0, here) else {
            return self.text(reply("resync", id.as_ref(), Place { seq: here })).await;
        };
        let (mut due, mut bytes) = (Vec::new(), 0);
        while from < until {
            let page = self.app.ops.replay(&viewer, Seq(from), Seq(until)).await.map_err(going_away)?;
            let Replay::Page(entries) = page else {
                return self.text(reply("resync", id.as_ref(), Place { seq: here })).await;
            };
            let Some(last) = entries.last() else { break };
            from = last.seq.0;
            for entry in entries {
                if self.session.send(entry.seq.0) {
                    let text = event_frame(&entry.kind, entry.seq.0, &entry.payload);
                    bytes += text.len();
                    due.push(Utf8Bytes::from(text));
                }
                if bytes >= BATCH_BYTES {
                    bytes = 0;
                    self.write(std::mem::take(&mut due)).await?;
                }
            }
            self.write(std::mem::take(&mut due)).await?;
            let told_to_end = self.member.as_ref().and_then(|member| member.hub.inbox.closed());
            if let Some(why) = told_to_end {
                return Err(End::Close(why));
            }
        }
        self.session.resumed(Instant::now(), until);
        self.text(reply("resumed", id.as_ref(), Place { seq: until })).await
    }

    /// Sends what is due in one go.
    async fn send_live(&mut self, frames: VecDeque<Delivery>) -> Result<(), End> {
        let due: Vec<_> = frames
            .into_iter()
            .filter(|delivery| delivery.seq.is_none_or(|seq| self.session.send(seq)))
            .map(|delivery| delivery.text)
            .collect();
        self.write(due).await
    }

    async fn refuse(&mut self, id: Option<&Value>, error: ops::Error) -> Result<(), End> {
        let failure = Failure::from(error);
        let (code, detail) = failure.code_and_detail();
        self.error(id, &code, &detail).await
    }

    async fn error(&mut self, id: Option<&Value>, code: &str, detail: &str) -> Result<(), End> {
        self.text(reply("error", id, Refusal { code, detail })).await
    }

    async fn text(&mut self, text: String) -> Result<(), End> {
        self.write(vec![Utf8Bytes::from(text)]).await
    }

    /// Ends when all of it is in the system's hands, or the client has not taken it for too long.
    async fn write(&mut self, texts: Vec<Utf8Bytes>) -> Result<(), End> {
        let write = async {
            for text in texts {
                self.socket.feed(Message::Text(text)).await?;
            }
            self.socket.flush().await
        };
        Ok(tokio::time::timeout(WRITE, write).await.map_err(|_| End::Gone)??)
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// What the hub wants; nothing, while nobody is behind the connection.
async fn ready(inbox: Option<&mut Inbox>, wants_frames: bool) -> Ready {
    let Some(inbox) = inbox else { return std::future::pending().await };
    poll_fn(|context| inbox.poll(context, wants_frames)).await
}
