//! The journal as one user may see it now, and which channels one may follow.

use std::collections::HashMap;

use patchbay_core::{Actor, ChannelId, MAX_FOLLOWED, Seq};
use patchbay_store::{Entry, Viewer};

use super::{Error, Ops, Result, Thing};

/// Entries of a page.
const PAGE: i64 = 200;

/// What a replay has to say next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// These, and then what comes after the last of them; nothing more if there are none.
    Page(Vec<Entry>),
    /// What came next has been pruned: continuity can't be proven.
    Pruned,
}

impl Ops {
    /// The newest `seq` that can no longer be replayed.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn journal_floor(&self) -> Result<Seq> {
        Ok(self.0.store.read().await?.journal_floor().await?)
    }

    /// The next entries after `after` up to `until` that the viewer may see now. Holds no connection when it
    /// returns: how long the viewer takes to read them is nobody else's concern.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn replay(&self, viewer: &Viewer, after: Seq, until: Seq) -> Result<Replay> {
        let mut conn = self.0.store.read().await?;
        let entries = conn.journal_for(viewer, after, until, PAGE).await?;
        // Asked afterwards: what was pruned before the entries were read shows here.
        let floor = conn.journal_floor().await?;
        Ok(if floor > after { Replay::Pruned } else { Replay::Page(entries) })
    }

    /// Those of these channels that anybody may follow: the public ones. Others that the actor can read are
    /// passed over, since members hear of them anyway.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 100; [`Error::NotFound`] for one that the actor can't read, unless
    /// `lenient`: who comes back may ask for what is gone.
    pub async fn followable(
        &self,
        actor: &Actor,
        mut channels: Vec<ChannelId>,
        lenient: bool,
    ) -> Result<Vec<ChannelId>> {
        channels.sort_unstable();
        channels.dedup();
        if channels.len() > MAX_FOLLOWED {
            return Err(too_many_followed());
        }
        if channels.is_empty() {
            return Ok(channels);
        }
        let found = self.0.store.read().await?.readable_channels(actor.user_id(), &channels).await?;
        let is_public: HashMap<ChannelId, bool> = found.into_iter().collect();
        if !lenient && channels.iter().any(|channel| !is_public.contains_key(channel)) {
            return Err(Error::NotFound(Thing::Channel));
        }
        channels.retain(|channel| is_public.get(channel) == Some(&true));
        Ok(channels)
    }
}

/// A connection that wants to follow more than it can.
pub fn too_many_followed() -> Error {
    Error::invalid("channel_ids", "length", format!("a connection can follow {MAX_FOLLOWED} channels"))
}
