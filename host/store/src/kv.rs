//! Plugins' own state. Every statement names the plugin: no key of one is seen by another.

use patchbay_core::MessageId;

use crate::{Conn, StoreError, conn::on, query::Query};

impl Conn {
    /// The value of a key.
    pub async fn kv_get(&mut self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, Vec<u8>>("SELECT value FROM plugin_kv WHERE plugin = $1 AND key = $2")
                .bind(plugin)
                .bind(key)
                .fetch_optional(c)
                .await?
        }))
    }

    /// The entries among these keys, in no particular order.
    pub async fn kv_get_many(
        &mut self,
        plugin: &str,
        keys: &[String],
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Query::new("SELECT key, value FROM plugin_kv WHERE plugin = ");
        query.bind(plugin).push(" AND key IN (");
        query.bind_list(keys.iter().map(String::as_str)).push(")").uncached();
        self.all(query).await
    }

    /// Up to `limit` entries whose keys start with `prefix` and come after `after`, by the keys' bytes.
    pub async fn kv_scan(
        &mut self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        // A key after `prefix` that doesn't start with it comes after all that do: the first one ends the
        // scan. No upper bound is computed, since not every prefix has one that is valid UTF-8.
        let from = after.filter(|after| *after >= prefix);
        let mut query = Query::new("SELECT key, value FROM plugin_kv WHERE plugin = ");
        query.bind(plugin);
        match from {
            Some(after) => query.push(" AND key > ").bind(after),
            None => query.push(" AND key >= ").bind(prefix),
        };
        query.push(" ORDER BY key LIMIT ").bind(limit);
        let rows: Vec<(String, Vec<u8>)> = self.all(query).await?;
        Ok(rows.into_iter().take_while(|(key, _)| key.starts_with(prefix)).collect())
    }

    /// How many bytes of keys and values a plugin keeps.
    pub async fn kv_bytes(&mut self, plugin: &str) -> Result<i64, StoreError> {
        let bytes = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT bytes FROM plugin_kv_usage WHERE plugin = $1")
                .bind(plugin)
                .fetch_optional(c)
                .await?
        });
        Ok(bytes.unwrap_or(0))
    }

    /// Writes an entry.
    pub async fn kv_put(
        &mut self,
        plugin: &str,
        key: &str,
        value: &[u8],
        message: Option<MessageId>,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO plugin_kv (plugin, key, value, message_id) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (plugin, key)
                 DO UPDATE SET value = excluded.value, message_id = excluded.message_id",
            )
            .bind(plugin)
            .bind(key)
            .bind(value)
            .bind(message.map(|id| id.0))
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Removes an entry; whether it was there.
    pub async fn kv_delete(&mut self, plugin: &str, key: &str) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM plugin_kv WHERE plugin = $1 AND key = $2")
                .bind(plugin)
                .bind(key)
                .execute(c)
                .await?
                .rows_affected()
                > 0
        }))
    }
}
