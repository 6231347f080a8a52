//! What the operator set for a plugin, its sealed secrets, and its bot user.

use patchbay_core::UserId;
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on};

/// A plugin's secret, sealed by the server: what is kept here is of no use by itself.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct PluginSecretRow {
    /// Whose.
    pub plugin: String,
    /// Its key in the manifest.
    pub key: String,
    /// The sealed text.
    pub sealed: String,
}

/// Without the secret.
impl std::fmt::Debug for PluginSecretRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PluginSecretRow({} {})", self.plugin, self.key)
    }
}

impl Conn {
    /// What is set for a plugin, a JSON object; none if there is no such plugin.
    pub async fn plugin_config(&mut self, plugin: &str) -> Result<Option<String>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar("SELECT config FROM plugins WHERE name = $1")
                .bind(plugin)
                .fetch_optional(c)
                .await?
        }))
    }

    /// Replaces what is set for a plugin.
    pub async fn set_plugin_config(&mut self, plugin: &str, json: &str) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE plugins SET config = $2 WHERE name = $1")
                .bind(plugin)
                .bind(json)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// The secrets of all plugins.
    pub async fn plugin_secrets(&mut self) -> Result<Vec<PluginSecretRow>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_as("SELECT plugin, key, sealed FROM plugin_secrets ORDER BY plugin, key")
                .fetch_all(c)
                .await?
        }))
    }

    /// The keys of a plugin for which there is a secret.
    pub async fn plugin_secret_keys(&mut self, plugin: &str) -> Result<Vec<String>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar("SELECT key FROM plugin_secrets WHERE plugin = $1 ORDER BY key")
                .bind(plugin)
                .fetch_all(c)
                .await?
        }))
    }

    /// A plugin's sealed secret.
    pub async fn plugin_secret(&mut self, plugin: &str, key: &str) -> Result<Option<String>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar("SELECT sealed FROM plugin_secrets WHERE plugin = $1 AND key = $2")
                .bind(plugin)
                .bind(key)
                .fetch_optional(c)
                .await?
        }))
    }

    /// Keeps a sealed secret in place of the one before.
    pub async fn put_plugin_secret(
        &mut self,
        plugin: &str,
        key: &str,
        sealed: &str,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO plugin_secrets (plugin, key, sealed) VALUES ($1, $2, $3)
                 ON CONFLICT (plugin, key) DO UPDATE SET sealed = excluded.sealed",
            )
            .bind(plugin)
            .bind(key)
            .bind(sealed)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Removes a secret.
    pub async fn delete_plugin_secret(&mut self, plugin: &str, key: &str) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("DELETE FROM plugin_secrets WHERE plugin = $1 AND key = $2")
                .bind(plugin)
                .bind(key)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// The bot user of a plugin, if it has one; none if there is no such plugin.
    pub async fn plugin_bot(&mut self, plugin: &str) -> Result<Option<Option<UserId>>, StoreError> {
        let found: Option<Option<i64>> = on!(self, |c| {
            sqlx::query_scalar("SELECT bot_id FROM plugins WHERE name = $1")
                .bind(plugin)
                .fetch_optional(c)
                .await?
        });
        Ok(found.map(|id| id.map(UserId)))
    }

    /// Gives a plugin its bot user.
    pub async fn set_plugin_bot(&mut self, plugin: &str, bot: UserId) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE plugins SET bot_id = $2 WHERE name = $1")
                .bind(plugin)
                .bind(bot.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }
}
