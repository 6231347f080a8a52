//! Signals between the parts of the server that are not kept: what is lost with the process was worth nothing
//! afterwards. In-process; the seam for a broker between nodes.
//!
//! Owns: the queue. Must not: carry anything that the journal carries.

use patchbay_core::{ChannelId, SessionId, Status, UserId};
use tokio::sync::mpsc;

/// Signals that wait. Typing and what plugins say is dropped when they are many; the others wait for
/// their place.
const QUEUE: usize = 4096;

/// Something that concerns open sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A session has ended: its sockets must close.
    SessionEnded(SessionId),
    /// What a user may do has changed: their sockets must be opened anew.
    AuthorityChanged(UserId),
    /// Somebody is typing.
    Typing {
        /// Where.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
    },
    /// Somebody came into a voice channel, or left it.
    Voice {
        /// Which.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
        /// Came in.
        is_in: bool,
    },
    /// A plugin has something to say to those who are here.
    OfPlugin {
        /// To whose members.
        channel_id: ChannelId,
        /// `plugin.{name}.{kind}`.
        kind: String,
        /// A JSON object.
        json: String,
    },
    /// Somebody chose what others are to see.
    StatusChosen {
        /// Who.
        user_id: UserId,
        /// What.
        status: Status,
    },
}

/// The sending side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {
    signals: mpsc::Sender<Signal>,
}

impl Bus {
    /// A bus and the end that the gateway listens on.
    pub fn new() -> (Self, mpsc::Receiver<Signal>) {
        let (signals, listener) = mpsc::channel(QUEUE);
        (Self { signals }, listener)
    }

    /// Sends a signal that must arrive.
    pub async fn send(&self, signal: Signal) {
        // The listener is gone only when the gateway is, and with it every socket.
        let _ = self.signals.send(signal).await;
    }

    /// Sends a signal that may be lost when there are too many.
    pub fn send_lossy(&self, signal: Signal) {
        let _ = self.signals.try_send(signal);
    }
}
