//! A statement that is put together from pieces, for whichever database the connection turns out to be of
//! (sqlx's own builder wants to know that from the start).

use sqlx::{
    AssertSqlSafe, Database, Encode, FromRow, IntoArguments, Type, postgres::PgRow, sqlite::SqliteRow,
};

use crate::{
    Conn, StoreError,
    conn::{id_list, on},
};

/// SQL with numbered parameters, and their values.
#[derive(Debug)]
pub(crate) struct Query {
    sql: String,
    values: Values,
    cached: bool,
}

impl Query {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Values(Vec::new()), cached: true }
    }

    /// SQL that the database's own catalogue holds.
    pub(crate) fn of_catalogue(sql: String) -> Self {
        Self { sql, values: Values(Vec::new()), cached: false }
    }

    /// SQL as it stands, never what a user has written.
    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// The name of a table or column, as the catalogue has it.
    pub(crate) fn name(&mut self, name: &str) -> &mut Self {
        self.sql.push('"');
        self.sql.push_str(&name.replace('"', "\"\""));
        self.sql.push('"');
        self
    }

    /// A parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.0.push(value.into());
        self.sql.push('$');
        self.sql.push_str(&self.values.0.len().to_string());
        self
    }

    /// Parameters with commas between them; `NULL`, which nothing is among, if there are none.
    pub(crate) fn bind_list(&mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> &mut Self {
        let before = self.values.0.len();
        for value in values {
            if self.values.0.len() > before {
                self.push(", ");
            }
            self.bind(value);
        }
        if self.values.0.len() == before { self.push("NULL") } else { self }
    }

    /// Ids with commas between them, as part of the text (such a statement is not worth keeping prepared);
    /// `NULL`, which nothing is among, if there are none.
    pub(crate) fn ids(&mut self, ids: impl IntoIterator<Item = i64>) -> &mut Self {
        let list = id_list(ids);
        self.sql.push_str(if list.is_empty() { "NULL" } else { &list });
        self.uncached()
    }

    /// The text alone, of a statement without parameters.
    pub(crate) fn into_sql(self) -> String {
        self.sql
    }

    /// Runs it on PostgreSQL.
    pub(crate) async fn all_on_postgres<T: FromAnyRow>(
        self,
        connection: &mut sqlx::PgConnection,
    ) -> Result<Vec<T>, sqlx::Error> {
        let query = sqlx::query_as_with::<_, T, _>(AssertSqlSafe(self.sql), self.values);
        query.persistent(self.cached).fetch_all(connection).await
    }

    /// There are too many forms of this statement for the connection's cache.
    pub(crate) fn uncached(&mut self) -> &mut Self {
        self.cached = false;
        self
    }
}

/// A value of a row: what a parameter can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Integer(Option<i64>),
    /// Yes or no.
    Boolean(Option<bool>),
    /// A text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

#[derive(Debug)]
struct Values(Vec<Value>);

impl<DB: Database> IntoArguments<DB> for Values
where
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<bool>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<Vec<u8>>: for<'q> Encode<'q, DB> + Type<DB>,
{
    fn into_arguments(self) -> DB::Arguments {
        use sqlx::Arguments;
        let mut arguments = DB::Arguments::default();
        for value in self.0 {
            // None of these can fail to be encoded; if one did, the database would miss a parameter.
            let _ = match value {
                Value::Integer(value) => arguments.add(value),
                Value::Boolean(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            };
        }
        arguments
    }
}

/// What a row of either database can become.
pub(crate) trait FromAnyRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> FromAnyRow for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl Conn {
    pub(crate) async fn all<T: FromAnyRow>(&mut self, query: Query) -> Result<Vec<T>, StoreError> {
        let Query { sql, values, cached } = query;
        Ok(on!(self, |c| {
            sqlx::query_as_with::<_, T, _>(AssertSqlSafe(sql), values).persistent(cached).fetch_all(c).await?
        }))
    }

    pub(crate) async fn optional<T: FromAnyRow>(&mut self, query: Query) -> Result<Option<T>, StoreError> {
        let Query { sql, values, cached } = query;
        Ok(on!(self, |c| {
            sqlx::query_as_with::<_, T, _>(AssertSqlSafe(sql), values)
                .persistent(cached)
                .fetch_optional(c)
                .await?
        }))
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn run(&mut self, query: Query) -> Result<u64, StoreError> {
        let Query { sql, values, cached } = query;
        Ok(on!(self, |c| {
            sqlx::query_with(AssertSqlSafe(sql), values).persistent(cached).execute(c).await?.rows_affected()
        }))
    }
}
