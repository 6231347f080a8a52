//! Versions and plugins that go: back to the version before, and out for good.
//!
//! Owns: what goes with them. Must not: decide that a version fails too much; see `care`.

use std::sync::Arc;

use patchbay_core::{Event, Timestamp};
use patchbay_store::PluginRow;

use super::{
    Admin, Change, Deployment, Error, Installed, Result, Thing, detached, emit, grants_of, managed, record,
    replace_version,
};
use crate::ops::bot_users::retire_bots_in;

/// Entries of a plugin's own state that are removed in one operation.
const ERASED_AT_ONCE: i64 = 500;

impl Deployment {
    /// Back to the version that served before; a second time forward again.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Refused`] if that version can't serve with today's grants,
    /// [`Error::Conflict`] with `nothing_to_roll_back` or `managed_by_settings`.
    pub async fn roll_back(&self, by: &Admin, name: &str) -> Result<Installed> {
        by.demand()?;
        self.roll_back_because(by, name, None).await
    }

    /// Of the host's own doing it is with a reason, and only if that version still serves.
    pub(super) async fn roll_back_because(
        &self,
        by: &Admin,
        name: &str,
        why: Option<(String, String)>,
    ) -> Result<Installed> {
        let turn = Arc::clone(&self.0.changing).lock_owned().await;
        if why.is_none() && self.0.declared.get(name).is_some_and(|declared| declared.source.is_some()) {
            return Err(managed(name, "source"));
        }
        let before = self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        if why.as_ref().is_some_and(|(condemned, _)| before.active_digest.as_ref() != Some(condemned)) {
            // Somebody was faster.
            return self.describe(before).await;
        }
        let digest = before.previous_digest.clone().ok_or_else(|| {
            Error::Conflict("nothing_to_roll_back", "there is no version that served before".into())
        })?;
        let mut row = PluginRow { updated_at: Timestamp::now().0, ..before.clone() };
        replace_version(&mut row, &digest);
        if why.is_some() {
            // The way back from here leads to a version that fails.
            row.previous_digest = None;
        }
        let why = why.map(|(_, why)| why);
        let plugin = if row.enabled {
            let bytes = self.component(name, &digest).await?;
            Some(self.ready(&before, (&digest, bytes), &grants_of(&row)?).await?)
        } else {
            None
        };
        let change = Change { before: Some(before), row: row.clone(), version: None, secrets: None, why };
        self.switch(turn, plugin, change, by).await?;
        self.describe(row).await
    }

    /// Takes a plugin out for good, with its versions, settings, secrets, jobs, dead letters and its own state. What it
    /// wrote into host-owned tables stays; its bot user is deactivated.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Conflict`] with `bundled` or `managed_by_settings`.
    pub async fn remove(&self, by: &Admin, name: &str) -> Result<()> {
        by.demand()?;
        let turn = Arc::clone(&self.0.changing).lock_owned().await;
        if self.0.declared.contains_key(name) {
            return Err(managed(name, "*"));
        }
        let row = self.row(name).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        if row.bundled_digest.is_some() {
            let why = "it came with the host and would come back with the next start; disable it instead";
            return Err(Error::Conflict("bundled", why.into()));
        }
        let (this, by, name) = (self.clone(), by.clone(), name.to_owned());
        detached(async move {
            let _turn = turn;
            this.0.runtime.deactivate(&name);
            this.attend(&name).await?;
            this.erase(&by, name.clone()).await?;
            this.set_failure(&name, None);
            this.0.ops.forget_vectors(&name).await;
            this.0.ops.plugin_log().forget(&name);
            Ok(())
        })
        .await
    }

    /// Its own state goes in steps, so that no other write waits; its row last, so that a step that fails can be
    /// repeated.
    pub(super) async fn erase(&self, by: &Admin, name: String) -> Result<()> {
        let store = self.0.ops.store();
        loop {
            let owner = name.clone();
            let step = store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.delete_plugin_state(&owner, ERASED_AT_ONCE).await?) })
                })
                .await?;
            if step < ERASED_AT_ONCE.unsigned_abs() {
                break;
            }
        }
        let (by, now) = (by.clone(), Timestamp::now());
        let ended = store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    by.demand_still(tx).await?;
                    if let Some(bot) = tx.plugin_bot(&name).await?.flatten() {
                        tx.deactivate_bot(bot, now).await?;
                        if let Some(user) = tx.user(bot).await? {
                            emit(tx, &by.actor, &Event::UserUpdated(user), now)?;
                        }
                    }
                    let ended = retire_bots_in(tx, &by.actor, &name).await?;
                    // What a call that was still under way has written since.
                    while tx.delete_plugin_state(&name, ERASED_AT_ONCE).await? > 0 {}
                    tx.delete_plugin(&name).await?;
                    let target = format!("plugin:{name}");
                    record(tx, &by, "plugin.removed", target, serde_json::json!({}), now).await?;
                    Ok(ended)
                })
            })
            .await?;
        self.0.ops.retire_bots(ended).await;
        Ok(())
    }
}
