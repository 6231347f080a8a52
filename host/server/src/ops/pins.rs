//! Pins.

use patchbay_core::{Actor, ChannelId, Event, Message, MessageId, Timestamp, permission::Action};
use patchbay_store::Tx;

use super::{
    Error, Ops, Result, Thing,
    access::{enter, enter_to, user_of},
    journal::emit,
};

/// Most pins of a channel: they are one list, shown whole.
const MAX_PINS: i64 = 100;

impl Ops {
    /// The messages pinned to a channel, the newest pin first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn pins(&self, actor: &Actor, channel: ChannelId) -> Result<Vec<Message>> {
        let mut conn = self.0.store.read().await?;
        enter(&mut conn, actor, channel).await?;
        Ok(conn.pinned_messages(channel).await?)
    }

    /// Pins a message to its channel, or unpins it; every member may. Pinning twice is pinning once.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for unpinning what isn't pinned; [`Error::Forbidden`] for a non-member;
    /// [`Error::Conflict`] with `too_many_pins`.
    pub async fn set_pin(
        &self,
        actor: &Actor,
        channel: ChannelId,
        message: MessageId,
        is_pinned: bool,
    ) -> Result<()> {
        let by = user_of(actor)?;
        let actor = actor.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    enter_to(tx, &actor, channel, Action::Write).await?;
                    pinnable(tx, channel, message).await?;
                    let now = Timestamp::now();
                    let changed = if is_pinned {
                        let is_new = tx.insert_pin(channel, message, by, now).await?;
                        if is_new && tx.count_pins(channel).await? > MAX_PINS {
                            let why = format!("a channel can have {MAX_PINS} pins");
                            return Err(Error::Conflict("too_many_pins", why));
                        }
                        is_new
                    } else if tx.delete_pin(message).await? {
                        true
                    } else {
                        return Err(Error::NotFound(Thing::Pin));
                    };
                    if changed {
                        let event = Event::Pinned { message_id: message, channel_id: channel, by, is_pinned };
                        emit(tx, &actor, &event, now)?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

async fn pinnable(tx: &mut Tx, channel: ChannelId, message: MessageId) -> Result<()> {
    let found = tx.message(message).await?;
    let there = found.is_some_and(|found| found.channel_id == channel && found.deleted_at.is_none());
    if there { Ok(()) } else { Err(Error::NotFound(Thing::Message)) }
}
