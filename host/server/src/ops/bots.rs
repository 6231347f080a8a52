//! The bot users of plugins: each plugin has at most one, made when it is first needed.

use patchbay_core::{Actor, Event, Timestamp, UserId, text};
use patchbay_store::{NewUser, Tx};

use super::{Error, Ops, Result, Thing, accounts::taken, journal::emit, sessions::actor_of};

/// Of the addresses of bots. Nobody can have one there (RFC 2606), which does not keep people from saying they do.
const DOMAIN: &str = "plugins.invalid";
/// Names that are tried before giving up.
const TRIES: u32 = 1_000;
/// Longest name of a user.
const MAX_NAME: usize = 32;

impl Ops {
    /// The plugin's bot user, which is made if there is none.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the plugin isn't installed.
    pub async fn ensure_bot(&self, plugin: &str) -> Result<UserId> {
        let found = self.0.store.read().await?.plugin_bot(plugin).await?;
        if let Some(bot) = found.ok_or(Error::NotFound(Thing::Plugin))? {
            return Ok(bot);
        }
        let plugin = plugin.to_owned();
        self.0.store.write(move |tx| Box::pin(async move { make(tx, &plugin).await })).await
    }

    /// The authority of the plugin's bot user.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if an operator has deactivated it; [`Error::NotFound`] if the plugin isn't installed.
    pub async fn bot_of(&self, plugin: &str) -> Result<Actor> {
        let id = self.ensure_bot(plugin).await?;
        let bot = self.0.store.read().await?.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
        if bot.is_active {
            Ok(actor_of(&bot))
        } else {
            Err(Error::Forbidden("the plugin's bot user is deactivated".into()))
        }
    }
}

/// Account and link in one transaction: a bot that belongs to nobody would keep its name for ever.
async fn make(tx: &mut Tx, plugin: &str) -> Result<UserId> {
    if let Some(bot) = tx.plugin_bot(plugin).await?.ok_or(Error::NotFound(Thing::Plugin))? {
        return Ok(bot);
    }
    let now = Timestamp::now();
    let new = NewUser {
        username: free(tx, names(plugin)).await?,
        email: free(tx, addresses(plugin)).await?,
        full_name: None,
        hashed_password: None,
        is_superuser: false,
        is_bot: true,
    };
    let id = tx.insert_user(&new, now).await.map_err(taken)?;
    tx.set_plugin_bot(plugin, id).await?;
    let bot = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
    emit(tx, &Actor::SYSTEM, &Event::UserUpdated(bot), now)?;
    Ok(id)
}

/// The first of these names or addresses that nobody logs in by.
async fn free(tx: &mut Tx, candidates: impl Iterator<Item = String> + Send) -> Result<String> {
    for candidate in candidates {
        if tx.secret_by_login(&candidate).await?.is_none() {
            return Ok(candidate);
        }
    }
    Err(Error::Conflict("username_taken", "no name is free for the plugin's bot user".into()))
}

/// `name`, `name-bot`, `name-bot-2`, …, as far as they are names that a user can have.
fn names(plugin: &str) -> impl Iterator<Item = String> + Send + use<> {
    let plugin = plugin.to_owned();
    (0..TRIES)
        .map(move |nth| {
            let suffix = match nth {
                0 => String::new(),
                1 => "-bot".to_owned(),
                nth => format!("-bot-{nth}"),
            };
            // A plugin's name is ASCII.
            let name: String = plugin.chars().take(MAX_NAME - suffix.len()).collect();
            format!("{name}{suffix}")
        })
        .filter(|name| text::check_username(name).is_ok())
}

fn addresses(plugin: &str) -> impl Iterator<Item = String> + Send + use<> {
    let plugin = plugin.to_owned();
    (1..TRIES).map(move |nth| match nth {
        1 => format!("{plugin}@{DOMAIN}"),
        nth => format!("{plugin}-{nth}@{DOMAIN}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_that_users_can_have() {
        assert_eq!(names("poll").take(3).collect::<Vec<_>>(), ["poll", "poll-bot", "poll-bot-2"]);
        assert_eq!(names("a").next().unwrap(), "a-bot", "one character is too short");
        let long = "p".repeat(32);
        for name in names(&long).chain(names("a-b")) {
            assert!(text::check_username(&name).is_ok(), "{name}");
        }
        for address in addresses(&long) {
            assert!(text::check_email(&address).is_ok(), "{address}");
        }
    }
}
