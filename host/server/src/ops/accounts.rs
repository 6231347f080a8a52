//! Making accounts and logging in.

use std::sync::PoisonError;

use patchbay_core::{Event, Timestamp, User, text};
use patchbay_store::{Conn, NewUser, StoreError, Tx};
use serde_json::json;

use super::{
    ClientAddress, Device, Error, LoggedIn, Ops, Result,
    audit::{Admin, record},
    error::Faults,
    invites::{good_invite, use_invite},
    journal::emit,
    rates::settle,
    sessions::{Started, actor_of},
};
use crate::{
    auth::{passwords::Verdict, tokens},
    config::Registration as Mode,
};

/// How often a login looks again because the password's hash was replaced while it looked.
const LOOKS: usize = 3;

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
    /// An invitation.
    pub invite_token: Option<String>,
}

impl Ops {
    /// Makes an account. While a deployment has no superuser, one that comes from loopback without a proxy
    /// between, or with the bootstrap token, becomes it, whoever may register. An invitation that is given is
    /// used up, needed or not.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Conflict`] with `username_taken` or `email_taken`; [`Error::Forbidden`]
    /// if registration is closed or the bootstrap token is wrong; [`Error::Denied`] with `invite_required`,
    /// `invite_invalid`, `invite_expired`, `invite_used` or `invite_for_another`; [`Error::TooMany`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn register(&self, new: Registration, from: ClientAddress) -> Result<User> {
        check_registration(&new)?;
        self.count_registration(&from)?;
        let door = Door { mode: self.0.auth.registration, trusted: self.trusts(&new, &from)? };
        // Asked before the costly hash, and again in the transaction.
        door.admit(&mut self.0.store.read().await?, &new, Timestamp::now()).await?;
        let hashed = self.0.passwords.hash(new.password.clone()).await?;
        let ip = from.ip.to_canonical().to_string();
        let user = self
            .0
            .store
            .write(move |tx| Box::pin(async move { register(tx, door, new, hashed, ip).await }))
            .await?;
        if user.is_superuser {
            self.forget_bootstrap_token();
        }
        Ok(user)
    }

    /// Whether this account may become the first superuser.
    fn trusts(&self, new: &Registration, from: &ClientAddress) -> Result<bool> {
        let has_token = match (&new.bootstrap_token, self.bootstrap_token()) {
            (None, _) => false,
            // Hashes are compared: how far two of them agree tells nothing about the tokens.
            (Some(given), Some(expected)) if tokens::hash_token(given) == tokens::hash_token(&expected) => {
                true
            }
            (Some(_), _) => return Err(Error::Forbidden("the bootstrap token is wrong or used up".into())),
        };
        Ok(has_token || (from.ip.to_canonical().is_loopback() && !from.forwarded))
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
        let attempt = self.login_attempt(login, from).await?;
        let done = self.check_login(login, password, device).await;
        let was_right = match &done {
            Ok(_) => Some(true),
            Err(Error::Unauthenticated(..)) => Some(false),
            Err(_) => None,
        };
        settle(attempt, was_right);
        done
    }

    async fn check_login(&self, login: &str, password: String, device: Device) -> Result<LoggedIn> {
        for _ in 0..LOOKS {
            let secret = self.0.store.read().await?.secret_by_login(login).await?;
            let hashed = secret.as_ref().and_then(|s| s.hashed_password.clone());
            let verdict = self.0.passwords.verify(password.clone(), hashed).await?;
            let secret = secret.filter(|s| verdict != Verdict::Wrong && s.is_active);
            let secret = secret.ok_or_else(wrong_credentials)?;
            let user = self.0.store.read().await?.user(secret.id).await?.ok_or_else(wrong_credentials)?;
            let rehashed = match verdict {
                Verdict::Rehashed(hash) => Some(hash),
                Verdict::Right | Verdict::Wrong => None,
            };
            match self.start_session(user, secret.hashed_password, rehashed, device.clone()).await? {
                Started::Session(logged_in) => return Ok(*logged_in),
                // Another login has rehashed the password meanwhile, or it is another one by now.
                Started::Stale => {}
            }
        }
        Err(wrong_credentials())
    }

    /// Sees to it that logins take as long as those with hashes of the seed, while there are any.
    pub(super) async fn blend_logins(&self) -> Result<()> {
        let hash = self.0.store.read().await?.any_bcrypt_hash().await?;
        Ok(self.0.passwords.blend_in_with(hash).await?)
    }

    /// There is a superuser: nobody becomes it any more.
    pub(super) fn forget_bootstrap_token(&self) {
        *self.0.bootstrap.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Who may come in.
#[derive(Clone, Copy)]
struct Door {
    mode: Mode,
    /// Becomes superuser if there is none yet.
    trusted: bool,
}

impl Door {
    /// Whether this account may be made, and whether as superuser.
    async fn admit(self, conn: &mut Conn, new: &Registration, now: Timestamp) -> Result<bool> {
        if self.trusted && !conn.has_superuser().await? {
            return Ok(true);
        }
        match (self.mode, &new.invite_token) {
            (Mode::Closed, _) => Err(Error::Forbidden("registration is closed".into())),
            (Mode::Invite, None) => {
                Err(Error::Denied("invite_required", "an invitation is needed to register".into()))
            }
            (Mode::Open, None) => Ok(false),
            (Mode::Open | Mode::Invite, Some(token)) => {
                good_invite(conn, token, &new.email, now).await?;
                Ok(false)
            }
        }
    }
}

async fn register(tx: &mut Tx, door: Door, new: Registration, hashed: String, ip: String) -> Result<User> {
    let now = Timestamp::now();
    let is_superuser = door.admit(tx, &new, now).await?;
    if let (Some(token), false) = (&new.invite_token, is_superuser) {
        use_invite(tx, token, &new.email, now).await?;
    }
    let id = tx.insert_user(&new_user(new, hashed, is_superuser), now).await.map_err(taken)?;
    let user = tx.user(id).await?.ok_or(Error::Internal("a new user is gone".into()))?;
    if is_superuser {
        let by = Admin { actor: actor_of(&user), ip: Some(ip) };
        let detail = json!({ "username": user.username, "bootstrap": true });
        record(tx, &by, "user.promoted", format!("user:{id}"), detail, now).await?;
    }
    emit(tx, &actor_of(&user), &Event::UserUpdated(user.clone()), now)?;
    Ok(user)
}

/// The row of a person's account.
pub(super) fn new_user(new: Registration, hashed: String, is_superuser: bool) -> NewUser {
    NewUser {
        username: new.username,
        email: new.email,
        full_name: new.full_name,
        hashed_password: Some(hashed),
        is_superuser,
        is_bot: false,
    }
}

/// Whatever was wrong with a login.
pub(super) fn wrong_credentials() -> Error {
    Error::Unauthenticated("invalid_credentials", "username or password is wrong")
}

pub(super) fn check_registration(new: &Registration) -> Result<()> {
    let mut faults = Faults::default();
    faults.check("username", text::check_username(&new.username));
    faults.check("email", text::check_email(&new.email));
    faults.check("password", text::check_password(&new.password));
    if let Some(name) = &new.full_name {
        faults.check("full_name", text::check_full_name(name));
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
