//! A bare axum handler that posts a message: it parses the body, verifies the token, and inserts the one row by a group
//! commit. No permissions, no events, nothing that would make it a chat.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, SqliteConnection,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::load::{Error, Result, child::Process};

/// Rows in one transaction, and rows that wait, as in the server.
const MAX_BATCH: usize = 64;
const QUEUE: usize = 1024;
const SECRET: &[u8] = b"thirty-two bytes for HMAC-SHA256";

/// The process, its address, and a token that it accepts. The database is a file, or a URL of PostgreSQL.
pub fn start(database: &str) -> Result<(Process, String, String)> {
    let (process, said) = super::start(&["floor-post", database])?;
    let (address, token) = said.split_once(' ').ok_or("no address")?;
    Ok((process, address.to_owned(), token.to_owned()))
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    sid: i64,
    pair: i64,
    iat: i64,
    exp: i64,
    iss: String,
}

#[derive(Debug, Deserialize)]
struct NewMessage {
    content: String,
}

/// A row to be inserted, and who waits for its id.
struct Row {
    channel: i64,
    sender: i64,
    content: String,
    reply: oneshot::Sender<i64>,
}

struct App {
    key: DecodingKey,
    validation: Validation,
    rows: mpsc::Sender<Row>,
}

/// Serves until the process is ended.
pub fn serve(arguments: &[String]) -> Result<()> {
    let database = arguments.first().ok_or("no database")?.clone();
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    executor.block_on(async move {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&["bench"]);
        let (rows, queue) = mpsc::channel(QUEUE);
        let connection = Database::open(&database).await?;
        tokio::spawn(write(connection, queue));
        let app = App { key: DecodingKey::from_secret(SECRET), validation, rows };
        let router = Router::new()
            .route("/api/channels/{channel}/messages", post(post_message))
            .with_state(Arc::new(app));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("serves {} {}", listener.local_addr()?, token()?);
        Ok(axum::serve(listener, router).await?)
    })
}

fn token() -> Result<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let claims =
        Claims { sub: "1".to_owned(), sid: 1, pair: 1, iat: now, exp: now + 86_400, iss: "bench".to_owned() };
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET))?)
}

async fn post_message(
    State(app): State<Arc<App>>,
    Path(channel): Path<i64>,
    headers: HeaderMap,
    Json(new): Json<NewMessage>,
) -> std::result::Result<(StatusCode, Json<Value>), StatusCode> {
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    let claims = jsonwebtoken::decode::<Claims>(token, &app.key, &app.validation);
    let sender = claims.ok().and_then(|token| token.claims.sub.parse().ok());
    let sender = sender.ok_or(StatusCode::UNAUTHORIZED)?;
    let (reply, id) = oneshot::channel();
    let answer = new.content.clone();
    let row = Row { channel, sender, content: new.content, reply };
    app.rows.send(row).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let id = id.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "channel_id": channel, "content": answer }))))
}

/// One connection, with the settings that make a commit durable.
pub enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Runs the same with either connection.
macro_rules! on {
    ($database:expr, |$connection:ident| $body:expr) => {
        match $database {
            Database::Sqlite($connection) => $body,
            Database::Postgres($connection) => $body,
        }
    };
}

impl Database {
    /// Opens it and makes the table.
    pub async fn open(database: &str) -> Result<Self> {
        let mut opened = if database.starts_with("postgres://") {
            Self::Postgres(database.parse::<PgConnectOptions>()?.connect().await?)
        } else {
            let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
            let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
            Self::Sqlite(options.connect().await?)
        };
        let id = match opened {
            Self::Sqlite(_) => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Self::Postgres(_) => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        };
        let table = format!(
            "CREATE TABLE messages (id {id}, channel_id BIGINT NOT NULL, sender_id BIGINT NOT NULL,
                                    content TEXT NOT NULL, created_at BIGINT NOT NULL)"
        );
        on!(&mut opened, |c| { sqlx::raw_sql(sqlx::AssertSqlSafe(table)).execute(c).await.map(drop) })?;
        Ok(opened)
    }

    /// Inserts a row in a transaction of its own.
    pub async fn insert(&mut self, channel: i64, sender: i64, content: &str) -> Result<i64> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let sql = "INSERT INTO messages (channel_id, sender_id, content, created_at)
                   VALUES ($1, $2, $3, $4) RETURNING id";
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(sql)
                .bind(channel)
                .bind(sender)
                .bind(content)
                .bind(now)
                .fetch_one(c)
                .await?
        }))
    }

    async fn transaction(&mut self, rows: Vec<Row>) -> Result<()> {
        on!(&mut *self, |c| { sqlx::query("BEGIN").execute(c).await.map(drop) })?;
        let mut replies = Vec::new();
        for row in rows {
            replies.push((row.reply, self.insert(row.channel, row.sender, &row.content).await?));
        }
        on!(&mut *self, |c| { sqlx::query("COMMIT").execute(c).await.map(drop) })?;
        for (reply, id) in replies {
            let _ = reply.send(id);
        }
        Ok(())
    }

    /// Ends the connection.
    pub async fn close(self) -> Result<()> {
        Ok(on!(self, |c| c.close().await)?)
    }
}

async fn write(mut database: Database, mut queue: mpsc::Receiver<Row>) {
    while let Some(first) = queue.recv().await {
        let mut rows = vec![first];
        while rows.len() < MAX_BATCH
            && let Ok(row) = queue.try_recv()
        {
            rows.push(row);
        }
        if let Err(error) = database.transaction(rows).await {
            let error: Error = error;
            eprintln!("the floor can't write: {error}");
            return;
        }
    }
}
