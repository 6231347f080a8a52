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
        let from = after.filter(|after| *after >= prefix);
        let mut query = Query::new("SELECT key, value FROM plugin_kv WHERE plugin = ");
        query.bind(plugin);
        match from {
            Some(after) => query.push(" AND key > ").bind(after),
            None => query.push(" AND key >= ").bind(prefix),
        };
        if let Some(end) = end_of(prefix) {
            query.push(" AND key < ").bind(end);
        }
        query.push(" ORDER BY key LIMIT ").bind(limit);
        self.all(query).await
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

/// The first key after all that start with `prefix`; none if every later key does.
fn end_of(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The order of characters is that of their bytes in UTF-8.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text() {
        assert_eq!(end_of("a/").as_deref(), Some("a0"));
        assert_eq!(end_of("\u{d7ff}").as_deref(), Some("\u{e000}"), "surrogates are no characters");
        assert_eq!(end_of("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end_of("\u{10ffff}"), None);
        assert_eq!(end_of(""), None);
    }
}
