//! The record of administrative acts.
//!
//! An act is recorded in its own transaction: what is done is recorded, and what was undone is not. The log is kept
//! for ever, and holds no secrets and nothing that people have written to each other.

use patchbay_core::{Actor, Timestamp};
use patchbay_store::{AuditActor, AuditRow, NewAuditEntry, Tx};
use serde_json::Value;

use super::{Error, Ops, PageOf, PageRequest, Result, access::demand_superuser};

/// Who administers, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// With which authority.
    pub actor: Actor,
    /// From which address; none for the operator at the machine.
    pub ip: Option<String>,
}

impl Admin {
    /// Whoever can reach the data directory.
    pub fn operator() -> Self {
        Self { actor: Actor::SYSTEM, ip: None }
    }

    /// Demands that this is a superuser or the operator at the machine.
    pub(super) fn demand(&self) -> Result<()> {
        demand_superuser(&self.actor)
    }

    /// Demands the same of the database: somebody else may have ended it since the request was let in.
    pub(super) async fn demand_still(&self, tx: &mut Tx) -> Result<()> {
        let Some(id) = self.actor.user_id() else { return self.demand() };
        let is_still = tx.user(id).await?.is_some_and(|user| user.is_active && user.is_superuser);
        if is_still { Ok(()) } else { Err(Error::Forbidden("only superusers may do this".into())) }
    }
}

/// Which part of the log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only acts of this kind.
    pub action: Option<String>,
    /// Only those of this actor.
    pub actor: Option<AuditActor>,
}

/// Records an act.
pub(super) async fn record(
    tx: &mut Tx,
    by: &Admin,
    action: &str,
    target: String,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let entry = NewAuditEntry {
        action: action.to_owned(),
        actor_id: by.actor.user_id(),
        target,
        detail: detail.to_string(),
        ip: by.ip.clone(),
    };
    Ok(tx.insert_audit_entry(&entry, now).await?)
}

impl Ops {
    /// What has been recorded, newest first.
    ///
    /// # Errors
    /// [`super::Error::Forbidden`] for who isn't superuser.
    pub async fn audit_log(
        &self,
        by: &Admin,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<PageOf<AuditRow>> {
        by.demand()?;
        let mut conn = self.0.store.read().await?;
        let found = conn.audit_log(filter.action.as_deref(), filter.actor, &page.query()).await?;
        Ok(page.page(found, true))
    }
}
