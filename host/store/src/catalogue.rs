//! Which tables there are, by what the database itself says: what copies all of them can't forget one.
//!
//! Owns: the queries of both databases' catalogues. Must not: know any table by name, but for the one in which the
//! migrations are remembered.

use std::collections::BTreeMap;

use crate::{Conn, StoreError, conn::Inner, query::Query};

/// A table, as both databases have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order in which they were made.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    pub key: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Integer,
    /// Yes or no.
    Boolean,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

impl Kind {
    /// By the type that a migration gives.
    fn of(declared: &str) -> Option<Self> {
        Some(match declared.to_ascii_lowercase().as_str() {
            "integer" | "bigint" => Self::Integer,
            "boolean" => Self::Boolean,
            "text" => Self::Text,
            "blob" | "bytea" => Self::Bytes,
            _ => return None,
        })
    }
}

/// Virtual tables (FTS5) and those behind them are of other types: an index of words is made from other tables.
const SQLITE_TABLES: &str = "SELECT t.name, c.name, c.type, CAST(c.pk AS BIGINT)
    FROM pragma_table_list AS t JOIN pragma_table_info(t.name) AS c
    WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY t.name, c.cid";
const SQLITE_REFERENCES: &str = "SELECT t.name, f.\"table\"
    FROM pragma_table_list AS t JOIN pragma_foreign_key_list(t.name) AS f WHERE t.schema = 'main'";
const SQLITE_COUNTERS: &str = "SELECT name, seq FROM sqlite_sequence";

/// Without tables that hold a `tsvector`, for the same reason.
const POSTGRES_TABLES: &str = "SELECT t.relname::TEXT, c.attname::TEXT, format_type(c.atttypid, NULL),
        coalesce(array_position(k.indkey::INT2[], c.attnum) + 1, 0)::BIGINT
    FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid
        LEFT JOIN pg_index k ON k.indrelid = t.oid AND k.indisprimary
    WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p')
        AND c.attnum > 0 AND NOT c.attisdropped AND c.attgenerated = ''
        AND NOT EXISTS (SELECT 1 FROM pg_attribute w WHERE w.attrelid = t.oid AND w.atttypid = 'tsvector'::regtype)
    ORDER BY t.relname, c.attnum";
const POSTGRES_REFERENCES: &str = "SELECT t.relname::TEXT, r.relname::TEXT
    FROM pg_constraint f JOIN pg_class t ON t.oid = f.conrelid JOIN pg_class r ON r.oid = f.confrelid
    WHERE f.contype = 'f' AND t.relnamespace = current_schema()::regnamespace";
const POSTGRES_COUNTERS: &str = "SELECT t.relname::TEXT, coalesce(pg_sequence_last_value(s.oid), 0)
    FROM pg_class s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'i'
        JOIN pg_class t ON t.oid = d.refobjid
    WHERE s.relkind = 'S' AND t.relnamespace = current_schema()::regnamespace";

/// What remembers the migrations: it is made by them and belongs to no copy.
const MIGRATIONS: &str = "_sqlx_migrations";

impl Conn {
    fn dialect(&self, sqlite: &'static str, postgres: &'static str) -> Query {
        Query::new(match self.0 {
            Inner::Sqlite(_) => sqlite,
            Inner::Postgres(_) => postgres,
        })
    }

    /// Whether there is no table at all.
    pub(crate) async fn is_blank(&mut self) -> Result<bool, StoreError> {
        let query = self.dialect(SQLITE_TABLES, POSTGRES_TABLES);
        Ok(self.all::<(String, String, String, i64)>(query).await?.is_empty())
    }

    /// Whether Patchbay has ever been here.
    pub(crate) async fn has_migrations(&mut self) -> Result<bool, StoreError> {
        let query = self.dialect(SQLITE_TABLES, POSTGRES_TABLES);
        let columns = self.all::<(String, String, String, i64)>(query).await?;
        Ok(columns.iter().any(|(table, ..)| table == MIGRATIONS))
    }

    /// Every table but that of the migrations; what refers to a table comes after it.
    pub(crate) async fn tables(&mut self) -> Result<Vec<Table>, StoreError> {
        let query = self.dialect(SQLITE_TABLES, POSTGRES_TABLES);
        let mut tables: Vec<(Table, BTreeMap<i64, String>)> = Vec::new();
        for (table, column, declared, place) in self.all::<(String, String, String, i64)>(query).await? {
            if table == MIGRATIONS {
                continue;
            }
            let kind = Kind::of(&declared)
                .ok_or_else(|| StoreError::Corrupt(format!("{table}.{column} is {declared}")))?;
            if tables.last().is_none_or(|(last, _)| last.name != table) {
                tables.push((Table { name: table, columns: Vec::new(), key: Vec::new() }, BTreeMap::new()));
            }
            if let Some((last, key)) = tables.last_mut() {
                if place > 0 {
                    key.insert(place, column.clone());
                }
                last.columns.push(Column { name: column, kind });
            }
        }
        let tables: Vec<Table> = tables
            .into_iter()
            .map(|(table, key)| Table { key: key.into_values().collect(), ..table })
            .collect();
        if let Some(table) = tables.iter().find(|table| table.key.is_empty()) {
            return Err(StoreError::Corrupt(format!("{} has no primary key", table.name)));
        }
        let query = self.dialect(SQLITE_REFERENCES, POSTGRES_REFERENCES);
        in_order(tables, &self.all::<(String, String)>(query).await?)
    }

    /// The largest id that each table with an identity column has ever given.
    pub(crate) async fn counters(&mut self) -> Result<BTreeMap<String, i64>, StoreError> {
        let query = self.dialect(SQLITE_COUNTERS, POSTGRES_COUNTERS);
        Ok(self.all::<(String, i64)>(query).await?.into_iter().collect())
    }

    /// Goes on giving ids after those of `counters`.
    pub(crate) async fn set_counters(&mut self, counters: &BTreeMap<String, i64>) -> Result<(), StoreError> {
        for (table, last) in counters.iter().filter(|(_, last)| **last > 0) {
            match self.0 {
                Inner::Sqlite(_) => {
                    let mut forget = Query::new("DELETE FROM sqlite_sequence WHERE name = ");
                    forget.bind(table.as_str());
                    self.run(forget).await?;
                    let mut set = Query::new("INSERT INTO sqlite_sequence (name, seq) VALUES (");
                    set.bind(table.as_str()).push(", ").bind(*last).push(")");
                    self.run(set).await?;
                }
                Inner::Postgres(_) => {
                    let mut set = Query::new(
                        "SELECT setval(pg_get_serial_sequence(quote_ident(attrelid::regclass::TEXT), attname), ",
                    );
                    set.bind(*last);
                    set.push(
                        ") FROM pg_attribute WHERE attidentity <> '' AND attrelid = to_regclass(quote_ident(",
                    );
                    set.bind(table.as_str()).push("))");
                    self.run(set).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps the tables' triggers from firing until the returned statements have been run.
    pub(crate) async fn silence_triggers(&mut self, tables: &[Table]) -> Result<Vec<Query>, StoreError> {
        let mut undo = Vec::new();
        match self.0 {
            Inner::Sqlite(_) => {
                let triggers = Query::new("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'");
                for (name, sql) in self.all::<(String, String)>(triggers).await? {
                    let mut drop = Query::new("DROP TRIGGER ");
                    drop.name(&name);
                    self.run(drop).await?;
                    undo.push(Query::of_catalogue(sql));
                }
            }
            Inner::Postgres(_) => {
                for table in tables {
                    let alter = |what| {
                        let mut alter = Query::new("ALTER TABLE ");
                        alter.name(&table.name).push(what);
                        alter
                    };
                    self.run(alter(" DISABLE TRIGGER USER")).await?;
                    undo.push(alter(" ENABLE TRIGGER USER"));
                }
            }
        }
        Ok(undo)
    }
}

/// What refers to another table comes after it. (One that refers to itself does so to an earlier row.)
fn in_order(mut tables: Vec<Table>, references: &[(String, String)]) -> Result<Vec<Table>, StoreError> {
    let mut ordered: Vec<Table> = Vec::new();
    while !tables.is_empty() {
        let ready = tables.iter().position(|table| {
            references.iter().all(|(from, to)| {
                *from != table.name || from == to || ordered.iter().any(|before| before.name == *to)
            })
        });
        let Some(ready) = ready else {
            return Err(StoreError::Corrupt("tables refer to each other in a circle".into()));
        };
        ordered.push(tables.remove(ready));
    }
    Ok(ordered)
}
