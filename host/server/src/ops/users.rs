//! Profiles.

use patchbay_core::{Actor, Event, SessionId, Status, Timestamp, User, UserId, text};
use patchbay_store::{Acquaintance, Tx};

use super::{
    Caller, Error, Ops, PageOf, PageRequest, Result, Thing, access::user_of, accounts::taken, error::Faults,
    journal::emit, rates::settle, sessions::detached,
};
use crate::{auth::passwords::Verdict, bus::Signal};

/// What to change of one's own account; absent parts stay.
#[derive(Clone, Default)]
pub struct ProfileChanges {
    /// A new name.
    pub username: Option<String>,
    /// A new address.
    pub email: Option<String>,
    /// A new name to show, or none.
    pub full_name: Option<Option<String>>,
    /// The present password and a new one.
    pub password: Option<(String, String)>,
}

impl Ops {
    /// One user.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn user(&self, _actor: &Actor, id: UserId) -> Result<User> {
        self.0.store.read().await?.user(id).await?.ok_or(Error::NotFound(Thing::User))
    }

    /// The user of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn user_by_name(&self, _actor: &Actor, username: &str) -> Result<User> {
        self.0.store.read().await?.user_by_name(username).await?.ok_or(Error::NotFound(Thing::User))
    }

    /// Users whose username or full name contains a text, by rising id.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn users(&self, _actor: &Actor, matching: &str, page: PageRequest) -> Result<PageOf<User>> {
        let found = self.0.store.read().await?.users_matching(matching, &page.query()).await?;
        Ok(page.page(found, false))
    }

    /// Changes the caller's own account. A new password ends the caller's other sessions.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Conflict`] with `username_taken` or `email_taken`; [`Error::TooMany`] after
    /// wrong passwords.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn update_me(&self, caller: &Caller, changes: ProfileChanges) -> Result<User> {
        check_changes(&changes)?;
        let password = match changes.password.clone() {
            Some((current, new)) => Some(self.new_password(caller, current, new).await?),
            None => None,
        };
        let (this, caller) = (self.clone(), caller.clone());
        detached(async move {
            let (user, ended) = this
                .0
                .store
                .write(move |tx| Box::pin(async move { update_me(tx, &caller, changes, password).await }))
                .await?;
            for session in ended {
                this.after_session_end(session).await;
            }
            Ok(user)
        })
        .await
    }

    async fn new_password(&self, caller: &Caller, current: String, new: String) -> Result<NewPassword> {
        let secret = self.0.store.read().await?.secret_by_id(caller.user_id).await?;
        let proved = secret.and_then(|secret| secret.hashed_password);
        let attempt = self.password_attempt(caller.user_id)?;
        let verdict = self.0.passwords.verify(current, proved.clone()).await;
        settle(attempt, verdict.as_ref().ok().map(|verdict| *verdict != Verdict::Wrong));
        if verdict? == Verdict::Wrong {
            return Err(Error::invalid("password.current", "wrong", "is not the present password"));
        }
        Ok(NewPassword { proved, hashed: self.0.passwords.hash(new).await? })
    }

    /// Records what the actor wants to show.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn set_status(&self, actor: &Actor, status: Status) -> Result<()> {
        let (this, user_id) = (self.clone(), user_of(actor)?);
        detached(async move {
            this.0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.set_status(user_id, status).await?) })
                })
                .await?;
            this.0.bus.send(Signal::StatusChosen { user_id, status }).await;
            Ok(())
        })
        .await
    }

    /// Those of these users whose presence the actor may see, with what they chose to show: the actor, and whoever
    /// shares a channel with the actor; everybody for who administers the deployment.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn visible_statuses(&self, actor: &Actor, users: &[UserId]) -> Result<Vec<(UserId, Status)>> {
        let mut conn = self.0.store.read().await?;
        match actor.user_id() {
            Some(viewer) if !actor.is_superuser() => {
                let mut seen = conn.known_among(viewer, users).await?;
                if users.contains(&viewer) && !seen.iter().any(|(user, _)| *user == viewer) {
                    seen.extend(conn.chosen_statuses(&[viewer]).await?);
                }
                Ok(seen)
            }
            _ => Ok(conn.chosen_statuses(users).await?),
        }
    }

    /// The people that the actor shares a channel with, except by channels of more than 1,000 members; at most
    /// 10,000, by rising id.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn acquaintances(&self, actor: &Actor) -> Result<Vec<Acquaintance>> {
        Ok(self.0.store.read().await?.acquaintances(user_of(actor)?).await?)
    }
}

/// A password to be set in place of the one that was proved to be known.
struct NewPassword {
    proved: Option<String>,
    hashed: String,
}

/// The changed user, and the sessions that ended with the old password.
async fn update_me(
    tx: &mut Tx,
    caller: &Caller,
    changes: ProfileChanges,
    password: Option<NewPassword>,
) -> Result<(User, Vec<SessionId>)> {
    let (id, now) = (caller.user_id, Timestamp::now());
    // An operator may have ended the session since, and must not find his own password replaced.
    if tx.session(caller.session_id).await?.is_none() {
        return Err(Error::unauthenticated());
    }
    let old = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
    let mut user = old.clone();
    user.username = changes.username.unwrap_or(user.username);
    user.email = changes.email.unwrap_or(user.email);
    user.full_name = changes.full_name.unwrap_or(user.full_name);
    if user != old {
        user.updated_at = now;
        tx.update_profile(&user, now).await.map_err(taken)?;
        emit(tx, &caller.actor, &Event::UserUpdated(user.clone()), now)?;
    }
    let Some(NewPassword { proved, hashed }) = password else { return Ok((user, Vec::new())) };
    if tx.secret_by_id(id).await?.and_then(|secret| secret.hashed_password) != proved {
        return Err(Error::Conflict("conflict", "the password was changed meanwhile".into()));
    }
    user.updated_at = now;
    tx.set_password(id, &hashed, now).await?;
    let ended = tx.delete_other_sessions(id, caller.session_id).await?;
    Ok((user, ended))
}

fn check_changes(changes: &ProfileChanges) -> Result<()> {
    let mut faults = Faults::default();
    if let Some(name) = &changes.username {
        faults.check("username", text::check_username(name));
    }
    if let Some(email) = &changes.email {
        faults.check("email", text::check_email(email));
    }
    if let Some(Some(name)) = &changes.full_name {
        faults.check("full_name", text::check_full_name(name));
    }
    if let Some((_, new)) = &changes.password {
        faults.check("password.new", text::check_password(new));
    }
    faults.into_result()
}
