//! Invitations: who may make an account where not everyone may.

use std::time::Duration;

use patchbay_core::{Timestamp, text};
use patchbay_protocol::Time;
use patchbay_store::{Conn, InviteRow, NewInvite, Tx};
use serde_json::json;

use super::{
    Error, Ops, PageOf, PageRequest, Result, Thing,
    audit::{Admin, record},
    error::Faults,
};
use crate::auth::tokens;

/// For how long an invitation is good if its maker doesn't say.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// For how long it can be good.
const MAX_LIFE: Duration = Duration::from_secs(366 * 86_400);
/// How many accounts can be made with one.
const MAX_USES: i64 = 10_000;
/// How long one that has expired is still shown.
pub(super) const SHOWN: Duration = Duration::from_secs(30 * 86_400);

/// What an invitation is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invitation {
    /// In how many seconds it expires; not together with `expires_at`.
    pub expires_in: Option<i64>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// How many accounts may be made with it; one if nothing is said.
    pub max_uses: Option<i64>,
    /// The only address that it is good for.
    pub email: Option<String>,
}

impl Ops {
    /// Makes an invitation; its token is not kept and can't be told again.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::Invalid`].
    pub async fn invite(&self, by: &Admin, wanted: Invitation) -> Result<(InviteRow, String)> {
        by.demand()?;
        let now = Timestamp::now();
        let expires_at = check(&wanted, now)?;
        let (token, token_hash) = tokens::new_token()?;
        let new = NewInvite {
            token_hash,
            email: wanted.email,
            max_uses: wanted.max_uses.unwrap_or(1),
            created_by_id: by.actor.user_id(),
            expires_at,
        };
        let by = by.clone();
        let row = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    by.demand_still(tx).await?;
                    let id = tx.insert_invite(&new, now).await?;
                    let detail = json!({
                        "email": new.email, "max_uses": new.max_uses, "expires_at": Time(new.expires_at),
                    });
                    record(tx, &by, "invite.created", format!("invite:{id}"), detail, now).await?;
                    tx.invite(id).await?.ok_or(Error::NotFound(Thing::Invite))
                })
            })
            .await?;
        Ok((row, token))
    }

    /// The invitations, newest first, those that are used up and those that expired in the last 30 days too.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser.
    pub async fn invites(&self, by: &Admin, page: PageRequest) -> Result<PageOf<InviteRow>> {
        by.demand()?;
        let found = self.0.store.read().await?.invites(&page.query()).await?;
        Ok(page.page(found, true))
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::NotFound`].
    pub async fn revoke_invite(&self, by: &Admin, id: i64) -> Result<()> {
        by.demand()?;
        let by = by.clone();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    by.demand_still(tx).await?;
                    let invite = tx.invite(id).await?.ok_or(Error::NotFound(Thing::Invite))?;
                    tx.delete_invite(id).await?;
                    let detail = json!({ "email": invite.email, "uses": invite.uses });
                    record(tx, &by, "invite.revoked", format!("invite:{id}"), detail, Timestamp::now()).await
                })
            })
            .await
    }
}

/// When it is to expire, if everything is as it should be.
fn check(wanted: &Invitation, now: Timestamp) -> Result<Timestamp> {
    let mut faults = Faults::default();
    if let Some(email) = &wanted.email {
        faults.check("email", text::check_email(email));
    }
    if wanted.max_uses.is_some_and(|uses| !(1..=MAX_USES).contains(&uses)) {
        faults.push("max_uses", "out_of_range", format!("must be 1 to {MAX_USES}"));
    }
    let (field, expires_at) = match (wanted.expires_in, wanted.expires_at) {
        (None, None) => ("expires_in", now.plus(LIFE)),
        (Some(seconds), None) => {
            ("expires_in", Timestamp(now.0.saturating_add(seconds.saturating_mul(1000))))
        }
        (None, Some(at)) => ("expires_at", at),
        (Some(_), Some(at)) => {
            faults.push("expires_at", "conflict", "can't be combined with expires_in");
            ("expires_at", at)
        }
    };
    if expires_at <= now || expires_at > now.plus(MAX_LIFE) {
        faults.push(field, "out_of_range", "must be in the future and at most 366 days away");
    }
    faults.into_result()?;
    Ok(expires_at)
}

/// The invitation of this token, if an account with this address can be made with it now.
pub(super) async fn good_invite(
    conn: &mut Conn,
    token: &str,
    email: &str,
    now: Timestamp,
) -> Result<InviteRow> {
    let refused = |code, why: &str| Err(Error::Denied(code, why.into()));
    match conn.invite_by_hash(&tokens::hash_token(token)).await? {
        None => refused("invite_invalid", "there is no such invitation, or it was taken back"),
        Some(invite) if invite.expires_at <= now => refused("invite_expired", "this invitation has expired"),
        Some(invite) if invite.uses >= invite.max_uses => {
            refused("invite_used", "this invitation has been used up")
        }
        Some(invite) if invite.email.as_ref().is_some_and(|e| e.to_lowercase() != email.to_lowercase()) => {
            refused("invite_for_another", "this invitation is for another e-mail address")
        }
        Some(invite) => Ok(invite),
    }
}

/// Uses it. Two at once are one after the other here.
pub(super) async fn use_invite(tx: &mut Tx, token: &str, email: &str, now: Timestamp) -> Result<()> {
    let invite = good_invite(tx, token, email, now).await?;
    if tx.use_invite(invite.id).await? {
        Ok(())
    } else {
        Err(Error::Internal("an invitation was used up in between".into()))
    }
}
