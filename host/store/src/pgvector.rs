//! Vectors in a PostgreSQL with the extension `vector` (pgvector), which need not be the one that the rest is in.
//!
//! Owns: its one table there. Must not: know what collections are for. Searching is exact: each vector that fits is compared.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::StoreError;

/// How long a connection may be waited for: less than a plugin's call may take.
const WAIT: Duration = Duration::from_secs(3);
const CONNECTIONS: u32 = 8;

/// What metadata must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum PgCondition {
    /// One of these values, each as JSON.
    OneOf(String, Vec<String>),
    /// A number of at least that.
    AtLeast(String, i64),
    /// A number below that.
    Below(String, i64),
}

/// A connection pool to such a server.
#[derive(Clone, Debug)]
pub struct PgVectors {
    pool: PgPool,
}

const SCHEMA: [&str; 3] = [
    "CREATE EXTENSION IF NOT EXISTS vector",
    "CREATE TABLE IF NOT EXISTS patchbay_vectors (
        plugin     TEXT   NOT NULL,
        collection TEXT   NOT NULL,
        id         TEXT   NOT NULL,
        embedding  vector NOT NULL,
        metadata   JSONB  NOT NULL,
        PRIMARY KEY (plugin, collection, id)
    )",
    "CREATE INDEX IF NOT EXISTS patchbay_vectors_by_metadata
        ON patchbay_vectors USING gin (metadata jsonb_path_ops)",
];

fn text_of(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// ` AND …` for each condition, with parameters from `first` on. Each has two: a name, and a value.
fn filter(conditions: &[PgCondition], first: usize) -> String {
    let one = |(at, condition): (usize, &PgCondition)| {
        let (name, value) = (first + 2 * at, first + 2 * at + 1);
        let number = format!("jsonb_typeof(metadata -> ${name}) = 'number' AND metadata -> ${name}");
        match condition {
            PgCondition::OneOf(..) => format!(" AND metadata -> ${name} = ANY (${value}::TEXT[]::JSONB[])"),
            PgCondition::AtLeast(..) => format!(" AND {number} >= to_jsonb(${value}::BIGINT)"),
            PgCondition::Below(..) => format!(" AND {number} < to_jsonb(${value}::BIGINT)"),
        }
    };
    conditions.iter().enumerate().map(one).collect()
}

macro_rules! bind_conditions {
    ($query:expr, $conditions:expr) => {{
        let mut query = $query;
        for condition in $conditions {
            query = match condition {
                PgCondition::OneOf(name, values) => query.bind(name).bind(values),
                PgCondition::AtLeast(name, number) | PgCondition::Below(name, number) => {
                    query.bind(name).bind(number)
                }
            };
        }
        query
    }};
}

impl PgVectors {
    /// Whether a URL is one of PostgreSQL's.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn check(url: &str) -> Result<(), StoreError> {
        url.parse::<sqlx::postgres::PgConnectOptions>()?;
        Ok(())
    }

    /// Prepares connections; the server is looked for when one is needed.
    ///
    /// # Errors
    /// If the URL is wrong.
    pub fn at(url: &str) -> Result<Self, StoreError> {
        let options: sqlx::postgres::PgConnectOptions = url.parse()?;
        let options = sqlx::ConnectOptions::disable_statement_logging(options.application_name("patchbay"));
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(WAIT)
            .connect_lazy_with(options.options([("statement_timeout", "20s")]));
        Ok(Self { pool })
    }

    /// Makes the extension and the table, if they are not there.
    ///
    /// # Errors
    /// If the server can't be reached, or lacks the extension.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        for statement in SCHEMA {
            sqlx::query(statement).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// How many numbers the vectors of a collection have; none if it is empty.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn dimensions(&self, plugin: &str, collection: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT vector_dims(embedding)::BIGINT FROM patchbay_vectors
            WHERE plugin = $1 AND collection = $2 LIMIT 1";
        Ok(sqlx::query_scalar(sql).bind(plugin).bind(collection).fetch_optional(&self.pool).await?)
    }

    /// Puts items in, all or none: id, vector, metadata as a JSON object.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn upsert(
        &self,
        (plugin, collection): (&str, &str),
        items: &[(String, Vec<f32>, String)],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO patchbay_vectors (plugin, collection, id, embedding, metadata)
            SELECT $1, $2, id, embedding::vector, metadata::JSONB
            FROM unnest($3::TEXT[], $4::TEXT[], $5::TEXT[]) AS items (id, embedding, metadata)
            ON CONFLICT (plugin, collection, id)
            DO UPDATE SET embedding = excluded.embedding, metadata = excluded.metadata";
        sqlx::query(sql)
            .bind(plugin)
            .bind(collection)
            .bind(items.iter().map(|(id, ..)| id.clone()).collect::<Vec<_>>())
            .bind(items.iter().map(|(_, vector, _)| text_of(vector)).collect::<Vec<_>>())
            .bind(items.iter().map(|(.., metadata)| metadata.clone()).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes items out.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn delete(&self, plugin: &str, collection: &str, ids: &[String]) -> Result<(), StoreError> {
        let sql = "DELETE FROM patchbay_vectors WHERE plugin = $1 AND collection = $2 AND id = ANY ($3)";
        sqlx::query(sql).bind(plugin).bind(collection).bind(ids).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes out the items of a collection for which all conditions hold: all of them without one.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn delete_where(
        &self,
        (plugin, collection): (&str, &str),
        conditions: &[PgCondition],
    ) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM patchbay_vectors WHERE plugin = $1 AND collection = $2{}",
            filter(conditions, 3)
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(plugin).bind(collection);
        bind_conditions!(query, conditions).persistent(false).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes out all of a plugin's.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn forget(&self, plugin: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM patchbay_vectors WHERE plugin = $1";
        sqlx::query(sql).bind(plugin).execute(&self.pool).await?;
        Ok(())
    }

    /// The nearest items, the nearest first: id, cosine, metadata as a JSON object.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn query(
        &self,
        (plugin, collection): (&str, &str),
        vector: &[f32],
        conditions: &[PgCondition],
        limit: i64,
    ) -> Result<Vec<(String, f64, String)>, StoreError> {
        let sql = format!(
            "SELECT id, 1 - (embedding <=> $3::vector), metadata::TEXT FROM patchbay_vectors
             WHERE plugin = $1 AND collection = $2{} ORDER BY embedding <=> $3::vector, id LIMIT $4",
            filter(conditions, 5)
        );
        let query = sqlx::query_as::<_, (String, f64, String)>(sqlx::AssertSqlSafe(sql));
        let query = query.bind(plugin).bind(collection).bind(text_of(vector)).bind(limit);
        Ok(bind_conditions!(query, conditions).persistent(false).fetch_all(&self.pool).await?)
    }

    /// How many items a collection has.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn count(&self, plugin: &str, collection: &str) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM patchbay_vectors WHERE plugin = $1 AND collection = $2";
        Ok(sqlx::query_scalar(sql).bind(plugin).bind(collection).fetch_one(&self.pool).await?)
    }
}
