//! From events to journal entries.

use patchbay_core::{Actor, Event, MAX_DEPTH, Timestamp};
use patchbay_store::{NewEntry, Tx};

use super::{Error, Result};

/// What a plugin is told that reacts to a plugin that reacted to a plugin.
pub(super) fn too_deep() -> Error {
    Error::Denied(
        "depth_exceeded",
        "plugins have set each other off too often; this one may not go on".into(),
    )
}

/// Appends an event to the transaction's part of the journal.
///
/// # Errors
/// [`Error::Denied`] with `depth_exceeded` for a plugin that reacts to a plugin that reacted to a plugin: what
/// leaves no event can't set anything off, so this is the one place that keeps plugins from answering each other for
/// ever.
pub(super) fn emit(tx: &mut Tx, actor: &Actor, event: &Event, now: Timestamp) -> Result<()> {
    if actor.depth() > MAX_DEPTH {
        return Err(too_deep());
    }
    tx.append(NewEntry {
        kind: event.kind().to_owned(),
        audience: event.audience(),
        channel_id: event.channel_id(),
        message_id: event.message_id(),
        actor_id: actor.user_id(),
        target_user_id: event.target_user_id(),
        payload: patchbay_protocol::event_data(event),
        origin: actor.via().map(|via| via.plugin.to_string()),
        depth: actor.depth(),
        created_at: now,
    });
    Ok(())
}
