//! Plugins that fail too much: back to the version before, or into quarantine.
//!
//! Owns: what is done about it; when it is too much, the runtime says. Must not: take a plugin out for good; an operator
//! lets it serve again.

use patchbay_core::Timestamp;
use patchbay_runtime::Unwell;
use tokio::sync::mpsc;

use super::{Admin, Change, Deployment, Error, Result, Thing};

impl Deployment {
    /// Acts on what the runtime tells until the server ends.
    pub async fn keep_well(self, mut told: mpsc::Receiver<Unwell>) {
        while let Some(unwell) = told.recv().await {
            let Unwell { plugin, digest, reason } = unwell;
            let serves =
                |p: &std::sync::Arc<patchbay_runtime::Plugin>| p.digest() == digest && !p.is_quarantined();
            let Some(serving) = self.0.runtime.get(&plugin).filter(serves) else { continue };
            let went_back = if serving.is_successor() {
                self.go_back(&plugin, &digest, &reason).await
            } else {
                Ok(false)
            };
            match went_back {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(plugin, %error, "the version before can't serve either"),
            }
            // At once, whatever becomes of the record.
            serving.set_quarantined(true);
            tracing::error!(plugin, reason, "the plugin failed too often and is in quarantine");
            if let Err(error) = self.record_quarantine(&plugin, &digest, reason).await {
                tracing::error!(plugin, %error, "the quarantine could not be recorded");
            }
        }
    }

    /// Back to the version before a new one that fails; false if there is none.
    async fn go_back(&self, plugin: &str, digest: &str, reason: &str) -> Result<bool> {
        let row = self.row(plugin).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        if row.previous_digest.is_none() {
            return Ok(false);
        }
        tracing::error!(plugin, reason, "the new version failed too often; the one before serves again");
        let why = (digest.to_owned(), reason.to_owned());
        self.roll_back_because(&Admin::operator(), plugin, Some(why)).await?;
        Ok(true)
    }

    async fn record_quarantine(&self, plugin: &str, digest: &str, reason: String) -> Result<()> {
        let _turn = self.0.changing.lock().await;
        let before = self.row(plugin).await?.ok_or(Error::NotFound(Thing::Plugin))?;
        if before.active_digest.as_deref() != Some(digest) {
            // Somebody has put another version in its place.
            return Ok(());
        }
        let row = patchbay_store::PluginRow {
            quarantine: Some(reason),
            updated_at: Timestamp::now().0,
            ..before.clone()
        };
        self.persist(
            Change { before: Some(before), row, version: None, secrets: None, why: None },
            &Admin::operator(),
        )
        .await
    }
}
