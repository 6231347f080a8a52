//! From events to journal entries.

use patchbay_core::{Actor, Event, Timestamp};
use patchbay_store::{NewEntry, Tx};

/// Appends an event to the transaction's part of the journal.
pub(super) fn emit(tx: &mut Tx, actor: &Actor, event: &Event, now: Timestamp) {
    tx.append(NewEntry {
        kind: event.kind().to_owned(),
        audience: event.audience(),
        channel_id: event.channel_id(),
        message_id: event.message_id(),
        actor_id: actor.user_id(),
        target_user_id: event.target_user_id(),
        payload: patchbay_protocol::event_data(event),
        created_at: now,
    });
}
