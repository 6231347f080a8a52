//! Administering accounts.

use patchbay_core::{Event, SessionId, Timestamp, User, UserId, text};
use patchbay_store::Tx;
use serde_json::json;

use super::{
    Error, Ops, PageOf, PageRequest, Result, Thing,
    accounts::{Registration, check_registration, new_user, taken},
    audit::{Admin, record},
    journal::emit,
    sessions::detached,
};
use crate::bus::Signal;

/// What to change of an account; absent parts stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandingChanges {
    /// Whether it may be used.
    pub is_active: Option<bool>,
    /// Whether it administers the deployment.
    pub is_superuser: Option<bool>,
}

impl Ops {
    /// All accounts whose name, full name or address contains a text, by rising id.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser.
    pub async fn accounts(&self, by: &Admin, matching: &str, page: PageRequest) -> Result<PageOf<User>> {
        by.demand()?;
        let found = self.0.store.read().await?.users_or_addresses_matching(matching, &page.query()).await?;
        Ok(page.page(found, false))
    }

    /// The account of that name or address.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::NotFound`].
    pub async fn account(&self, by: &Admin, login: &str) -> Result<User> {
        by.demand()?;
        let mut conn = self.0.store.read().await?;
        let secret = conn.secret_by_login(login).await?.ok_or(Error::NotFound(Thing::User))?;
        conn.user(secret.id).await?.ok_or(Error::NotFound(Thing::User))
    }

    /// Makes an account, whoever may register.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::Invalid`]; [`Error::Conflict`] with
    /// `username_taken` or `email_taken`.
    pub async fn create_account(&self, by: &Admin, new: Registration, is_superuser: bool) -> Result<User> {
        by.demand()?;
        check_registration(&new)?;
        let hashed = self.0.passwords.hash(new.password.clone()).await?;
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let user = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        by.demand_still(tx).await?;
                        let now = Timestamp::now();
                        let row = new_user(new, hashed, is_superuser);
                        let id = tx.insert_user(&row, now).await.map_err(taken)?;
                        let user = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
                        let detail = json!({ "username": user.username, "is_superuser": is_superuser });
                        record(tx, &by, "user.created", target(id), detail, now).await?;
                        emit(tx, &by.actor, &Event::UserUpdated(user.clone()), now)?;
                        Ok(user)
                    })
                })
                .await?;
            if user.is_superuser {
                this.forget_bootstrap_token();
            }
            Ok(user)
        })
        .await
    }

    /// Replaces the password of an account and ends its sessions.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::Invalid`]; [`Error::NotFound`];
    /// [`Error::Conflict`] with `is_bot`: a bot has no password.
    pub async fn reset_password(&self, by: &Admin, id: UserId, password: String) -> Result<()> {
        by.demand()?;
        text::check_password(&password).map_err(|f| Error::invalid("password", f.code, f.message))?;
        let hashed = self.0.passwords.hash(password).await?;
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let ended = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        by.demand_still(tx).await?;
                        let user = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
                        if user.is_bot {
                            return Err(Error::Conflict("is_bot", "a bot has no password".into()));
                        }
                        let now = Timestamp::now();
                        tx.set_password(id, &hashed, now).await?;
                        let ended = tx.delete_sessions_of(id).await?;
                        let detail = json!({ "sessions_ended": ended.len() });
                        record(tx, &by, "user.password_set", target(id), detail, now).await?;
                        Ok(ended)
                    })
                })
                .await?;
            for session in ended {
                this.after_session_end(session).await;
            }
            Ok(())
        })
        .await
    }

    /// Activates or deactivates an account, makes it superuser or takes that from it. Deactivation ends its
    /// sessions; its sockets close at once.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::NotFound`]; [`Error::Conflict`] with
    /// `last_superuser` if nobody could administer the deployment afterwards.
    pub async fn set_standing(&self, by: &Admin, id: UserId, changes: StandingChanges) -> Result<User> {
        by.demand()?;
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let changed = this
                .0
                .store
                .write(move |tx| Box::pin(async move { set_standing(tx, &by, id, changes).await }))
                .await?;
            for session in changed.ended {
                this.after_session_end(session).await;
            }
            if changed.authority {
                for session in changed.kept {
                    this.forget_session(session);
                }
                this.0.bus.send(Signal::AuthorityChanged(id)).await;
                if changed.user.is_superuser {
                    this.forget_bootstrap_token();
                }
            }
            Ok(changed.user)
        })
        .await
    }
}

fn target(id: UserId) -> String {
    format!("user:{id}")
}

struct Changed {
    user: User,
    /// Sessions that are no more.
    ended: Vec<SessionId>,
    /// Sessions that go on.
    kept: Vec<SessionId>,
    /// What the user may do is no longer what it was.
    authority: bool,
}

async fn set_standing(tx: &mut Tx, by: &Admin, id: UserId, changes: StandingChanges) -> Result<Changed> {
    by.demand_still(tx).await?;
    let old = tx.user(id).await?.ok_or(Error::NotFound(Thing::User))?;
    let (mut user, now) = (old.clone(), Timestamp::now());
    user.is_active = changes.is_active.unwrap_or(old.is_active);
    user.is_superuser = changes.is_superuser.unwrap_or(old.is_superuser);
    if user == old {
        return Ok(Changed { user, ended: Vec::new(), kept: Vec::new(), authority: false });
    }
    let administers = |user: &User| user.is_active && user.is_superuser && !user.is_bot;
    if administers(&old) && !administers(&user) && !tx.has_other_superuser(id).await? {
        let why = "this is the last superuser who can log in; make another one first";
        return Err(Error::Conflict("last_superuser", why.into()));
    }
    user.updated_at = now;
    tx.set_standing(id, user.is_active, user.is_superuser, now).await?;
    let acts = [
        (old.is_active, user.is_active, "user.activated", "user.deactivated"),
        (old.is_superuser, user.is_superuser, "user.promoted", "user.demoted"),
    ];
    for (was, is, yes, no) in acts {
        if was != is {
            let detail = json!({ "username": user.username });
            record(tx, by, if is { yes } else { no }, target(id), detail, now).await?;
        }
    }
    emit(tx, &by.actor, &Event::UserUpdated(user.clone()), now)?;
    let ended = if user.is_active { Vec::new() } else { tx.delete_sessions_of(id).await? };
    let kept = tx.sessions_of(id, now).await?.into_iter().map(|session| session.id).collect();
    Ok(Changed { authority: user.is_superuser != old.is_superuser, user, ended, kept })
}
