//! Bot users that people make through a plugin: whose they are, their tokens, and who may act as them.
//!
//! A token is the login of a session of the bot's: it is cached, ends and closes sockets as every other one does.

use patchbay_core::{Actor, ChannelId, Event, SessionId, Timestamp, User, UserId, text};
use patchbay_store::{BotRow, NewUser, Tx};

use super::{
    Caller, Error, Ops, Result, Thing,
    access::user_of,
    accounts::taken,
    error::Faults,
    journal::emit,
    sessions::{actor_of, detached},
};
use crate::auth::{random_text, tokens};

/// What bots' tokens begin with, so that who finds one knows what it is: `pbt_SESSION_SECRET`.
pub(super) const TOKEN: &str = "pbt_";
/// Of the addresses of such bots. Nobody can have one there (RFC 2606).
const DOMAIN: &str = "bots.invalid";
/// Most bots of one owner.
const MAX_BOTS: i64 = 50;
/// A token is good until it is replaced; this is as good as for ever.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look.
    Read,
    /// Whatever the account may do.
    Write,
}

impl Access {
    /// Of the names of scopes.
    pub(super) fn of(scopes: &str) -> Option<Self> {
        let has = |name| scopes.split(' ').any(|scope| scope == name);
        match (has("read"), has("write")) {
            (_, true) => Some(Self::Write),
            (true, false) => Some(Self::Read),
            (false, false) => None,
        }
    }
}

impl Caller {
    /// Demands that the caller's token allows changes.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn demand_write(&self) -> Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(Error::Forbidden("the token lacks the scope write".into())),
        }
    }
}

/// What changes of a bot.
#[derive(Clone, Debug, Default)]
pub struct BotChanges {
    /// The name to show.
    pub full_name: Option<String>,
    /// Whether it may act.
    pub is_active: Option<bool>,
}

/// The session and the secret of a token without its beginning.
pub(super) fn parse_token(rest: &str) -> Option<(SessionId, &str)> {
    let (session, secret) = rest.split_once('_')?;
    Some((SessionId(session.parse().ok()?), secret))
}

/// Whether this is the token of that bot. How long that takes tells of hashes, and nothing of secrets.
pub(super) fn is_token_of(bot: &BotRow, secret: &str) -> bool {
    bot.token_hash.as_deref() == Some(&tokens::hash_token(secret))
}

impl Ops {
    /// Makes a bot for a person.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a bot; [`Error::Invalid`]; [`Error::Conflict`] with `username_taken` or
    /// `too_many_bots`.
    pub async fn create_bot(
        &self,
        actor: &Actor,
        plugin: &str,
        username: String,
        full_name: Option<String>,
    ) -> Result<BotRow> {
        let owner = owner(actor)?;
        check_names(Some(&username), full_name.as_deref())?;
        let (actor, plugin) = (actor.clone(), plugin.to_owned());
        // Nobody can have taken it before.
        let email = format!("{}@{DOMAIN}", random_text(16)?.to_lowercase());
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if tx.count_bots_of(owner).await? >= MAX_BOTS {
                        let why = format!("nobody can own more than {MAX_BOTS} bots");
                        return Err(Error::Conflict("too_many_bots", why));
                    }
                    let now = Timestamp::now();
                    let new = NewUser {
                        email,
                        username,
                        full_name,
                        hashed_password: None,
                        is_superuser: false,
                        is_bot: true,
                    };
                    let id = tx.insert_user(&new, now).await.map_err(taken)?;
                    tx.insert_bot(id, &plugin, owner, now).await?;
                    let user = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
                    emit(tx, &actor, &Event::UserUpdated(user), now)?;
                    tx.bot(id).await?.ok_or(Error::NotFound(Thing::Bot))
                })
            })
            .await
    }

    /// A bot of the actor's; a superuser's are all.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn bot(&self, actor: &Actor, plugin: &str, id: UserId) -> Result<BotRow> {
        own(self.0.store.read().await?.bot(id).await?, actor, plugin)
    }

    /// The actor's bots; a superuser's are all.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a bot.
    pub async fn bots(
        &self,
        actor: &Actor,
        plugin: &str,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<BotRow>> {
        let owner = Some(owner(actor)?).filter(|_| !actor.is_superuser());
        let after = after.map_or(0, |id| id.0);
        Ok(self.0.store.read().await?.bots(plugin, owner, after, i64::from(limit)).await?)
    }

    /// Changes a bot. One that is deactivated loses its token.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub async fn update_bot(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        changes: BotChanges,
    ) -> Result<BotRow> {
        check_names(None, changes.full_name.as_deref())?;
        self.change_bot(actor, plugin, id, move |user| {
            user.full_name = changes.full_name.clone().or(user.full_name.take());
            user.is_active = changes.is_active.unwrap_or(user.is_active);
            false
        })
        .await
        .and_then(|bot| bot.ok_or(Error::NotFound(Thing::Bot)))
    }

    /// Takes a bot out; what it wrote stays.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_bot(&self, actor: &Actor, plugin: &str, id: UserId) -> Result<()> {
        let deleted = self.change_bot(actor, plugin, id, |user| {
            user.is_active = false;
            true
        });
        deleted.await.map(drop)
    }

    async fn change_bot(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        change: impl Fn(&mut User) -> bool + Send + 'static,
    ) -> Result<Option<BotRow>> {
        let (this, actor, plugin) = (self.clone(), actor.clone(), plugin.to_owned());
        detached(async move {
            let (row, ended) = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        own(tx.bot(id).await?, &actor, &plugin)?;
                        let old = tx.user(id).await?.ok_or(Error::NotFound(Thing::Bot))?;
                        let (mut user, now) = (old.clone(), Timestamp::now());
                        let is_deleted = change(&mut user);
                        user.updated_at = now;
                        if user.full_name != old.full_name {
                            tx.update_profile(&user, now).await.map_err(taken)?;
                        }
                        if user.is_active != old.is_active {
                            tx.set_standing(id, user.is_active, user.is_superuser, now).await?;
                        }
                        emit(tx, &actor, &Event::UserUpdated(user.clone()), now)?;
                        let ended =
                            if user.is_active { Vec::new() } else { tx.delete_sessions_of(id).await? };
                        if is_deleted {
                            tx.delete_bot(id).await?;
                        }
                        Ok((tx.bot(id).await?, ended))
                    })
                })
                .await?;
            for session in ended {
                this.after_session_end(session).await;
            }
            Ok(row)
        })
        .await
    }

    /// A new token for a bot, which is told this once; the one before is good for nothing any more.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`] for a superuser who isn't the owner; [`Error::Invalid`] for other scopes
    /// than `read` and `write`; [`Error::Conflict`] with `bot_inactive`.
    pub async fn issue_bot_token(
        &self,
        actor: &Actor,
        plugin: &str,
        id: UserId,
        scopes: &[String],
    ) -> Result<String> {
        if scopes.is_empty() || scopes.iter().any(|scope| !matches!(scope.as_str(), "read" | "write")) {
            return Err(Error::invalid("scopes", "unknown_scope", "must be one or both of read and write"));
        }
        let mut scopes = scopes.to_vec();
        scopes.sort();
        scopes.dedup();
        let scopes = scopes.join(" ");
        let (secret, hash) = tokens::new_token()?;
        // A session has a refresh token; nobody is told this one.
        let (_, refresh) = tokens::new_token()?;
        let (this, actor, plugin) = (self.clone(), actor.clone(), plugin.to_owned());
        detached(async move {
            let (session, ended) = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        let bot = own(tx.bot(id).await?, &actor, &plugin)?;
                        if bot.owner_id != actor.user_id().map(|id| id.0) {
                            // Whoever administers could read along in every channel that the bot is in.
                            return Err(Error::Forbidden("only its owner can have a bot's token".into()));
                        }
                        if !bot.is_active {
                            return Err(Error::Conflict("bot_inactive", "the bot is deactivated".into()));
                        }
                        let ended = tx.delete_sessions_of(id).await?;
                        let now = Timestamp::now();
                        let until = now.plus(FOREVER);
                        let (session, _) =
                            tx.insert_session(id, &refresh, Some("token"), None, now, until).await?;
                        tx.set_bot_token(id, session, &hash, &scopes).await?;
                        Ok((session, ended))
                    })
                })
                .await?;
            for session in ended {
                this.after_session_end(session).await;
            }
            Ok(format!("{TOKEN}{}_{secret}", session.0))
        })
        .await
    }

    /// Makes a bot of this plugin's, or the plugin's own, a member of a channel with the actor's permission.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`].
    pub async fn join_bot(&self, actor: &Actor, plugin: &str, id: UserId, channel: ChannelId) -> Result<()> {
        let mut conn = self.0.store.read().await?;
        let is_plugins_own = conn.plugin_bot(plugin).await?.flatten() == Some(id);
        if !is_plugins_own {
            own(conn.bot(id).await?, actor, plugin)?;
        }
        drop(conn);
        self.add_member(actor, channel, id, None).await.map(drop)
    }

    /// The authority of a bot of this plugin's.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`] if it is deactivated.
    pub async fn act_as_bot(&self, plugin: &str, id: UserId) -> Result<Actor> {
        let mut conn = self.0.store.read().await?;
        conn.bot(id).await?.filter(|bot| bot.plugin == plugin).ok_or(Error::NotFound(Thing::Bot))?;
        let user = conn.user(id).await?.ok_or(Error::NotFound(Thing::Bot))?;
        if user.is_active {
            Ok(actor_of(&user))
        } else {
            Err(Error::Forbidden("the bot is deactivated".into()))
        }
    }

    /// Ends what bots of a plugin that goes could still do.
    pub(super) async fn retire_bots(&self, ended: Vec<SessionId>) {
        for session in ended {
            self.after_session_end(session).await;
        }
    }
}

/// Deactivates the bots of a plugin that goes; their sessions, which have ended.
pub(super) async fn retire_bots_in(tx: &mut Tx, by: &Actor, plugin: &str) -> Result<Vec<SessionId>> {
    let (mut ended, mut after, now) = (Vec::new(), 0, Timestamp::now());
    loop {
        let bots = tx.bots(plugin, None, after, 200).await?;
        let Some(last) = bots.last() else { return Ok(ended) };
        after = last.user_id;
        for bot in bots {
            let id = UserId(bot.user_id);
            tx.deactivate_bot(id, now).await?;
            ended.extend(tx.delete_sessions_of(id).await?);
            if let Some(user) = tx.user(id).await? {
                emit(tx, by, &Event::UserUpdated(user), now)?;
            }
        }
    }
}

/// Bots make no bots.
fn owner(actor: &Actor) -> Result<UserId> {
    if actor.is_bot() { Err(Error::Forbidden("bots have no bots".into())) } else { user_of(actor) }
}

/// The bot, if it is the actor's or the actor is a superuser.
fn own(found: Option<BotRow>, actor: &Actor, plugin: &str) -> Result<BotRow> {
    let owner = user_of(actor)?;
    let is_own =
        |bot: &BotRow| bot.plugin == plugin && (bot.owner_id == Some(owner.0) || actor.is_superuser());
    found.filter(|bot| is_own(bot) && !actor.is_bot()).ok_or(Error::NotFound(Thing::Bot))
}

fn check_names(username: Option<&str>, full_name: Option<&str>) -> Result<()> {
    let mut faults = Faults::default();
    if let Some(name) = username {
        faults.check("username", text::check_username(name));
    }
    if let Some(name) = full_name {
        faults.check("full_name", text::check_full_name(name));
    }
    faults.into_result()
}
