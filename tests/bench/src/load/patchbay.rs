//! The server itself, built for release, with users who can talk to each other.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Result,
    child::Process,
    http::{Connection, request},
};

/// People whom a channel gets in one request at most.
const AT_ONCE: usize = 50;

/// A running server and its data.
pub struct Patchbay {
    /// `127.0.0.1:PORT`.
    pub address: String,
    pub process: Process,
    data: TempDir,
}

/// Somebody.
#[derive(Clone, Debug)]
pub struct User {
    pub id: i64,
    pub token: String,
}

fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("patchbay");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("{} is missing: run this by `cargo xtask bench`", program.display()).into())
}

impl Patchbay {
    /// Starts a server on an empty directory; on a file of its own, or on the database at this URL.
    pub fn start(database: Option<&str>) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, database)
    }

    /// Starts a server on made-up data with so many messages. Everybody's password is `correct horse`; `anna` is superuser.
    pub fn start_seeded(messages: usize) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(program()?);
        command.arg("seed-data").arg("--data-dir").arg(data.path()).args(["--password", "correct horse"]);
        command.arg("--messages").arg(messages.to_string()).current_dir(data.path());
        let made = command.output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        Self::start_in(data, None)
    }

    fn start_in(data: TempDir, database: Option<&str>) -> Result<Self> {
        let mut command = Command::new(program()?);
        command.arg("serve").arg("--data-dir").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
        command.args(["--set", "limits.rate=off"]).current_dir(data.path());
        if let Some(url) = database {
            command.arg("--set").arg(format!("database.url={url}"));
        }
        let (process, address) = Process::start(&mut command, |line| {
            Some(line.split_once(" listens on http://")?.1.trim().to_owned())
        })?;
        Ok(Self { address, process, data })
    }

    /// The file of its database, if it is one.
    pub fn database_file(&self) -> String {
        self.data.path().join("patchbay.db").display().to_string()
    }

    /// Makes so many users.
    pub async fn users(&self, count: usize) -> Result<Vec<User>> {
        let mut connection = Connection::open(&self.address).await?;
        let mut users = Vec::new();
        for n in 0..count {
            let body = json!({
                "username": format!("user{n}"), "email": format!("user{n}@example.org"),
                "password": "correct horse",
            });
            let register = request("POST", "/api/auth/register", "", &body.to_string());
            connection.send(&register).await?.json()?;
            let body = json!({ "username": format!("user{n}"), "password": "correct horse" });
            let login = request("POST", "/api/auth/login", "", &body.to_string());
            let tokens = connection.send(&login).await?.json()?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let id = tokens.pointer("/user/id").and_then(Value::as_i64).ok_or("no user")?;
            users.push(User { id, token: tokens.get("access_token").map(text).ok_or("no token")? });
        }
        Ok(users)
    }

    /// Makes a channel of these users, whom the first makes; its id.
    pub async fn channel(&self, users: &[User]) -> Result<i64> {
        let mut connection = Connection::open(&self.address).await?;
        let owner = users.first().ok_or("nobody")?;
        let (first, rest) = users.split_at(users.len().min(AT_ONCE));
        let ids: Vec<i64> = first.iter().map(|user| user.id).collect();
        let body = json!({ "name": "bench", "member_ids": ids }).to_string();
        let made = connection.send(&request("POST", "/api/channels", &owner.token, &body)).await?.json()?;
        let channel = made.get("id").and_then(Value::as_i64).ok_or("no channel")?;
        let path = format!("/api/channels/{channel}/members");
        for user in rest {
            let body = json!({ "user_id": user.id }).to_string();
            connection.send(&request("POST", &path, &owner.token, &body)).await?.json()?;
        }
        Ok(channel)
    }
}
