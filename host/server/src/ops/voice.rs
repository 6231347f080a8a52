//! Voice channels: who may come in, who is in, what moderators may do. The rooms themselves are in memory, in `patchbay_voice`.

use patchbay_core::{Actor, ChannelId, UserId, permission::Action};
use patchbay_store::Conn;
use patchbay_voice::{Answer, Joined, Link, ParticipantId, Reason, Refusal, Stats, View, Voice};
use tokio::sync::oneshot;

use super::{
    Caller, Error, Ops, PageOf, PageRequest, Result, Thing,
    access::{Entered, enter_to, may_speak},
};

/// A seat in a room: what a signalling connection holds.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Which room.
    pub channel: ChannelId,
    /// Who it is there.
    pub participant: ParticipantId,
    link: u64,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        match refusal {
            Refusal::Full => Self::Conflict("room_full", sentence),
            Refusal::TooManyOffers => Self::TooMany(std::time::Duration::from_secs(2)),
            Refusal::NotHere => Self::NotFound(Thing::VoiceParticipant),
            Refusal::Offer(_) => Self::Refused("offer_refused".into(), sentence),
            Refusal::TooManyRooms | Refusal::GoingAway => Self::Unavailable(sentence),
        }
    }
}

impl Ops {
    /// From now on there is voice.
    pub fn open_voice(&self, voice: Voice) {
        let _ = self.0.voice.set(voice);
    }

    fn voice(&self) -> Result<&Voice> {
        self.0.voice.get().ok_or_else(|| Error::Unavailable("there is no voice on this server".into()))
    }

    /// Whether the actor may come into a voice channel.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`] with `not_a_voice_channel`, [`Error::Unavailable`]
    /// if this server has no voice.
    pub async fn may_join_voice(&self, actor: &Actor, channel: ChannelId) -> Result<()> {
        let mut conn = self.0.store.read().await?;
        enter_room(&mut conn, actor, channel, Action::Speak).await?;
        self.voice().map(drop)
    }

    /// Lets a caller into a voice channel. The link hears of everything in it from then on.
    ///
    /// # Errors
    /// As for [`Ops::may_join_voice`], and [`Error::Conflict`] with `room_full`.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn join_voice(
        &self,
        caller: &Caller,
        channel: ChannelId,
        link: Link,
    ) -> Result<(Seat, Joined)> {
        self.may_join_voice(&caller.actor, channel).await?;
        let (put, get) = oneshot::channel();
        let voice = self.voice()?;
        let (user, session) = (caller.user_id.0, caller.session_id.0);
        let link = voice.join(channel.0, user, session, link, |joined| drop(put.send(joined)));
        let joined = answer(get).await??;
        let seat = Seat { channel, participant: joined.id, link };
        // What took the permission away may have come before the room knew of the participant.
        if let Err(error) = self.may_join_voice(&caller.actor, channel).await {
            self.leave_voice(seat);
            return Err(error);
        }
        Ok((seat, joined))
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// [`Error::Refused`] with `offer_refused`, [`Error::TooMany`].
    pub async fn offer_voice(&self, seat: Seat, sdp: String) -> Result<Answer> {
        let (put, get) = oneshot::channel();
        let reply = |answer| drop(put.send(answer));
        self.voice()?.offer(seat.channel.0, seat.link, seat.participant, sdp, reply);
        Ok(answer(get).await??)
    }

    /// Where a client says that it is: for the log, if no connection comes about.
    pub fn note_voice_candidate(&self, seat: Seat, candidate: String) {
        if let Ok(voice) = self.voice() {
            voice.candidate(seat.channel.0, seat.link, seat.participant, candidate);
        }
    }

    /// What a participant says of its microphone, and of whether it listens.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn set_voice(&self, seat: Seat, muted: Option<bool>, deafened: Option<bool>) -> Result<()> {
        self.voice()?.set(seat.channel.0, seat.participant, muted, deafened);
        Ok(())
    }

    /// The signalling connection is gone; its participant may come back for a while.
    pub fn unlink_voice(&self, seat: Seat) {
        if let Ok(voice) = self.voice() {
            voice.unlink(seat.channel.0, seat.link);
        }
    }

    /// A participant goes for good.
    pub fn leave_voice(&self, seat: Seat) {
        if let Ok(voice) = self.voice() {
            voice.leave(seat.channel.0, seat.participant);
        }
    }

    /// A page of who is in a voice channel, by rising participant id; nobody, if it is none.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn voice_participants(
        &self,
        actor: &Actor,
        channel: ChannelId,
        page: PageRequest,
    ) -> Result<PageOf<View>> {
        let mut conn = self.0.store.read().await?;
        enter_to(&mut conn, actor, channel, Action::Read).await?;
        drop(conn);
        let mut views = self.voice_views(channel).await?;
        let id = |view: &View| i64::try_from(view.id.0).unwrap_or(i64::MAX);
        views.retain(|view| {
            page.before.is_none_or(|b| id(view) < b) && page.after.is_none_or(|a| id(view) > a)
        });
        if page.before.is_some() && page.after.is_none() {
            views.reverse();
        }
        Ok(page.page(views, false))
    }

    async fn voice_views(&self, channel: ChannelId) -> Result<Vec<View>> {
        // Nobody is anywhere where there is no voice.
        let Some(voice) = self.0.voice.get() else { return Ok(Vec::new()) };
        let (put, get) = oneshot::channel();
        voice.views(channel.0, |views| drop(put.send(views)));
        answer(get).await
    }

    /// Mutes a user for everybody, or no longer, and sends them to another voice channel; what they were then.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for who does not manage the channel, or where the user may not go.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn moderate_voice(
        &self,
        actor: &Actor,
        channel: ChannelId,
        user: UserId,
        muted: Option<bool>,
        to: Option<ChannelId>,
    ) -> Result<View> {
        let mut conn = self.0.store.read().await?;
        enter_room(&mut conn, actor, channel, Action::Manage).await?;
        if let Some(to) = to {
            enter_room(&mut conn, actor, to, Action::Speak).await?;
            if !may_speak(&mut conn, user, to).await? {
                return Err(Error::Forbidden("the user may not join that voice channel".into()));
            }
        }
        drop(conn);
        let views = self.voice_views(channel).await?;
        let found = views.into_iter().find(|view| view.user == user.0);
        let mut view = found.ok_or(Error::NotFound(Thing::VoiceParticipant))?;
        if let Some(on) = muted {
            let (put, get) = oneshot::channel();
            self.voice()?.silence(channel.0, user.0, on, |view| drop(put.send(view)));
            view = answer(get).await??;
        }
        if let Some(to) = to.filter(|to| *to != channel) {
            self.end_voice(channel, user, Reason::Moved(to.0)).await?;
        }
        Ok(view)
    }

    /// Takes a user out of a voice channel; oneself too.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for who does not manage the channel.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn remove_from_voice(&self, actor: &Actor, channel: ChannelId, user: UserId) -> Result<()> {
        let is_own = actor.user_id() == Some(user);
        let mut conn = self.0.store.read().await?;
        enter_room(&mut conn, actor, channel, if is_own { Action::Read } else { Action::Manage }).await?;
        drop(conn);
        self.end_voice(channel, user, if is_own { Reason::Left } else { Reason::Removed }).await
    }

    async fn end_voice(&self, channel: ChannelId, user: UserId, why: Reason) -> Result<()> {
        let (put, get) = oneshot::channel();
        self.voice()?.remove(channel.0, user.0, why, |removed| drop(put.send(removed)));
        Ok(answer(get).await??)
    }

    /// A user is no longer a member of a channel: takes it out of its room, also where it could join anew.
    pub fn end_voice_of_member(&self, channel: ChannelId, user: UserId) {
        if let Ok(voice) = self.voice() {
            voice.remove(channel.0, user.0, Reason::Removed, drop);
        }
    }

    /// A channel has changed, or is gone: takes out of its room who may not be in it any more.
    pub fn recheck_voice(&self, channel: ChannelId) {
        if self.0.voice.get().is_none() {
            return;
        }
        let ops = self.clone();
        tokio::spawn(async move {
            if let Err(error) = ops.clear_voice(channel).await {
                tracing::error!(%error, channel = channel.0, "who may be in a voice channel could not be checked");
                // Rather nobody than somebody who must not hear.
                if let Ok(voice) = ops.voice() {
                    voice.close(channel.0, Reason::Removed);
                }
            }
        });
    }

    async fn clear_voice(&self, channel: ChannelId) -> Result<()> {
        for view in self.voice_views(channel).await? {
            let user = UserId(view.user);
            let mut conn = self.0.store.read().await?;
            if !may_speak(&mut conn, user, channel).await? {
                self.end_voice_of_member(channel, user);
            }
        }
        Ok(())
    }

    /// Figures of the rooms.
    pub async fn voice_stats(&self) -> Vec<Stats> {
        let Some(voice) = self.0.voice.get() else { return Vec::new() };
        let (put, mut get) = tokio::sync::mpsc::channel(voice.threads());
        voice.stats(move |stats| drop(put.try_send(stats)));
        let mut all = Vec::new();
        while let Some(stats) = get.recv().await {
            all.extend(stats);
        }
        all
    }
}

/// The answer of a thread that may have ended.
async fn answer<T>(get: oneshot::Receiver<T>) -> Result<T> {
    get.await.map_err(|_| Refusal::GoingAway.into())
}

/// A voice channel, if the actor may do this there.
async fn enter_room(conn: &mut Conn, actor: &Actor, channel: ChannelId, action: Action) -> Result<Entered> {
    let entered = enter_to(conn, actor, channel, action).await?;
    if entered.channel.is_vc {
        Ok(entered)
    } else {
        Err(Error::Conflict("not_a_voice_channel", "this channel is not for voice".into()))
    }
}
