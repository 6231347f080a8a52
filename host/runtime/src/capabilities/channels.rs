//! `channels`: channels and who is in them.

use async_trait::async_trait;
use patchbay_core::{Actor, ChannelForViewer, ChannelId, UserId};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError,
    bindings::wit::{channels as wit, types},
    state::{CallState, Own, count_out, id_in, id_out, own},
};

const MAX_PAGE: u32 = 200;

/// What the embedder tells plugins of channels, with the permissions of `actor`.
#[async_trait]
pub trait Channels {
    /// One channel.
    async fn get(&self, actor: &Actor, id: ChannelId) -> Result<ChannelForViewer, HostError>;
    /// The channels that the actor can read with ids after `after`, by rising id, at most `limit` (1 to 200).
    async fn list(
        &self,
        actor: &Actor,
        after: Option<ChannelId>,
        limit: u32,
    ) -> Result<Vec<ChannelForViewer>, HostError>;
    /// The ids of a channel's members after `after`, by rising id, at most `limit` (1 to 200).
    async fn members(
        &self,
        actor: &Actor,
        id: ChannelId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<UserId>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn get(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
    ) -> wasmtime::Result<Result<wit::Channel, types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let channel = self.wait(Channels::get(&*host, &actor, ChannelId(id_in(id)))).await;
        if let Ok(found) = &channel {
            self.charge_bytes(size(found))?;
        }
        Ok(channel.map(Into::into).map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        actor: Resource<Actor>,
        after: Option<u64>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Channel>, types::Error>> {
        self.charge_call(0)?;
        let limit = match check_limit(limit, MAX_PAGE) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let after = after.map(|id| ChannelId(id_in(id)));
        let found = self.wait(Channels::list(&*host, &actor, after, limit)).await;
        if let Ok(found) = &found {
            self.charge_bytes(found.iter().map(size).sum())?;
        }
        Ok(found.map(|list| list.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }

    async fn members(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
        after: Option<u64>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<u64>, types::Error>> {
        self.charge_call(0)?;
        let limit = match check_limit(limit, MAX_PAGE) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let after = after.map(|id| UserId(id_in(id)));
        let found = self.wait(Channels::members(&*host, &actor, ChannelId(id_in(id)), after, limit)).await;
        if let Ok(found) = &found {
            self.charge_bytes(found.len().saturating_mul(size_of::<u64>()))?;
        }
        Ok(found.map(|list| list.into_iter().map(|id| id_out(id.0)).collect()).map_err(types::Error::from))
    }
}

fn size(seen: &ChannelForViewer) -> usize {
    let description = seen.channel.description.as_ref().map_or(0, String::len);
    size_of::<wit::Channel>() + seen.channel.name.len() + description
}

impl From<ChannelForViewer> for wit::Channel {
    fn from(seen: ChannelForViewer) -> Self {
        Self {
            id: id_out(seen.channel.id.0),
            name: seen.channel.name,
            description: seen.channel.description,
            is_public: seen.channel.is_public,
            is_direct_message: seen.channel.is_direct_message,
            is_voice: seen.channel.is_vc,
            member_count: count_out(seen.member_count),
        }
    }
}
