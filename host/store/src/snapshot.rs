//! All that the database holds, as of one moment, while a server may be writing to it; and the way back into an
//! empty database of either kind.
//!
//! Owns: one snapshot for all tables, and one transaction for all that is restored. Must not: know how a copy is
//! written down, or which tables there are (that is in the catalogue).

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Decode, Row, Type, migrate::Migrator};

use crate::{
    Conn, Kind, Location, StoreError, Table, Value,
    conn::{Inner, on},
    error::migration,
    postgres,
    query::Query,
    sqlite,
};

/// Rows of one insert, unless that makes too many parameters.
pub(crate) const ROWS_PER_INSERT: usize = 256;
/// SQLite takes 32,766, PostgreSQL twice as many.
pub(crate) const MAX_PARAMETERS: usize = 32_000;
/// How far the journal jumps at a restore: further than it could have come since the copy was made.
const JOURNAL_JUMP: i64 = 1_000_000_000;

/// The database as it was at one moment.
#[derive(Debug)]
pub struct Snapshot {
    conn: Conn,
    /// Every table, in an order in which it can be restored.
    pub tables: Vec<Table>,
    /// The last migration that has been applied.
    pub schema: i64,
    /// What [`Restore::finish`] wants to know: the largest id that each table has ever given.
    pub counters: BTreeMap<String, i64>,
}

/// Bytes in the object store that a row refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The row's id.
    pub id: i64,
    /// Where the bytes are.
    pub path: String,
    /// Their SHA-256, hexadecimal, where the row knows it.
    pub sha256: Option<String>,
}

/// A column that holds the paths of objects.
struct Source {
    table: &'static str,
    path: &'static str,
    /// What comes after the path.
    suffix: &'static str,
    /// The column of the digest.
    digest: Option<&'static str>,
    /// Only rows with something in this column have an object; a schema without the column has none.
    only_with: &'static str,
}

/// All of them: whoever keeps other bytes in the object store adds a line here.
const SOURCES: [Source; 3] = [
    // A row without a digest is of an upload that is under way.
    Source { table: "files", path: "file_path", suffix: "", digest: Some("sha256"), only_with: "sha256" },
    Source {
        table: "files",
        path: "file_path",
        suffix: "-thumbnail",
        digest: None,
        only_with: "thumbnail_type",
    },
    Source {
        table: "users",
        path: "profile_picture",
        suffix: "",
        digest: None,
        only_with: "profile_picture",
    },
];

impl Snapshot {
    /// Opens a database that exists, to read only; a server may be using it.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version of Patchbay has migrated it; [`StoreError::NotPatchbay`] if it
    /// has never been migrated.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let (mut conn, begin) = match location {
            Location::Sqlite(path) => (sqlite::open_to_read(path).await?, "BEGIN"),
            Location::Postgres(url) => (
                postgres::Server::at(url)?.open_to_read().await?,
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            ),
        };
        conn.execute(begin).await?;
        // The first look fixes the moment.
        let schema = conn.schema_version().await?;
        let known = newest(location);
        if schema > known {
            return Err(StoreError::Newer(schema));
        }
        let tables = conn.tables().await?;
        let counters = conn.counters().await?;
        Ok(Self { conn, tables, schema, counters })
    }

    /// Calls `each` with every row of a table, by its primary key. One row is held at a time.
    ///
    /// # Errors
    /// What the database says, or `each`.
    pub async fn rows<E: From<StoreError>>(
        &mut self,
        table: &Table,
        mut each: impl FnMut(Vec<Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut query = Query::new("SELECT ");
        for (n, column) in table.columns.iter().enumerate() {
            query.push(if n == 0 { "" } else { ", " });
            match (&self.conn.0, column.kind) {
                // Some are narrower there.
                (Inner::Postgres(_), Kind::Integer) => query.name(&column.name).push("::BIGINT"),
                _ => query.name(&column.name),
            };
        }
        query.push(" FROM ").name(&table.name).push(" ORDER BY ");
        for (n, column) in table.key.iter().enumerate() {
            query.push(if n == 0 { "" } else { ", " }).name(column);
        }
        let sql = query.into_sql();
        on!(self.conn, |c| {
            let mut rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch(c);
            while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
                let values = table.columns.iter().enumerate();
                let values: Result<Vec<_>, _> =
                    values.map(|(n, column)| value(&row, n, column.kind)).collect();
                each(values.map_err(StoreError::from)?)?;
            }
        });
        Ok(())
    }

    /// How many kinds of objects there are, for [`Snapshot::objects`].
    pub const OBJECT_KINDS: usize = SOURCES.len();

    /// The objects of one kind, by the ids of their rows, after `after`, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn objects(&mut self, kind: usize, after: i64, limit: i64) -> Result<Vec<Object>, StoreError> {
        let Some(source) = SOURCES.get(kind).filter(|source| self.has(source.table, source.only_with)) else {
            return Ok(Vec::new());
        };
        let mut query = Query::new("SELECT id, ");
        query.name(source.path).push(", ");
        match source.digest {
            Some(digest) => query.name(digest),
            None => query.push("CAST(NULL AS TEXT)"),
        };
        query.push(" FROM ").name(source.table).push(" WHERE ").name(source.only_with);
        query.push(" IS NOT NULL AND id > ").bind(after).push(" ORDER BY id LIMIT ").bind(limit);
        let rows = self.conn.all::<(i64, String, Option<String>)>(query).await?;
        let object = |(id, path, sha256)| Object { id, path: format!("{path}{}", source.suffix), sha256 };
        Ok(rows.into_iter().map(object).collect())
    }

    fn has(&self, table: &str, column: &str) -> bool {
        let mut tables = self.tables.iter().filter(|known| known.name == table);
        tables.any(|known| known.columns.iter().any(|known| known.name == column))
    }
}

fn value<R: Row>(row: &R, at: usize, kind: Kind) -> Result<Value, sqlx::Error>
where
    usize: ColumnIndex<R>,
    for<'r> Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<bool>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Option<Vec<u8>>: Decode<'r, R::Database> + Type<R::Database>,
{
    Ok(match kind {
        Kind::Integer => Value::Integer(row.try_get(at)?),
        Kind::Boolean => Value::Boolean(row.try_get(at)?),
        Kind::Text => Value::Text(row.try_get(at)?),
        Kind::Bytes => Value::Bytes(row.try_get(at)?),
    })
}

/// An empty database that is being filled, in one transaction: until [`Restore::finish`] returns, nothing has
/// happened, and if it is never called, nothing does.
#[derive(Debug)]
pub struct Restore {
    conn: Conn,
    migrations: &'static Migrator,
    silenced: Vec<Query>,
    /// Every table of the schema that is being restored.
    pub tables: Vec<Table>,
}

impl Restore {
    /// Opens a database without tables and makes those of the schema `schema`.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; [`StoreError::Newer`] if this program doesn't know the schema;
    /// [`StoreError::InUse`].
    pub async fn begin(location: &Location, schema: i64) -> Result<Self, StoreError> {
        if schema > newest(location) {
            return Err(StoreError::Newer(schema));
        }
        let (mut conn, migrations) = match location {
            Location::Sqlite(path) => (sqlite::open_to_write(path).await?.into(), &sqlite::MIGRATIONS),
            Location::Postgres(url) => {
                (postgres::Server::at(url)?.open_to_write().await?, &postgres::MIGRATIONS)
            }
        };
        if !conn.is_blank().await? {
            return Err(StoreError::NotEmpty);
        }
        conn.begin_nested().await?;
        conn.migrate(migrations, Some(schema)).await?;
        let tables = conn.tables().await?;
        let silenced = conn.silence_triggers(&tables).await?;
        // What a migration put there is in the copy too.
        for table in tables.iter().rev() {
            let mut clear = Query::new("DELETE FROM ");
            clear.name(&table.name);
            conn.run(clear).await?;
        }
        Ok(Self { conn, migrations, silenced, tables })
    }

    /// Adds rows to a table; their values are in the order of its columns.
    ///
    /// # Errors
    /// What the database says: a row refers to one that isn't there, or is there twice.
    pub async fn insert(&mut self, table: &Table, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        let most = (MAX_PARAMETERS / table.columns.len().max(1)).clamp(1, ROWS_PER_INSERT);
        let mut rows = rows.into_iter();
        loop {
            let chunk: Vec<_> = rows.by_ref().take(most).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let mut insert = Query::new("INSERT INTO ");
            insert.name(&table.name).push(" (");
            for (n, column) in table.columns.iter().enumerate() {
                insert.push(if n == 0 { "" } else { ", " }).name(&column.name);
            }
            insert.push(") VALUES ");
            if chunk.len() < most {
                insert.uncached();
            }
            for (n, row) in chunk.into_iter().enumerate() {
                insert.push(if n == 0 { "(" } else { ", (" }).bind_list(row).push(")");
            }
            self.conn.run(insert).await?;
        }
    }

    /// Ends it: ids go on where they were, the schema is brought up to date, and whoever saw the journal before
    /// starts afresh. (A client may have seen what happened after the copy was made and is now undone: if the
    /// journal counted on from the copy, its last `seq` would one day seem to be of this history.)
    ///
    /// # Errors
    /// What the database says; then nothing of it remains. If it could not even say whether the last statement, which
    /// makes it last, was carried out: [`StoreError::Unknown`].
    pub async fn finish(mut self, counters: &BTreeMap<String, i64>) -> Result<(), StoreError> {
        self.conn.set_counters(counters).await?;
        for query in std::mem::take(&mut self.silenced) {
            self.conn.run(query).await?;
        }
        self.conn.migrate(self.migrations, None).await?;
        self.conn.start_journal_afresh(JOURNAL_JUMP).await?;
        self.conn.forget_index().await?;
        let committed = self.conn.execute("COMMIT").await;
        match (&self.conn.0, committed) {
            (Inner::Sqlite(_), committed) => {
                committed?;
                // It is all in the log, which would stay as large as the database. That can be done later too.
                if let Err(error) = self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await {
                    tracing::warn!(%error, "the log of the restored database was not folded in");
                }
                Ok(())
            }
            (Inner::Postgres(_), Ok(())) => Ok(()),
            (Inner::Postgres(_), Err(error)) => Err(StoreError::Unknown(error.to_string())),
        }
    }
}

fn newest(location: &Location) -> i64 {
    let migrations = match location {
        Location::Sqlite(_) => &sqlite::MIGRATIONS,
        Location::Postgres(_) => &postgres::MIGRATIONS,
    };
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Conn {
    /// The last migration.
    async fn schema_version(&mut self) -> Result<i64, StoreError> {
        if !self.has_migrations().await? {
            return Err(StoreError::NotPatchbay);
        }
        let query = Query::new("SELECT CAST(max(version) AS BIGINT) FROM _sqlx_migrations");
        let found = self.optional::<(Option<i64>,)>(query).await?;
        found.and_then(|(version,)| version).ok_or(StoreError::NotPatchbay)
    }

    async fn migrate(&mut self, migrations: &Migrator, to: Option<i64>) -> Result<(), StoreError> {
        on!(self, |c| migrations.run_direct(to, c, false).await.map_err(migration))
    }

    /// Begins a transaction in which the migrations' own are savepoints: sqlx counts those it has begun. Its guard
    /// would borrow the connection, and would do nothing but roll back when it is dropped, as the end of the
    /// connection does.
    async fn begin_nested(&mut self) -> Result<(), StoreError> {
        on!(self, |c| std::mem::forget(c.begin().await?));
        Ok(())
    }
}
