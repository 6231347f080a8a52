//! Bot users that people make, keys, and what is the same for everybody.

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use patchbay_core::{Actor, ChannelId, Role, Timestamp, UserId, permission::Action, text};
use patchbay_runtime::{
    HostErrorKind,
    capabilities::{
        bots::{Bot, Bots},
        deployment::Deployment,
        keys::Keys,
    },
};
use serde_json::json;
use sha2::Sha256;

use super::name_of;
use crate::world::{Answer, State, World, error, forbidden, invalid, not_found, user_of};

/// A bot as the server would tell of it, if the actor may know of it.
fn own(state: &State, actor: &Actor, id: UserId) -> Answer<Bot> {
    let owner = user_of(actor)?;
    let (made_by, scopes) = state.bots.get(&id).ok_or_else(|| not_found("bot"))?;
    let user = state.users.get(&id).ok_or_else(|| not_found("bot"))?;
    if actor.is_bot() || (*made_by != owner && !actor.is_superuser()) {
        return Err(not_found("bot"));
    }
    Ok(Bot {
        id,
        username: user.username.clone(),
        full_name: user.full_name.clone(),
        owner: Some(*made_by),
        is_active: user.is_active,
        scopes: scopes.clone(),
        created_at: user.created_at,
    })
}

#[async_trait]
impl Bots for World {
    async fn create(
        &self,
        actor: &Actor,
        _: &str,
        username: String,
        full_name: Option<String>,
    ) -> Answer<Bot> {
        let arguments =
            json!({ "actor": name_of(self, actor), "username": username, "full_name": full_name });
        self.call(("bots", "create"), arguments, |state| {
            let owner = user_of(actor)?;
            if actor.is_bot() {
                return Err(forbidden("bots have no bots"));
            }
            text::check_username(&username)
                .map_err(|fault| invalid(format!("username {}", fault.message)))?;
            if state.user_named(&username).is_some() {
                return Err(error(HostErrorKind::Conflict, "username_taken", "this username is taken"));
            }
            let id = state.add_user(&username, false, true);
            if let Some(user) = state.users.get_mut(&id) {
                user.full_name = full_name;
            }
            state.bots.insert(id, (owner, Vec::new()));
            own(state, actor, id)
        })
    }

    async fn get(&self, actor: &Actor, _: &str, id: UserId) -> Answer<Bot> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("bots", "get"), arguments, |state| own(state, actor, id))
    }

    async fn list(&self, actor: &Actor, _: &str, after: Option<UserId>, limit: u32) -> Answer<Vec<Bot>> {
        let arguments =
            json!({ "actor": name_of(self, actor), "after": after.map(|id| id.0), "limit": limit });
        self.call(("bots", "list"), arguments, |state| {
            let ids = state.bots.keys().filter(|id| after.is_none_or(|after| **id > after));
            let found = ids.filter_map(|id| own(state, actor, *id).ok());
            Ok(found.take(limit as usize).collect())
        })
    }

    async fn update(
        &self,
        actor: &Actor,
        _: &str,
        id: UserId,
        full_name: Option<String>,
        is_active: Option<bool>,
    ) -> Answer<Bot> {
        let arguments = json!({
            "actor": name_of(self, actor), "id": id.0, "full_name": full_name, "is_active": is_active,
        });
        self.call(("bots", "update"), arguments, |state| {
            own(state, actor, id)?;
            if let Some(user) = state.users.get_mut(&id) {
                user.full_name = full_name.or(user.full_name.take());
                user.is_active = is_active.unwrap_or(user.is_active);
            }
            own(state, actor, id)
        })
    }

    async fn delete(&self, actor: &Actor, _: &str, id: UserId) -> Answer<()> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0 });
        self.call(("bots", "delete"), arguments, |state| {
            own(state, actor, id)?;
            state.bots.remove(&id);
            if let Some(user) = state.users.get_mut(&id) {
                user.is_active = false;
            }
            Ok(())
        })
    }

    async fn issue_token(&self, actor: &Actor, _: &str, id: UserId, scopes: Vec<String>) -> Answer<String> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0, "scopes": scopes });
        self.call(("bots", "issue-token"), arguments, |state| {
            if own(state, actor, id)?.owner != actor.user_id() {
                return Err(forbidden("only its owner can have a bot's token"));
            }
            if scopes.is_empty() || scopes.iter().any(|scope| !matches!(scope.as_str(), "read" | "write")) {
                return Err(invalid("scopes must be one or both of read and write"));
            }
            let nth = state.next_id();
            if let Some((_, kept)) = state.bots.get_mut(&id) {
                *kept = scopes;
            }
            Ok(format!("pbt_{nth}_mock"))
        })
    }

    async fn join(&self, actor: &Actor, _: &str, id: UserId, channel: ChannelId) -> Answer<()> {
        let arguments = json!({ "actor": name_of(self, actor), "id": id.0, "channel": channel.0 });
        self.call(("bots", "join"), arguments, |state| {
            if id != state.bot {
                own(state, actor, id)?;
            }
            if state.enter(actor, channel, Action::Read)?.members.contains_key(&id) {
                return Ok(());
            }
            state.enter(actor, channel, Action::Add(Role::Member))?;
            if let Some(room) = state.rooms.get_mut(&channel) {
                room.members.insert(id, Role::Member);
            }
            Ok(())
        })
    }

    async fn act_as(&self, _: &str, id: UserId) -> Answer<Actor> {
        self.call(("bots", "act-as"), json!({ "id": id.0 }), |state| {
            let user = state.users.get(&id).filter(|_| state.bots.contains_key(&id));
            let user = user.ok_or_else(|| not_found("bot"))?;
            if user.is_active { Ok(state.actor(user)) } else { Err(forbidden("the bot is deactivated")) }
        })
    }
}

#[async_trait]
impl Deployment for World {
    async fn now(&self) -> Timestamp {
        self.state().now()
    }

    async fn public_url(&self) -> String {
        "https://chat.example.org".to_owned()
    }
}

#[async_trait]
impl Keys for World {
    async fn derive(&self, plugin: &str, label: &str) -> Answer<Vec<u8>> {
        self.call(("keys", "derive"), json!({ "label": label }), |_| {
            // The same in each test, as everything here.
            let mut mac = Hmac::<Sha256>::new_from_slice(plugin.as_bytes())
                .map_err(|error| invalid(error.to_string()))?;
            mac.update(label.as_bytes());
            Ok(mac.finalize().into_bytes().to_vec())
        })
    }
}
