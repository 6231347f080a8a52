//! `users`: the public part of users' profiles.

use async_trait::async_trait;
use patchbay_core::{Actor, User, UserId};
use wasmtime::component::{Linker, Resource};

use crate::{
    HostError,
    bindings::wit::{types, users as wit},
    state::{CallState, Own, id_in, id_out, own},
};

/// What the embedder tells plugins of users, with the permissions of `actor`. Plugins see the public part.
#[async_trait]
pub trait Users {
    /// One user.
    async fn get(&self, actor: &Actor, id: UserId) -> Result<User, HostError>;
    /// The user of that name, without regard to case.
    async fn find(&self, actor: &Actor, username: &str) -> Result<User, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

impl wit::Host for CallState {
    async fn get(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
    ) -> wasmtime::Result<Result<wit::User, types::Error>> {
        self.charge_call(0)?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let user = self.wait(Users::get(&*host, &actor, UserId(id_in(id)))).await;
        Ok(user.map(Into::into).map_err(types::Error::from))
    }

    async fn find(
        &mut self,
        actor: Resource<Actor>,
        username: String,
    ) -> wasmtime::Result<Result<wit::User, types::Error>> {
        self.charge_call(username.len())?;
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let user = self.wait(Users::find(&*host, &actor, &username)).await;
        Ok(user.map(Into::into).map_err(types::Error::from))
    }
}

impl From<User> for wit::User {
    fn from(user: User) -> Self {
        Self {
            id: id_out(user.id.0),
            username: user.username,
            full_name: user.full_name,
            is_bot: user.is_bot,
            is_active: user.is_active,
        }
    }
}
