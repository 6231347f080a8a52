//! Asking for leave before a password is looked at, and telling how it went.

use std::net::IpAddr;

use patchbay_core::{Timestamp, UserId};

use super::{Attempt, same_network};
use crate::ops::{ClientAddress, Ops, Result};

impl Ops {
    /// Leave to try one password for a login.
    pub(in crate::ops) async fn login_attempt(
        &self,
        login: &str,
        from: &ClientAddress,
    ) -> Result<Option<Attempt<'_>>> {
        let Some(rates) = &self.0.rates else { return Ok(None) };
        rates.guesses.login(login, from.ip, || self.has_session_from(login, from.ip)).await.map(Some)
    }

    /// Leave to try one password as a user who is logged in.
    pub(in crate::ops) fn password_attempt(&self, user: UserId) -> Result<Option<Attempt<'_>>> {
        self.0.rates.as_ref().map(|rates| rates.guesses.present_password(user)).transpose()
    }

    /// Counts an account that is to be made.
    pub(in crate::ops) fn count_registration(&self, from: &ClientAddress) -> Result<()> {
        self.0.rates.as_ref().map_or(Ok(()), |rates| rates.registration(from.ip))
    }

    /// Whether the account is logged in from an address already.
    async fn has_session_from(&self, login: &str, ip: IpAddr) -> Result<bool> {
        let mut conn = self.0.store.read().await?;
        let Some(secret) = conn.secret_by_login(login).await? else { return Ok(false) };
        let sessions = conn.sessions_of(secret.id, Timestamp::now()).await?;
        let mut addresses = sessions.iter().filter_map(|session| session.ip.as_deref()?.parse().ok());
        Ok(addresses.any(|known| same_network(known, ip)))
    }
}

/// Tells the limit of guesses how one ended: whether the password was right, if it could be looked at.
pub(in crate::ops) fn settle(attempt: Option<Attempt<'_>>, was_right: Option<bool>) {
    match (attempt, was_right) {
        (Some(attempt), Some(true)) => attempt.succeeded(),
        (Some(attempt), None) => attempt.undecided(),
        (Some(_), Some(false)) | (None, _) => {}
    }
}
