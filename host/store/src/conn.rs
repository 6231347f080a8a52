//! One connection, whichever database is behind it. The queries are its methods, each beside its table.

use std::ops::DerefMut;

use sqlx::SqliteConnection;

/// A connection to the database.
pub struct Conn(pub(crate) Inner);

pub(crate) enum Inner {
    Sqlite(Box<dyn DerefMut<Target = SqliteConnection> + Send>),
}

/// Runs the same statement on whichever database it is: the SQL is shared, the types are not.
macro_rules! on {
    ($conn:expr, |$c:ident| $body:expr) => {
        match &mut $conn.0 {
            $crate::conn::Inner::Sqlite(held) => {
                let $c: &mut sqlx::SqliteConnection = &mut **held;
                $body
            }
        }
    };
}
pub(crate) use on;

impl Conn {
    pub(crate) fn new(connection: impl Into<Held>) -> Self {
        Self(Inner::Sqlite(connection.into().0))
    }

    /// Runs statements that return nothing.
    pub(crate) async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        on!(self, |c| sqlx::query(sql).execute(c).await.map(|_| ()))
    }
}

/// A connection that is owned or on loan from the pool.
pub(crate) struct Held(Box<dyn DerefMut<Target = SqliteConnection> + Send>);

impl From<SqliteConnection> for Held {
    fn from(connection: SqliteConnection) -> Self {
        Self(Box::new(Box::new(connection)))
    }
}

impl From<sqlx::pool::PoolConnection<sqlx::Sqlite>> for Held {
    fn from(connection: sqlx::pool::PoolConnection<sqlx::Sqlite>) -> Self {
        Self(Box::new(connection))
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
