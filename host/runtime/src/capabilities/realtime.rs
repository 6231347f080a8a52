//! `realtime`: signals to connected clients, kept nowhere.

use async_trait::async_trait;
use patchbay_core::{Actor, ChannelId};
use wasmtime::component::{Linker, Resource};

use super::kv::check_announcement;
use crate::{
    HostError,
    bindings::wit::{realtime as wit, types},
    state::{CallState, Own, id_in, own},
};

/// What the embedder does with signals.
#[async_trait]
pub trait Realtime {
    /// Sends `plugin.{plugin}.{kind}` to the connected members of a channel in which the actor may write. `kind` and
    /// `json`, an object, have been checked. What is too much is dropped ([`crate::limits::SIGNALS_PER_SECOND`]).
    async fn signal(
        &self,
        plugin: &str,
        actor: &Actor,
        channel: ChannelId,
        kind: &str,
        json: &str,
    ) -> Result<(), HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn signal(
        &mut self,
        actor: Resource<Actor>,
        channel: u64,
        kind: String,
        json: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(kind.len() + json.len())?;
        if let Err(error) = check_announcement("a signal", &kind, &json) {
            return Ok(Err(error.into()));
        }
        let (host, plugin, actor) = (self.host.clone(), self.plugin.clone(), self.actor(&actor)?);
        let channel = ChannelId(id_in(channel));
        let sent = self.wait(Realtime::signal(&*host, &plugin, &actor, channel, &kind, &json)).await;
        Ok(sent.map_err(types::Error::from))
    }
}
