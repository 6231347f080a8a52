//! What comes with a plugin that serves, beyond its routes: its hooks, its cursor, its jobs, its bot.
//!
//! Owns: bringing a version up, and everything around the switch that is not the switch. Must not: decide which version
//! serves.

use std::sync::Arc;

use bytes::Bytes;
use patchbay_core::Timestamp;
use patchbay_runtime::{Grants, Plugin};
use patchbay_store::{PluginRow, PluginVersionRow};

use super::{Deployment, Error, Result, refused};
use crate::ops::hooks::Hook;

impl Deployment {
    /// Makes a version ready to serve: loaded, and told of it if it never was. The version before serves meanwhile.
    pub(super) async fn ready(
        &self,
        row: &PluginRow,
        (digest, bytes): (&str, Bytes),
        grants: &Grants,
    ) -> Result<Arc<Plugin>> {
        let versions = self.versions(&row.name).await?;
        let plugin = self.0.runtime.prepare(bytes, grants).await.map_err(refused)?;
        let is_new = versions.iter().all(|v| v.digest != digest || v.activated_at.is_none());
        if is_new {
            let serving = self.0.runtime.get(&row.name).map(|plugin| plugin.manifest().version.to_string());
            let previous = serving.or_else(|| version_of(&versions, row.active_digest.as_deref(), digest));
            self.0.runtime.announce(&plugin, previous).await.map_err(refused)?;
        }
        Ok(plugin)
    }

    /// After the switch, and after the record of it: what a plugin that serves needs, and what one that doesn't must no
    /// longer have.
    pub(super) async fn attend(&self, name: &str) -> Result<()> {
        let Some(plugin) = self.0.runtime.get(name) else {
            self.followers().stop(name);
            self.arrange_hooks().await?;
            return Ok(());
        };
        // One that has to be let in where it is to hear and speak is there for that. What hears everything makes its own
        // when it first acts.
        let granted = &plugin.grants().capabilities;
        if !granted.contains("events:all") && (plugin.acts_alone() || granted.contains("identity")) {
            self.0.ops.ensure_bot(name).await?;
        }
        let jobs: Vec<_> = plugin
            .manifest()
            .jobs
            .iter()
            .map(|job| (job.name.clone(), i64::try_from(job.every.as_millis()).unwrap_or(i64::MAX)))
            .collect();
        let (owned, digest, follows) = (name.to_owned(), plugin.digest().to_owned(), plugin.follows_events());
        self.0
            .ops
            .store()
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let now = Timestamp::now();
                    tx.set_plugin_activated(&owned, &digest, now).await?;
                    tx.set_repeated_jobs(&owned, &jobs, now).await?;
                    if follows {
                        let head = tx.journal_head().await?;
                        tx.start_cursor(&owned, head, now).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        if follows {
            self.followers().look(self, name);
        } else {
            self.followers().stop(name);
        }
        self.0.ops.jobs_changed().notify_one();
        self.arrange_hooks().await
    }

    /// What failed is tried again at once: something about the plugin has changed.
    pub(super) async fn hurry(&self, name: &str) -> Result<()> {
        let owned = name.to_owned();
        self.0
            .ops
            .store()
            .write::<_, Error, _>(move |tx| Box::pin(async move { Ok(tx.hurry_cursor(&owned).await?) }))
            .await?;
        if self.0.runtime.get(name).is_some_and(|plugin| plugin.follows_events()) {
            self.followers().look(self, name);
        }
        Ok(())
    }

    /// Puts the hooks of all plugins that serve where messages pass, in the operator's order, names deciding ties.
    async fn arrange_hooks(&self) -> Result<()> {
        let mut rows = self.rows().await?;
        rows.sort_by(|a, b| (a.hook_order, &a.name).cmp(&(b.hook_order, &b.name)));
        let hooks = rows.into_iter().filter_map(|row| {
            self.0.runtime.get(&row.name).filter(|plugin| !plugin.manifest().hooks.is_empty())?;
            let runtime = Arc::downgrade(&self.0.runtime);
            Some(Hook { runtime, plugin: row.name, fails_closed: row.hooks_fail_closed })
        });
        self.0.ops.hooks().set(hooks.collect());
        Ok(())
    }

    /// Stops what plugins do by themselves, before the database goes.
    pub fn stop(&self) {
        self.followers().stop_all();
        self.0.ops.hooks().set(Vec::new());
    }
}

/// The number of the version that served before, if it was another one.
fn version_of(versions: &[PluginVersionRow], served: Option<&str>, digest: &str) -> Option<String> {
    let served = served.filter(|served| *served != digest)?;
    versions.iter().find(|version| version.digest == served).map(|version| version.version.clone())
}
