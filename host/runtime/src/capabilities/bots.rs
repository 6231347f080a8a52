//! `bots`: bot users that people make through the plugin.

use async_trait::async_trait;
use patchbay_core::{Actor, ChannelId, Timestamp, UserId};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{bots as wit, types},
    state::{CallState, Own, id_in, id_out, own},
};

/// Most bots in one answer.
const MAX_BOTS: u32 = 200;
/// Most scopes that a token can be asked for.
const MAX_SCOPES: usize = 8;

/// A bot user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub username: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Who made it.
    pub owner: Option<UserId>,
    /// Whether it may act.
    pub is_active: bool,
    /// What its token allows; empty while it has none.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What the embedder does for plugins through which people make bots. A plugin's bots are its own: those of others are
/// not found.
#[async_trait]
pub trait Bots {
    /// Makes a bot that belongs to the actor.
    async fn create(
        &self,
        actor: &Actor,
        plugin: &str,
        username: String,
        full_name: Option<String>,
    ) -> Result<Bot, HostError>;
    /// One of the actor's bots.
    async fn get(&self, actor: &Actor, plugin: &str, id: UserId) -> Result<Bot, HostError>;
    /// Up to `limit` of the actor's bots with ids after `after`, by rising id.
    async fn list(
        &self,
        actor: &Actor,
        plugin: &str,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Bot>, HostError>;
    /// Changes what is given.
    async fn update(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        full_name: Option<String>,
        is_active: Option<bool>,
    ) -> Result<Bot, HostError>;
    /// Takes a bot out.
    async fn delete(&self, actor: &Actor, plugin: &str, id: UserId) -> Result<(), HostError>;
    /// Replaces its token.
    async fn issue_token(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        scopes: Vec<String>,
    ) -> Result<String, HostError>;
    /// Makes one of the plugin's bots, or its own bot user, a member of a channel with the actor's permission.
    async fn join(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        channel: ChannelId,
    ) -> Result<(), HostError>;
    /// The authority of one of the plugin's bots.
    async fn act_as(&self, plugin: &str, id: UserId) -> Result<Actor, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn check_scopes(scopes: &[String]) -> Result<(), HostError> {
    if scopes.len() <= MAX_SCOPES {
        Ok(())
    } else {
        Err(HostError::new(HostErrorKind::Invalid, format!("at most {MAX_SCOPES} scopes")))
    }
}

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl wit::Host for CallState {
    async fn create(
        &mut self,
        actor: Resource<Actor>,
        username: String,
        full_name: Option<String>,
    ) -> Answer<wit::Bot> {
        self.charge_call(username.len() + full_name.as_ref().map_or(0, String::len))?;
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let made = self.wait(Bots::create(&*host, &actor, &plugin, username, full_name)).await;
        Ok(made.map(Into::into).map_err(types::Error::from))
    }

    async fn get(&mut self, actor: Resource<Actor>, id: u64) -> Answer<wit::Bot> {
        self.charge_call(0)?;
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let found = self.wait(Bots::get(&*host, &actor, &plugin, UserId(id_in(id)))).await;
        Ok(found.map(Into::into).map_err(types::Error::from))
    }

    async fn list(
        &mut self,
        actor: Resource<Actor>,
        after: Option<u64>,
        limit: u32,
    ) -> Answer<Vec<wit::Bot>> {
        self.charge_call(0)?;
        let limit = match check_limit(limit, MAX_BOTS) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let after = after.map(|id| UserId(id_in(id)));
        let found = self.wait(Bots::list(&*host, &actor, &plugin, after, limit)).await;
        if let Ok(bots) = &found {
            self.charge_bytes(bots.iter().map(|bot| size_of::<Bot>() + bot.username.len()).sum())?;
        }
        Ok(found.map(|bots| bots.into_iter().map(Into::into).collect()).map_err(types::Error::from))
    }

    async fn update(
        &mut self,
        actor: Resource<Actor>,
        id: u64,
        full_name: Option<String>,
        is_active: Option<bool>,
    ) -> Answer<wit::Bot> {
        self.charge_call(full_name.as_ref().map_or(0, String::len))?;
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let id = UserId(id_in(id));
        let changed = self.wait(Bots::update(&*host, &actor, &plugin, id, full_name, is_active)).await;
        Ok(changed.map(Into::into).map_err(types::Error::from))
    }

    async fn delete(&mut self, actor: Resource<Actor>, id: u64) -> Answer<()> {
        self.charge_call(0)?;
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let deleted = self.wait(Bots::delete(&*host, &actor, &plugin, UserId(id_in(id)))).await;
        Ok(deleted.map_err(types::Error::from))
    }

    async fn issue_token(&mut self, actor: Resource<Actor>, id: u64, scopes: Vec<String>) -> Answer<String> {
        self.charge_call(scopes.iter().map(String::len).sum())?;
        if let Err(error) = check_scopes(&scopes) {
            return Ok(Err(error.into()));
        }
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let issued = self.wait(Bots::issue_token(&*host, &actor, &plugin, UserId(id_in(id)), scopes)).await;
        Ok(issued.map_err(types::Error::from))
    }

    async fn join(&mut self, actor: Resource<Actor>, id: u64, channel: u64) -> Answer<()> {
        self.charge_call(0)?;
        let (host, actor, plugin) = (self.host.clone(), self.actor(&actor)?, self.plugin.clone());
        let (id, channel) = (UserId(id_in(id)), ChannelId(id_in(channel)));
        let joined = self.wait(Bots::join(&*host, &actor, &plugin, id, channel)).await;
        Ok(joined.map_err(types::Error::from))
    }

    async fn act_as(&mut self, id: u64) -> Answer<Resource<Actor>> {
        self.charge_call(0)?;
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        match self.wait(Bots::act_as(&*host, &plugin, UserId(id_in(id)))).await {
            Ok(actor) => Ok(Ok(self.lend(actor)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl From<Bot> for wit::Bot {
    fn from(bot: Bot) -> Self {
        Self {
            id: id_out(bot.id.0),
            username: bot.username,
            full_name: bot.full_name,
            owner: bot.owner.map(|id| id_out(id.0)),
            is_active: bot.is_active,
            scopes: bot.scopes,
            created_at: id_out(bot.created_at.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_bounded() {
        assert!(check_scopes(&vec![String::new(); MAX_SCOPES]).is_ok());
        assert!(check_scopes(&vec![String::new(); MAX_SCOPES + 1]).is_err());
    }
}
