//! Making accounts and logging in.

use std::net::IpAddr;

use patchbay_core::{Event, Timestamp, User, UserId, text};
use patchbay_store::{NewUser, StoreError};

use super::{
    ClientAddress, Device, Error, LoggedIn, Ops, Result,
    error::Faults,
    journal::emit,
    rates::{Attempt, same_network},
    sessions::actor_of,
};
use crate::config;

/// What a new account is made of.
#[derive(Clone)]
pub struct Registration {
    /// 2 to 32 of letters, digits, `_ . -`.
    pub username: String,
    /// An e-mail address.
    pub email: String,
    /// 8 to 256 characters.
    pub password: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Makes the first account superuser from anywhere.
    pub bootstrap_token: Option<String>,
}

impl Ops {
    /// Makes an account. While a deployment has no superuser, one that comes from loopback without a proxy
    /// between, or with the bootstrap token, becomes it.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Conflict`] with `username_taken` or `email_taken`; [`Error::Forbidden`]
    /// if registration is closed or the bootstrap token is wrong; [`Error::TooMany`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn register(&self, new: Registration, from: ClientAddress) -> Result<User> {
        check_registration(&new)?;
        if let Some(rates) = &self.0.rates {
            rates.registration(from.ip)?;
        }
        let has_token = match (&new.bootstrap_token, self.bootstrap_token()) {
            (None, _) => false,
            (Some(given), Some(expected)) if *given == expected => true,
            (Some(_), _) => return Err(Error::Forbidden("the bootstrap token is wrong or used up".into())),
        };
        let trusted = has_token || (from.ip.to_canonical().is_loopback() && !from.forwarded);
        let is_closed = self.0.auth.registration == config::Registration::Closed;
        // Asked before the costly hash, and again in the transaction.
        let has_superuser = self.0.store.read().await?.has_superuser().await?;
        admit(is_closed, trusted, has_superuser)?;
        let hashed = self.0.passwords.hash(new.password).await?;
        let row = NewUser {
            username: new.username,
            email: new.email,
            full_name: new.full_name,
            hashed_password: Some(hashed),
            is_superuser: false,
            is_bot: false,
        };
        let user = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    let has_superuser = tx.has_superuser().await?;
                    admit(is_closed, trusted, has_superuser)?;
                    let is_superuser = trusted && !has_superuser;
                    let id = tx.insert_user(&NewUser { is_superuser, ..row }, now).await.map_err(taken)?;
                    let user = tx.user(id).await?.ok_or(Error::Internal("a new user is gone".into()))?;
                    emit(tx, &actor_of(&user), &Event::UserUpdated(user.clone()), now);
                    Ok(user)
                })
            })
            .await?;
        if user.is_superuser
            && let Ok(mut token) = self.0.bootstrap.lock()
        {
            *token = None;
        }
        Ok(user)
    }

    /// Logs in by username or address.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] with `invalid_credentials`, after the same time whether or not the user
    /// exists; [`Error::TooMany`] after wrong passwords (`rates::guesses` says whose).
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn login(
        &self,
        login: &str,
        password: String,
        from: &ClientAddress,
        device: Device,
    ) -> Result<LoggedIn> {
        let secret = self.0.store.read().await?.secret_by_login(login).await?;
        let user_id = secret.as_ref().map(|secret| secret.id);
        let attempt = match &self.0.rates {
            Some(rates) => {
                let is_known = || self.has_session_from(user_id, from.ip);
                Some(rates.guesses.login(login, from.ip, is_known).await?)
            }
            None => None,
        };
        let hashed = secret.as_ref().and_then(|s| s.hashed_password.clone());
        let verified = self.0.passwords.verify(password, hashed).await;
        settle(attempt, verified.as_ref().ok().copied());
        let matches = verified?;
        let secret = secret.filter(|s| matches && s.is_active).ok_or_else(wrong_credentials)?;
        let user = self.0.store.read().await?.user(secret.id).await?.ok_or_else(wrong_credentials)?;
        self.start_session(user, secret.hashed_password, device).await
    }

    /// Whether the account is logged in from an address already.
    async fn has_session_from(&self, user: Option<UserId>, ip: IpAddr) -> Result<bool> {
        let Some(user) = user else { return Ok(false) };
        let sessions = self.0.store.read().await?.sessions_of(user, Timestamp::now()).await?;
        let mut addresses = sessions.iter().filter_map(|session| session.ip.as_deref()?.parse().ok());
        Ok(addresses.any(|known| same_network(known, ip)))
    }
}

/// Tells the limit of guesses how one ended: whether the password was right, if it could be looked at.
pub(super) fn settle(attempt: Option<Attempt<'_>>, was_right: Option<bool>) {
    match (attempt, was_right) {
        (Some(attempt), Some(true)) => attempt.succeeded(),
        (Some(attempt), None) => attempt.undecided(),
        (Some(_), Some(false)) | (None, _) => {}
    }
}

/// Whatever was wrong with a login.
pub(super) fn wrong_credentials() -> Error {
    Error::Unauthenticated("invalid_credentials", "username or password is wrong")
}

/// A deployment that is closed still needs its first superuser.
fn admit(is_closed: bool, trusted: bool, has_superuser: bool) -> Result<()> {
    if is_closed && (has_superuser || !trusted) {
        return Err(Error::Forbidden("registration is closed".into()));
    }
    Ok(())
}

fn check_registration(new: &Registration) -> Result<()> {
    let mut faults = Faults::default();
    faults.check("username", text::check_username(&new.username));
    faults.check("email", text::check_email(&new.email));
    faults.check("password", text::check_password(&new.password));
    if let Some(name) = &new.full_name {
        faults.check("full_name", text::check_text(name, 0, text::MAX_FULL_NAME_CHARS));
    }
    faults.into_result()
}

/// Which of an account's unique values is taken.
pub(super) fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Unique(column) if column.contains("username_key") => {
            Error::Conflict("username_taken", "this username is taken".into())
        }
        StoreError::Unique(column) if column.contains("email_key") => {
            Error::Conflict("email_taken", "this e-mail address is taken".into())
        }
        other => other.into(),
    }
}
