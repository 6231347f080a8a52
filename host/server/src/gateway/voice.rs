//! `/ws/voice/{channel_id}`: what a room says as frames, and frames as what the operations take.
//!
//! Owns: the seat that a connection holds, and the queue between the room and the connection. Must not: decide who may be in
//! a room, or know media.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
};

use patchbay_core::ChannelId;
use patchbay_protocol::{
    self as protocol, Empty, VoiceAnswer, VoiceEnd, VoiceEnded, VoiceJoined, VoiceMedia,
    VoiceParticipantLeft, VoiceSlot, VoiceSpeaking, frame, reply,
};
use patchbay_voice::{Event, Joined, Link, MediaState, ParticipantId, Reason, Told, View};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    config,
    ops::{self, Caller, Ops, Seat},
    voice::ice_servers,
};

use super::session::VoiceRequest;

/// What may wait for a connection; one that falls behind further is closed with 4508 and comes again.
const WAITING: usize = 1024;

/// A connection's place in a room.
pub(super) struct Seated {
    pub seat: Seat,
    told: mpsc::Receiver<Told>,
}

/// What the room wants of the connection.
pub(super) enum FromRoom {
    /// Send this.
    Frame(String),
    /// Send this and close: there is no participant any more.
    Ended(String),
    /// The connection has not kept up.
    Behind,
}

/// Takes a caller into a room; the frame that says so.
pub(super) async fn join(
    ops: &Ops,
    settings: &config::Voice,
    caller: &Caller,
    channel: ChannelId,
) -> Result<(Seated, String), ops::Error> {
    let (tell, told) = mpsc::channel(WAITING);
    let tell = Mutex::new(Some(tell));
    let link: Link = Box::new(move |what| {
        let mut tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        // Once something has not gone in, nothing that comes later may.
        if tell.as_ref().is_some_and(|open| open.try_send(what).is_err()) {
            *tell = None;
        }
    });
    let (seat, joined) = ops.join_voice(caller, channel, link).await?;
    let Joined { id, resumed, participants, slots } = joined;
    let joined = VoiceJoined {
        channel_id: channel.0,
        participant_id: id.0,
        resumed,
        participants: participants.iter().map(participant).collect(),
        slots: slots.into_iter().enumerate().map(|(index, who)| slot(index, who)).collect(),
        ice_servers: ice_servers(settings, caller.user_id),
    };
    Ok((Seated { seat, told }, frame("joined", joined)))
}

impl Seated {
    /// The next thing that the room wants.
    async fn next(&mut self) -> FromRoom {
        match self.told.recv().await {
            None => FromRoom::Behind,
            Some(Told::Event(event)) => FromRoom::Frame(event_frame(&event)),
            Some(Told::Ended(why)) => FromRoom::Ended(ended(why)),
        }
    }

    /// Carries out a request; the answer.
    pub async fn carry(
        &self,
        ops: &Ops,
        request: VoiceRequest,
        id: Option<&Value>,
    ) -> Result<String, ops::Error> {
        let ack = || reply("ack", id, Empty {});
        match request {
            VoiceRequest::Offer(offer) => {
                let answer = ops.offer_voice(self.seat, offer.sdp).await?;
                return Ok(reply("answer", id, VoiceAnswer { sdp: answer.sdp, mids: answer.mids }));
            }
            VoiceRequest::Candidate(candidate) => {
                // An object with the line in it, or the line itself; none at the end of them.
                let candidate = candidate.candidate;
                let line = candidate.get("candidate").unwrap_or(&candidate).as_str();
                if let Some(line) = line {
                    ops.note_voice_candidate(self.seat, line.to_owned());
                }
            }
            VoiceRequest::Mute(mute) => ops.set_voice(self.seat, Some(mute.audio), None)?,
            VoiceRequest::Deafen(deafen) => ops.set_voice(self.seat, None, Some(deafen.on))?,
            // The room's farewell follows.
            VoiceRequest::Leave => ops.leave_voice(self.seat),
            VoiceRequest::Resume(resume) => {
                if resume.participant_id != self.seat.participant.0 {
                    let why = "that participant is gone; make an offer as the new one";
                    return Err(ops::Error::Conflict("conflict", why.into()));
                }
            }
        }
        Ok(ack())
    }
}

/// What the room wants; nothing, while there is none.
pub(super) async fn next(place: Option<&mut Seated>) -> FromRoom {
    match place {
        Some(place) => place.next().await,
        None => pending().await,
    }
}

/// As the protocol has it.
pub(crate) fn participant(view: &View) -> protocol::VoiceParticipant {
    protocol::VoiceParticipant {
        participant_id: view.id.0,
        user_id: view.user,
        muted: view.muted,
        server_muted: view.silenced,
        deafened: view.deafened,
        speaking: view.speaking,
        media: match view.media {
            MediaState::None => VoiceMedia::None,
            MediaState::Connecting => VoiceMedia::Connecting,
            MediaState::Connected => VoiceMedia::Connected,
            MediaState::Lost => VoiceMedia::Lost,
        },
    }
}

fn slot(index: usize, who: Option<ParticipantId>) -> VoiceSlot {
    VoiceSlot { index, participant_id: who.map(|who| who.0) }
}

fn event_frame(event: &Event) -> String {
    match event {
        Event::Joined(view) => frame("participant.joined", participant(view)),
        Event::Updated(view) => frame("participant.updated", participant(view)),
        Event::Left(id, user, why) => {
            let left = VoiceParticipantLeft { participant_id: id.0, user_id: *user, reason: reason(*why) };
            frame("participant.left", left)
        }
        Event::Slot(index, who) => frame("slot", slot(*index, *who)),
        Event::Speaking(id, on) => frame("speaking", VoiceSpeaking { participant_id: id.0, on: *on }),
    }
}

fn ended(why: Reason) -> String {
    let channel_id = if let Reason::Moved(to) = why { Some(to) } else { None };
    frame("ended", VoiceEnded { reason: reason(why), channel_id })
}

fn reason(why: Reason) -> VoiceEnd {
    match why {
        Reason::Left => VoiceEnd::Left,
        Reason::Replaced => VoiceEnd::Replaced,
        Reason::Removed => VoiceEnd::Removed,
        Reason::Moved(_) => VoiceEnd::Moved,
        Reason::SignallingLost => VoiceEnd::SignallingLost,
        Reason::MediaLost => VoiceEnd::MediaLost,
        Reason::NoMedia => VoiceEnd::NoMedia,
        Reason::GoingAway => VoiceEnd::GoingAway,
    }
}
