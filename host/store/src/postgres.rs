//! Opening a PostgreSQL database, and finding it again when it was away.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{Conn, READ_WAIT, READERS, STATEMENTS, StoreError, error::migration};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The lock that the one server that writes holds for as long as it is connected: "patchbay" in ASCII.
const LOCK: i64 = 0x7061_7463_6862_6179;
/// How long to wait for the lock at start. A server that has just been killed holds it until PostgreSQL notices.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for it when the connection was lost: a session that was ended says so before it lets go.
const LOCK_RELEASE: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of one attempt to reconnect may take.
const RECONNECT: Duration = Duration::from_secs(10);
/// A reader that has rested for this long is asked whether its server is still there before it is used, as is one
/// that is older than the writer's connection; for others the question would cost as much as the query.
const RESTED: Duration = Duration::from_secs(1);

/// Set for each session that writes: commits that wait for the disk even where the database's default is not to
/// (a stricter default stays), and an end to what a vanished client leaves behind, since it holds the lock.
const SESSION: &str = "SELECT
    CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', FALSE) END,
    set_config('statement_timeout', '20s', FALSE),
    set_config('idle_in_transaction_session_timeout', '60s', FALSE),
    set_config('tcp_keepalives_idle', '15', FALSE),
    set_config('tcp_keepalives_interval', '5', FALSE),
    set_config('tcp_keepalives_count', '3', FALSE)";

/// How to reach the database.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    options: PgConnectOptions,
    /// When the writer was last connected again: readers from before may have lost their server too.
    reconnected: Arc<Mutex<Option<Instant>>>,
}

impl Server {
    /// Checks the URL and goes nowhere yet.
    pub(crate) fn at(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        check_root_certificate(url)?;
        let options = options
            .application_name("patchbay")
            .statement_cache_capacity(STATEMENTS)
            .disable_statement_logging();
        Ok(Self { options, reconnected: Arc::default() })
    }

    /// The connection that writes, its database migrated, and those that read.
    pub(crate) async fn open(&self) -> Result<(Conn, PgPool), StoreError> {
        let mut writer = self.connect(LOCK_WAIT).await?;
        MIGRATIONS.run(&mut writer).await.map_err(migration)?;
        sqlx::query(SESSION).execute(&mut writer).await?;
        let reconnected = Arc::clone(&self.reconnected);
        let readers = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READ_WAIT)
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                let reconnected = *reconnected.lock().unwrap_or_else(PoisonError::into_inner);
                let doubtful = reconnected.is_some_and(|at| about.age > at.elapsed());
                Box::pin(async move {
                    if doubtful || about.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(self.options.clone().options([("default_transaction_read_only", "on")]))
            .await?;
        Ok((writer.into(), readers))
    }

    /// A connection that writes, with the lock, to a database that may not have been migrated.
    pub(crate) async fn open_to_write(&self) -> Result<Conn, StoreError> {
        Ok(self.connect(LOCK_WAIT).await?.into())
    }

    /// A connection that reads, whoever else is using the database.
    pub(crate) async fn open_to_read(&self) -> Result<Conn, StoreError> {
        let connected = timeout(CONNECT, self.options.connect()).await;
        Ok(connected.map_err(|_| silent())??.into())
    }

    /// Another connection that writes, in place of one that was lost, and the journal's head. The lock may still
    /// be with the lost one for a while.
    pub(crate) async fn reconnect(&self) -> Result<(Conn, i64), StoreError> {
        let reconnected = timeout(RECONNECT, async {
            let mut writer = self.connect(LOCK_RELEASE).await?;
            sqlx::query(SESSION).execute(&mut writer).await?;
            let mut conn = Conn::from(writer);
            let head = conn.journal_head().await?.0;
            *self.reconnected.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            Ok((conn, head))
        });
        reconnected.await.unwrap_or_else(|_| Err(silent()))
    }

    /// Connects and takes the lock.
    async fn connect(&self, patience: Duration) -> Result<PgConnection, StoreError> {
        let connected = timeout(CONNECT, self.options.connect()).await;
        let mut connection = connected.map_err(|_| silent())??;
        let deadline = Instant::now() + patience;
        loop {
            let locked = sqlx::query_scalar::<_, bool>("SELECT pg_try_advisory_lock($1)").bind(LOCK);
            if locked.fetch_one(&mut connection).await? {
                return Ok(connection);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::InUse);
            }
            sleep(LOCK_POLL).await;
        }
    }
}

/// Whether the certificate that the URL names is there: when connecting, its absence would look as if the database
/// were away.
fn check_root_certificate(url: &str) -> Result<(), StoreError> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    for (name, path) in form_urlencoded::parse(query.as_bytes()) {
        if matches!(&*name, "sslrootcert" | "ssl-root-cert" | "ssl-ca")
            && let Err(error) = std::fs::read(&*path)
        {
            let why = format!("sslrootcert {path}: {error}");
            return Err(StoreError::Database(sqlx::Error::Configuration(why.into())));
        }
    }
    Ok(())
}

fn silent() -> StoreError {
    StoreError::Unavailable("PostgreSQL does not answer".to_owned())
}
