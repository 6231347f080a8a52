//! `identity`: the right to act as the plugin's own bot user.

use async_trait::async_trait;
use patchbay_core::Actor;
use wasmtime::component::{Linker, Resource};

use crate::{
    HostError,
    bindings::wit::{identity as wit, types},
    state::{CallState, Own, own},
};

/// What the embedder does for plugins with bot users.
#[async_trait]
pub trait Identity {
    /// The plugin's bot user, made if there is none yet. `Forbidden` if it may not act.
    async fn bot(&self, plugin: &str) -> Result<Actor, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn bot(&mut self) -> wasmtime::Result<Result<Resource<Actor>, types::Error>> {
        self.charge_call(0)?;
        let bot = match self.bot.clone() {
            Some(bot) => bot,
            None => {
                let (host, plugin) = (self.host.clone(), self.plugin.clone());
                match self.wait(Identity::bot(&*host, &plugin)).await {
                    Ok(bot) => self.bot.insert(bot).clone(),
                    Err(error) => return Ok(Err(error.into())),
                }
            }
        };
        Ok(Ok(self.lend(bot)?))
    }
}
