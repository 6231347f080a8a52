//! `presence`: who is here.

use async_trait::async_trait;
use patchbay_core::{Actor, Status, UserId};
use wasmtime::component::{Linker, Resource};

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{presence as wit, types},
    state::{CallState, Own, id_in, own},
};

const MAX_USERS: usize = 200;

/// What the embedder tells plugins of presence, with the permissions of `actor`.
#[async_trait]
pub trait Presence {
    /// What the actor sees of up to 200 users, in the order asked; `Offline` for whom there is nothing to see.
    async fn get(&self, actor: &Actor, users: &[UserId]) -> Result<Vec<Status>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_users(users: &[u64]) -> Result<(), HostError> {
    if users.len() <= MAX_USERS {
        Ok(())
    } else {
        Err(HostError::new(HostErrorKind::Invalid, format!("at most {MAX_USERS} users at once")))
    }
}

impl wit::Host for CallState {
    async fn get(
        &mut self,
        actor: Resource<Actor>,
        users: Vec<u64>,
    ) -> wasmtime::Result<Result<Vec<wit::Status>, types::Error>> {
        self.charge_call(users.len() * size_of::<u64>())?;
        if let Err(error) = check_users(&users) {
            return Ok(Err(error.into()));
        }
        let (host, actor) = (self.host.clone(), self.actor(&actor)?);
        let users: Vec<_> = users.into_iter().map(|id| UserId(id_in(id))).collect();
        let seen = self.wait(Presence::get(&*host, &actor, &users)).await;
        Ok(seen.map(|list| list.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }
}

impl From<Status> for wit::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Away => Self::Away,
            Status::Busy => Self::Busy,
            Status::Offline => Self::Offline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_users_is_bounded() {
        assert!(check_users(&[1; MAX_USERS]).is_ok() && check_users(&[1; MAX_USERS + 1]).is_err());
    }
}
