//! Which plugins are installed, in which version, with which grants. What the lists mean is for `ops` to say;
//! here they are text.

use patchbay_core::{Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

/// An installed plugin.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PluginRow {
    /// Its name.
    pub name: String,
    /// The version that serves; none while it waits for grants.
    pub active_digest: Option<String>,
    /// Whether it serves at all.
    pub enabled: bool,
    /// The granted capabilities, a JSON array of strings.
    pub capabilities: String,
    /// The granted path templates beyond its own prefix, a JSON array of strings.
    pub routes: String,
    /// What the operator set, a JSON object; written by [`Conn::set_plugin_config`].
    pub config: String,
    /// The limits that were set, a JSON object of numbers.
    pub limits: String,
    /// The version that came with the host when it was last looked at.
    pub bundled_digest: Option<String>,
    /// The version to go back to.
    pub previous_digest: Option<String>,
    /// The place of its hooks among those of others: lower ones first.
    pub hook_order: i64,
    /// Whether a failure of its hooks keeps messages out.
    pub hooks_fail_closed: bool,
    /// Why it is kept from serving although it is enabled.
    pub quarantine: Option<String>,
    /// When it was first installed, in ms.
    pub created_at: i64,
    /// When its row last changed, in ms.
    pub updated_at: i64,
}

/// A version of a plugin, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PluginVersionRow {
    /// Of which plugin.
    pub plugin: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// What its manifest calls it.
    pub version: String,
    /// Its manifest, TOML.
    pub manifest: String,
    /// Who installed it; none for the host itself.
    pub installed_by: Option<i64>,
    /// When, in ms.
    pub installed_at: i64,
    /// When it was first told that it serves, in ms.
    pub activated_at: Option<i64>,
    /// The id of the key that signed it; none without a signature that was checked.
    pub signed_by: Option<String>,
}

impl Conn {
    /// The installed plugins by name.
    pub async fn plugins(&mut self) -> Result<Vec<PluginRow>, StoreError> {
        Ok(on!(self, |c| sqlx::query_as("SELECT * FROM plugins ORDER BY name").fetch_all(c).await?))
    }

    /// One installed plugin.
    pub async fn plugin(&mut self, name: &str) -> Result<Option<PluginRow>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_as("SELECT * FROM plugins WHERE name = $1").bind(name).fetch_optional(c).await?
        }))
    }

    /// Writes a plugin's row, keeping when it was first installed.
    pub async fn put_plugin(&mut self, row: &PluginRow) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO plugins (name, active_digest, enabled, capabilities, routes, bundled_digest,
                                      created_at, updated_at, previous_digest, hook_order, hooks_fail_closed,
                                      quarantine, limits)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
                 ON CONFLICT (name) DO UPDATE SET active_digest = excluded.active_digest,
                     enabled = excluded.enabled, capabilities = excluded.capabilities,
                     routes = excluded.routes, bundled_digest = excluded.bundled_digest,
                     updated_at = excluded.updated_at, previous_digest = excluded.previous_digest,
                     hook_order = excluded.hook_order, hooks_fail_closed = excluded.hooks_fail_closed,
                     quarantine = excluded.quarantine, limits = excluded.limits",
            )
            .bind(&row.name)
            .bind(&row.active_digest)
            .bind(row.enabled)
            .bind(&row.capabilities)
            .bind(&row.routes)
            .bind(&row.bundled_digest)
            .bind(row.created_at)
            .bind(row.updated_at)
            .bind(&row.previous_digest)
            .bind(row.hook_order)
            .bind(row.hooks_fail_closed)
            .bind(&row.quarantine)
            .bind(&row.limits)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Keeps a version's bytes; one that is there already counts as installed anew.
    #[allow(clippy::too_many_arguments)] // A row, column by column.
    pub async fn insert_plugin_version(
        &mut self,
        plugin: &str,
        digest: &str,
        version: &str,
        manifest: &str,
        component: &[u8],
        installed_by: Option<UserId>,
        signed_by: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO plugin_versions (plugin, digest, version, manifest, component, installed_by,
                                              installed_at, signed_by)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (plugin, digest)
                 DO UPDATE SET installed_by = excluded.installed_by, installed_at = excluded.installed_at,
                     signed_by = COALESCE(excluded.signed_by, plugin_versions.signed_by)",
            )
            .bind(plugin)
            .bind(digest)
            .bind(version)
            .bind(manifest)
            .bind(component)
            .bind(installed_by.map(|id| id.0))
            .bind(now.0)
            .bind(signed_by)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// A plugin's versions, newest first.
    pub async fn plugin_versions(&mut self, plugin: &str) -> Result<Vec<PluginVersionRow>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_as(
                "SELECT plugin, digest, version, manifest, installed_by, installed_at, activated_at, signed_by
                 FROM plugin_versions
                 WHERE plugin = $1 ORDER BY installed_at DESC",
            )
            .bind(plugin)
            .fetch_all(c)
            .await?
        }))
    }

    /// The bytes of a version.
    pub async fn plugin_component(
        &mut self,
        plugin: &str,
        digest: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar("SELECT component FROM plugin_versions WHERE plugin = $1 AND digest = $2")
                .bind(plugin)
                .bind(digest)
                .fetch_optional(c)
                .await?
        }))
    }

    /// A version has been told that it serves.
    pub async fn set_plugin_activated(
        &mut self,
        plugin: &str,
        digest: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE plugin_versions SET activated_at = ");
        query.bind(now.0).push(" WHERE plugin = ").bind(plugin).push(" AND digest = ").bind(digest);
        self.run(query).await.map(drop)
    }

    /// Removes versions beyond the newest `keep`, but for those of these digests.
    pub async fn forget_plugin_versions(
        &mut self,
        plugin: &str,
        keep: i64,
        but: &[&str],
    ) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM plugin_versions WHERE plugin = ");
        query.bind(plugin);
        if !but.is_empty() {
            query.push(" AND digest NOT IN (").bind_list(but.iter().copied()).push(")");
        }
        query.push(" AND digest NOT IN (SELECT digest FROM plugin_versions WHERE plugin = ").bind(plugin);
        query.push(" ORDER BY installed_at DESC, digest LIMIT ").bind(keep).push(")");
        self.run(query).await
    }

    /// Removes a plugin and all that is kept for it, but for its own state; see [`Conn::delete_plugin_state`].
    pub async fn delete_plugin(&mut self, name: &str) -> Result<bool, StoreError> {
        let mut query = Query::new("DELETE FROM plugins WHERE name = ");
        query.bind(name);
        Ok(self.run(query).await? > 0)
    }

    /// Removes up to `limit` entries of a plugin's own state; how many.
    pub async fn delete_plugin_state(&mut self, name: &str, limit: i64) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM plugin_kv WHERE plugin = ");
        query.bind(name).push(" AND key IN (SELECT key FROM plugin_kv WHERE plugin = ").bind(name);
        query.push(" ORDER BY key LIMIT ").bind(limit).push(")");
        let entries = self.run(query).await?;
        Ok(entries.max(self.delete_vectors_of(name, limit).await?))
    }
}
