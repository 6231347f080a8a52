//! Sessions: who is behind a token, the chain of refresh tokens, and the end of a login.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use patchbay_core::{Actor, SessionId, Timestamp, User, UserId};
use patchbay_store::{BotRow, SessionRow, Tx};

use super::{
    ClientAddress, Error, Ops, Result, Thing,
    bot_users::{Access, TOKEN, is_token_of, parse_token},
};
use crate::{
    auth::tokens::{self, Proof},
    bus::Signal,
};

/// Who is behind a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// With which authority.
    pub actor: Actor,
    /// Who.
    pub user_id: UserId,
    /// By which login.
    pub session_id: SessionId,
    /// When that login ends if it isn't refreshed.
    pub expires_at: Timestamp,
    /// What its token allows.
    pub access: Access,
}

/// From what a user logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Its address.
    pub ip: Option<String>,
}

/// A new pair of tokens.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// A JWT.
    pub access_token: String,
    /// Opaque.
    pub refresh_token: String,
    /// For how long the access token is good.
    pub expires_in: Duration,
    /// Who.
    pub user: User,
}

/// What is known of live sessions without asking the database, so that most requests don't. A session that
/// ends is taken out after the commit that ends it; `generation` keeps a reader that began before that from
/// putting it back.
#[derive(Debug, Default)]
pub(super) struct SessionCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    generation: u64,
    known: HashMap<SessionId, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    caller: Caller,
    /// Whose token makes it; none for a person's login.
    bot: Option<BotRow>,
    /// Access tokens of pairs up to this one need no further record of their use.
    used_up_to: i64,
}

/// Sessions known at once; beyond this the cache starts anew. About 100 bytes each.
const MAX_KNOWN: usize = 100_000;

/// Refresh tokens of a session that are kept, so that the use of an old one is known for what it is.
const KEPT_TOKENS: i64 = 100;

impl SessionCache {
    fn with<T>(&self, act: impl FnOnce(&mut Cached) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn forget(&self, id: SessionId) {
        self.with(|cached| {
            cached.generation += 1;
            cached.known.remove(&id);
        });
    }
}

/// What became of a login.
pub(super) enum Started {
    /// It is one.
    Session(Box<LoggedIn>),
    /// The hash that the password was compared with is not that of the account any more.
    Stale,
}

enum Refreshed {
    Pair { session: SessionId, user: Box<User>, token_id: i64 },
    Reused(SessionId),
}

impl Ops {
    /// Who is behind an access token.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if the token is not good or its session has ended; [`Error::TooMany`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller> {
        let (known, proof) = match token.strip_prefix(TOKEN) {
            Some(token) => {
                let (session, secret) = parse_token(token).ok_or_else(Error::unauthenticated)?;
                let known = self.known_session(session).await?;
                let is_its = known.bot.as_ref().is_some_and(|bot| is_token_of(bot, secret));
                (Some(known).filter(|_| is_its), None)
            }
            None => {
                let proof = self.0.keys.tokens().verify(token).ok_or_else(Error::unauthenticated)?;
                let known = self.known_session(proof.session_id).await?;
                let is_its = known.bot.is_none() && known.caller.user_id == proof.user_id;
                (Some(known).filter(|_| is_its), Some(proof))
            }
        };
        let known = known.ok_or_else(Error::unauthenticated)?;
        if known.caller.expires_at <= Timestamp::now() {
            return Err(Error::unauthenticated());
        }
        tracing::Span::current().record("user", known.caller.user_id.0);
        if let Some(rates) = &self.0.rates {
            rates.request_of(known.caller.user_id)?;
        }
        if let Some(proof) = proof.filter(|proof| proof.pair > known.used_up_to) {
            self.record_use(proof).await?;
        }
        Ok(known.caller)
    }

    async fn known_session(&self, id: SessionId) -> Result<Known> {
        let cache = &self.0.sessions;
        let (found, generation) = cache.with(|c| (c.known.get(&id).cloned(), c.generation));
        if let Some(known) = found {
            return Ok(known);
        }
        let mut conn = self.0.store.read().await?;
        let session = conn.session(id).await?.ok_or_else(Error::unauthenticated)?;
        let user = conn.user(session.user_id).await?.filter(|user| user.is_active);
        let user = user.ok_or_else(Error::unauthenticated)?;
        let bot = if user.is_bot { conn.bot_of_session(id).await? } else { None };
        let access = bot.as_ref().map_or(Some(Access::Write), |bot| Access::of(&bot.scopes));
        let known = Known {
            caller: Caller {
                actor: actor_of(&user),
                user_id: user.id,
                session_id: session.id,
                expires_at: session.expires_at,
                access: access.ok_or_else(Error::unauthenticated)?,
            },
            bot,
            used_up_to: session.current_token_id,
        };
        cache.with(|cached| {
            if cached.generation == generation {
                if cached.known.len() >= MAX_KNOWN {
                    cached.known.clear();
                }
                cached.known.insert(session.id, known.clone());
            }
        });
        Ok(known)
    }

    /// When a session ends if it isn't refreshed; none if it has ended.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn session_expiry(&self, id: SessionId) -> Result<Option<Timestamp>> {
        let session = self.0.store.read().await?.session(id).await?;
        Ok(session.map(|session| session.expires_at))
    }

    /// The first use of a new pair makes the refresh token before it useless.
    async fn record_use(&self, proof: Proof) -> Result<()> {
        self.0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move { Ok(tx.confirm_successor(proof.session_id, proof.pair).await?) })
            })
            .await?;
        self.0.sessions.with(|cached| {
            if let Some(known) = cached.known.get_mut(&proof.session_id) {
                known.used_up_to = known.used_up_to.max(proof.pair);
            }
        });
        Ok(())
    }

    /// Starts a session for who has proved to know the password of this hash, if it still is the password, and
    /// puts another hash of it in its place.
    pub(super) async fn start_session(
        &self,
        user: User,
        proved: Option<String>,
        rehashed: Option<String>,
        device: Device,
    ) -> Result<Started> {
        let (refresh_token, hash) = tokens::new_token()?;
        let now = Timestamp::now();
        let expires_at = now.plus(self.0.auth.session_ttl);
        let user_id = user.id;
        let started = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let secret = tx.secret_by_id(user_id).await?.filter(|secret| secret.is_active);
                    let secret = secret.ok_or_else(super::accounts::wrong_credentials)?;
                    if secret.hashed_password != proved {
                        return Ok(None);
                    }
                    if let (Some(old), Some(new)) = (proved, rehashed) {
                        tx.rehash_password(user_id, &old, &new).await?;
                    }
                    let (agent, ip) = (device.user_agent.as_deref(), device.ip.as_deref());
                    Ok(Some(tx.insert_session(user_id, &hash, agent, ip, now, expires_at).await?))
                })
            })
            .await?;
        let Some((session_id, pair)) = started else { return Ok(Started::Stale) };
        Ok(Started::Session(Box::new(self.logged_in(user, session_id, pair, refresh_token)?)))
    }

    fn logged_in(
        &self,
        user: User,
        session_id: SessionId,
        pair: i64,
        refresh_token: String,
    ) -> Result<LoggedIn> {
        let proof = Proof { user_id: user.id, session_id, pair };
        let tokens = self.0.keys.tokens();
        let access_token =
            tokens.issue(proof, Timestamp::now()).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(LoggedIn { access_token, refresh_token, expires_in: tokens.ttl, user })
    }

    /// A new pair for a refresh token. The token stays good until the new pair is first used; using it after
    /// that ends the session.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with `unauthenticated` or `refresh_token_reused`; [`Error::TooMany`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn refresh(&self, token: &str, from: &ClientAddress) -> Result<LoggedIn> {
        if let Some(rates) = &self.0.rates {
            rates.refresh(from.ip)?;
        }
        let presented = tokens::hash_token(token);
        let (new_token, new_hash) = tokens::new_token()?;
        let now = Timestamp::now();
        let expires_at = now.plus(self.0.auth.session_ttl);
        let this = self.clone();
        detached(async move {
            let refreshed = this
                .0
                .store
                .write(move |tx| {
                    Box::pin(async move { refresh_in(tx, &presented, &new_hash, now, expires_at).await })
                })
                .await?;
            match refreshed {
                Refreshed::Pair { session, user, token_id } => {
                    // The cached end of the session is out of date.
                    this.0.sessions.forget(session);
                    this.logged_in(*user, session, token_id, new_token)
                }
                Refreshed::Reused(session) => {
                    this.after_session_end(session).await;
                    Err(Error::Unauthenticated(
                        "refresh_token_reused",
                        "this refresh token was replaced; the session has been ended",
                    ))
                }
            }
        })
        .await
    }

    /// Ends the caller's session: its tokens and sockets stop at once.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn logout(&self, caller: &Caller) -> Result<()> {
        match self.end_session(caller, caller.session_id).await {
            // Two logouts at once are one.
            Err(Error::NotFound(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it isn't one of them.
    pub async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<()> {
        let (this, user_id) = (self.clone(), caller.user_id);
        detached(async move {
            this.0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        let session = tx.session(id).await?.filter(|s| s.user_id == user_id);
                        session.ok_or(Error::NotFound(Thing::Session))?;
                        tx.delete_session(id).await?;
                        Ok(())
                    })
                })
                .await?;
            this.after_session_end(id).await;
            Ok(())
        })
        .await
    }

    /// What the commit that ends a session must be followed by.
    pub(super) async fn after_session_end(&self, id: SessionId) {
        self.0.sessions.forget(id);
        self.0.bus.send(Signal::SessionEnded(id)).await;
    }

    /// What is known of a session is out of date.
    pub(super) fn forget_session(&self, id: SessionId) {
        self.0.sessions.forget(id);
    }

    /// The caller's sessions, newest first.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn sessions(&self, caller: &Caller) -> Result<Vec<SessionRow>> {
        Ok(self.0.store.read().await?.sessions_of(caller.user_id, Timestamp::now()).await?)
    }
}

/// Carries out what must not be left half done when the client hangs up: a commit and what has to follow it.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(tracing::Instrument::in_current_span(work))
        .await
        .map_err(|error| Error::Internal(format!("an operation failed: {error}")))?
}

/// The authority of a user.
pub(super) fn actor_of(user: &User) -> Actor {
    Actor::user(user.id, user.is_superuser, user.is_bot)
}

async fn refresh_in(
    tx: &mut Tx,
    presented: &[u8],
    new_hash: &[u8],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Refreshed> {
    let token = tx.refresh_token(presented).await?.ok_or_else(Error::unauthenticated)?;
    let session = tx.session(token.session_id).await?.ok_or_else(Error::unauthenticated)?;
    let user = tx.user(session.user_id).await?.ok_or_else(Error::unauthenticated)?;
    if session.expires_at <= now || !user.is_active {
        return Err(Error::unauthenticated());
    }
    if token.parent_id == Some(session.current_token_id)
        || token.id == session.current_token_id && !session.successor_used
    {
        // A successor's first use makes it the current one; the current one used again (its answer was lost,
        // or a second tab refreshed) only gets a further successor.
        tx.set_current_token(session.id, token.id, now, expires_at).await?;
        let token_id = tx.insert_refresh_token(session.id, Some(token.id), new_hash, now).await?;
        tx.prune_refresh_tokens(session.id, KEPT_TOKENS).await?;
        return Ok(Refreshed::Pair { session: session.id, user: Box::new(user), token_id });
    }
    // Whoever holds this token is not the one who holds its successor.
    tx.delete_session(session.id).await?;
    Ok(Refreshed::Reused(session.id))
}
