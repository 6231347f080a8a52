//! One connection, whichever database is behind it. The queries are its methods, each beside its table.

use std::ops::DerefMut;

use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, pool::PoolConnection};

/// A connection to the database.
pub struct Conn(pub(crate) Inner);

/// Owned or on loan from a pool.
type Held<C> = Box<dyn DerefMut<Target = C> + Send>;

pub(crate) enum Inner {
    Sqlite(Held<SqliteConnection>),
    Postgres(Held<PgConnection>),
}

/// Runs the same statement on whichever database it is: the SQL is shared, the types are not.
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {
        match &mut $conn.0 {
            $crate::conn::Inner::Sqlite(held) => {
                let $c: &mut sqlx::SqliteConnection = &mut **held;
                $body
            }
            $crate::conn::Inner::Postgres(held) => {
                let $c: &mut sqlx::PgConnection = &mut **held;
                $body
            }
        }
    };
}
pub(crate) use on;

impl Conn {
    /// Runs statements that return nothing.
    pub(crate) async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        on!(self, |c| sqlx::query(sql).execute(c).await.map(|_| ()))
    }

    /// Begins the transaction of a batch. SQLite takes its lock at once: a transaction that reads first and
    /// writes later could find that it may not.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let sql = match self.0 {
            Inner::Sqlite(_) => "BEGIN IMMEDIATE",
            Inner::Postgres(_) => "BEGIN",
        };
        self.execute(sql).await
    }
}

impl Conn {
    /// Stands in for a connection that has been given up, so that its server sees it end: nothing can be done with it.
    pub(crate) async fn none() -> Result<Self, sqlx::Error> {
        let nothing = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true);
        Ok(sqlx::ConnectOptions::connect(&nothing).await?.into())
    }
}

impl From<SqliteConnection> for Conn {
    fn from(connection: SqliteConnection) -> Self {
        Self(Inner::Sqlite(Box::new(Box::new(connection))))
    }
}

impl From<PgConnection> for Conn {
    fn from(connection: PgConnection) -> Self {
        Self(Inner::Postgres(Box::new(Box::new(connection))))
    }
}

impl From<PoolConnection<Sqlite>> for Conn {
    fn from(connection: PoolConnection<Sqlite>) -> Self {
        Self(Inner::Sqlite(Box::new(connection)))
    }
}

impl From<PoolConnection<Postgres>> for Conn {
    fn from(connection: PoolConnection<Postgres>) -> Self {
        Self(Inner::Postgres(Box::new(connection)))
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conn")
    }
}

/// `1,2,3`, to be put between the parentheses of an `IN`. Only ever made of integers.
pub(crate) fn id_list(ids: impl IntoIterator<Item = i64>) -> String {
    let mut list = String::new();
    for id in ids {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&id.to_string());
    }
    list
}

/// Makes a text match itself in a `LIKE … ESCAPE '\'`.
pub(crate) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
