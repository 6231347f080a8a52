//! What plugins use of models and keep of vectors: usage, the cache of embeddings, and vectors where they are kept here.

use crate::{Conn, StoreError, query::Query};

/// A vector of a plugin's: its id, 32-bit floats (the least significant byte first), metadata as a JSON object.
pub type VectorRow = (String, Vec<u8>, String);

impl Conn {
    /// Tokens that a plugin has used on a day (since 1970, UTC).
    pub async fn llm_usage(&mut self, plugin: &str, day: i64) -> Result<i64, StoreError> {
        let mut query = Query::new("SELECT tokens FROM plugin_llm_usage WHERE plugin = ");
        query.bind(plugin).push(" AND day = ").bind(day);
        Ok(self.optional::<(i64,)>(query).await?.map_or(0, |(tokens,)| tokens))
    }

    /// The same of all plugins that used some.
    pub async fn llm_usages(&mut self, day: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let mut query = Query::new("SELECT plugin, tokens FROM plugin_llm_usage WHERE day = ");
        query.bind(day);
        self.all(query).await
    }

    /// Counts tokens. A plugin that is gone uses none.
    pub async fn add_llm_usage(&mut self, plugin: &str, day: i64, tokens: i64) -> Result<(), StoreError> {
        let mut query = Query::new("INSERT INTO plugin_llm_usage (plugin, day, tokens) SELECT name, ");
        query.bind(day).push(", ").bind(tokens).push(" FROM plugins WHERE name = ").bind(plugin);
        query.push(
            " ON CONFLICT (plugin) DO UPDATE SET day = excluded.day, tokens = excluded.tokens
                + CASE WHEN plugin_llm_usage.day = excluded.day THEN plugin_llm_usage.tokens ELSE 0 END",
        );
        self.run(query).await.map(|_| ())
    }

    /// Those among these texts (by their hashes) that were embedded before: hash and vector.
    pub async fn embeddings(
        &mut self,
        embedder: &str,
        hashes: &[Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let mut query = Query::new("SELECT hash, vector FROM embedding_cache WHERE embedder = ");
        query.bind(embedder).push(" AND hash IN (");
        query.bind_list(hashes.iter().map(Vec::as_slice)).push(")").uncached();
        self.all(query).await
    }

    /// Keeps the vector of a text.
    pub async fn put_embedding(
        &mut self,
        embedder: &str,
        (hash, vector): (&[u8], &[u8]),
        now: i64,
    ) -> Result<(), StoreError> {
        let mut query =
            Query::new("INSERT INTO embedding_cache (embedder, hash, vector, created_at) VALUES (");
        query.bind(embedder).push(", ").bind(hash).push(", ").bind(vector).push(", ").bind(now);
        query.push(
            ") ON CONFLICT (embedder, hash) DO UPDATE SET vector = excluded.vector, created_at = excluded.created_at",
        );
        self.run(query).await.map(|_| ())
    }

    /// Forgets up to `limit` vectors of texts that are older than that, or beyond the newest `keep`; how many.
    pub async fn forget_embeddings(&mut self, before: i64, keep: i64, limit: i64) -> Result<u64, StoreError> {
        let mut newest =
            Query::new("SELECT created_at FROM embedding_cache ORDER BY created_at DESC LIMIT 1 OFFSET ");
        newest.bind(keep);
        let beyond = self.optional::<(i64,)>(newest).await?.map_or(i64::MIN, |(at,)| at);
        let mut query = Query::new(
            "DELETE FROM embedding_cache WHERE (embedder, hash) IN (SELECT embedder, hash FROM embedding_cache WHERE created_at < ",
        );
        query.bind(before).push(" OR created_at <= ").bind(beyond);
        query.push(" ORDER BY created_at LIMIT ").bind(limit).push(")");
        self.run(query).await
    }

    /// Bytes of a vector of this collection; none if it is empty.
    pub async fn vector_bytes(&mut self, plugin: &str, collection: &str) -> Result<Option<i64>, StoreError> {
        let mut query =
            Query::new("SELECT CAST(octet_length(vector) AS BIGINT) FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin).push(" AND collection = ").bind(collection).push(" LIMIT 1");
        Ok(self.optional::<(i64,)>(query).await?.map(|(bytes,)| bytes))
    }

    /// Bytes that a plugin keeps in vectors.
    pub async fn vector_usage(&mut self, plugin: &str) -> Result<i64, StoreError> {
        let mut query = Query::new("SELECT bytes FROM plugin_vector_usage WHERE plugin = ");
        query.bind(plugin);
        Ok(self.optional::<(i64,)>(query).await?.map_or(0, |(bytes,)| bytes))
    }

    /// Puts a vector in, in place of one with its id.
    pub async fn put_vector(
        &mut self,
        (plugin, collection): (&str, &str),
        (id, vector, metadata): (&str, &[u8], &str),
    ) -> Result<(), StoreError> {
        let mut query =
            Query::new("INSERT INTO plugin_vectors (plugin, collection, id, vector, metadata) VALUES (");
        query.bind(plugin).push(", ").bind(collection).push(", ").bind(id);
        query.push(", ").bind(vector).push(", ").bind(metadata);
        query.push(
            ") ON CONFLICT (plugin, collection, id) DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata",
        );
        self.run(query).await.map(|_| ())
    }

    /// Takes vectors out; how many there were.
    pub async fn delete_vectors(
        &mut self,
        (plugin, collection): (&str, &str),
        ids: &[String],
    ) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin).push(" AND collection = ").bind(collection).push(" AND id IN (");
        query.bind_list(ids.iter().map(String::as_str)).push(")").uncached();
        self.run(query).await
    }

    /// Takes up to `limit` vectors of a collection out; how many.
    pub async fn clear_vectors(
        &mut self,
        (plugin, collection): (&str, &str),
        limit: i64,
    ) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin).push(" AND collection = ").bind(collection);
        query.push(" AND id IN (SELECT id FROM plugin_vectors WHERE plugin = ").bind(plugin);
        query.push(" AND collection = ").bind(collection).push(" LIMIT ").bind(limit).push(")");
        self.run(query).await
    }

    /// Takes up to `limit` vectors of a plugin out; how many.
    pub(crate) async fn delete_vectors_of(&mut self, plugin: &str, limit: i64) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin);
        query.push(" AND (collection, id) IN (SELECT collection, id FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin).push(" LIMIT ").bind(limit).push(")");
        self.run(query).await
    }

    /// Up to `limit` vectors of a collection whose ids come after this one, in the order of ids that the database has.
    pub async fn vectors_after(
        &mut self,
        (plugin, collection): (&str, &str),
        after: &str,
        limit: i64,
    ) -> Result<Vec<VectorRow>, StoreError> {
        let mut query = Query::new("SELECT id, vector, metadata FROM plugin_vectors WHERE plugin = ");
        query.bind(plugin).push(" AND collection = ").bind(collection).push(" AND id > ").bind(after);
        query.push(" ORDER BY id LIMIT ").bind(limit);
        self.all(query).await
    }

    /// How many vectors a collection has, and their bytes.
    pub async fn vectors_count(&mut self, plugin: &str, collection: &str) -> Result<(i64, i64), StoreError> {
        let mut query = Query::new(
            "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(octet_length(vector) + octet_length(metadata)), 0) AS BIGINT)
             FROM plugin_vectors WHERE plugin = ",
        );
        query.bind(plugin).push(" AND collection = ").bind(collection);
        Ok(self.optional(query).await?.unwrap_or_default())
    }
}
