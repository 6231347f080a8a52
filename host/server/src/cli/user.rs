//! `patchbay user …`

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Settings, operator::Operator, say, secret};
use crate::app::StartError;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Make an account, whoever may register.
    Create {
        /// 2 to 32 of letters, digits, `_ . -`.
        username: String,
        /// The e-mail address.
        #[arg(long)]
        email: String,
        /// The name to show.
        #[arg(long)]
        full_name: Option<String>,
        /// It administers the deployment.
        #[arg(long)]
        superuser: bool,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        settings: Settings,
    },
    /// Replace a password; the account's sessions end.
    SetPassword {
        #[command(flatten)]
        user: Name,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        settings: Settings,
    },
    /// Let nobody use an account any more; its sessions end.
    Deactivate(One),
    /// Let an account be used again.
    Activate(One),
    /// Let an account administer the deployment.
    Promote(One),
    /// Let an account administer no more.
    Demote(One),
    /// Print the accounts: id, name, address, what is special.
    List {
        /// Only those with this text in name, full name or address.
        #[arg(default_value = "")]
        query: String,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Args)]
pub(super) struct Name {
    /// Username or e-mail address.
    #[arg(value_name = "USER")]
    name: String,
}

#[derive(Args)]
pub(super) struct One {
    #[command(flatten)]
    user: Name,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
pub(super) struct Password {
    /// Read the password from standard input, up to the end of its first line, instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

impl Password {
    fn read(&self) -> Result<String, String> {
        secret::read("Password", self.password_stdin)
    }
}

impl UserCommand {
    pub(super) fn settings(&self) -> &Settings {
        match self {
            Self::Create { settings, .. }
            | Self::SetPassword { settings, .. }
            | Self::List { settings, .. } => settings,
            Self::Deactivate(one) | Self::Activate(one) | Self::Promote(one) | Self::Demote(one) => {
                &one.settings
            }
        }
    }

    /// Asks for what is needed before anything is opened.
    pub(super) fn prepare(&self) -> Result<Option<String>, String> {
        match self {
            Self::Create { password, .. } | Self::SetPassword { password, .. } => password.read().map(Some),
            _ => Ok(None),
        }
    }

    pub(super) async fn run(&self, way: &Operator, password: Option<String>) -> Result<(), StartError> {
        match self {
            Self::Create { username, email, full_name, superuser, .. } => {
                let body = json!({
                    "username": username, "email": email, "full_name": full_name, "password": password,
                    "is_superuser": superuser,
                });
                let user = way.call(Method::POST, "/control/users", Some(&body)).await?;
                say(&format!("{username} was created with id {}", id(&user)));
            }
            Self::SetPassword { user, .. } => {
                let path = format!("/control/users/{}/password", find(way, &user.name).await?);
                way.call(Method::PUT, &path, Some(&json!({ "password": password }))).await?;
                say(&format!("{} has a new password, and its sessions have ended", user.name));
            }
            Self::Deactivate(one) => change(way, one, &json!({ "is_active": false }), "inactive").await?,
            Self::Activate(one) => change(way, one, &json!({ "is_active": true }), "active").await?,
            Self::Promote(one) => change(way, one, &json!({ "is_superuser": true }), "a superuser").await?,
            Self::Demote(one) => change(way, one, &json!({ "is_superuser": false }), "no superuser").await?,
            Self::List { query, .. } => list(way, query).await?,
        }
        Ok(())
    }
}

fn id(user: &Value) -> i64 {
    user.get("id").and_then(Value::as_i64).unwrap_or_default()
}

/// The id of a user by name or address.
async fn find(way: &Operator, name: &str) -> Result<i64, StartError> {
    let path = format!("/control/users/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    Ok(id(&way.call(Method::GET, &path, None).await?))
}

async fn change(way: &Operator, one: &One, body: &Value, what: &str) -> Result<(), StartError> {
    let path = format!("/api/admin/users/{}", find(way, &one.user.name).await?);
    way.call(Method::PATCH, &path, Some(body)).await?;
    say(&format!("{} is {what}", one.user.name));
    Ok(())
}

async fn list(way: &Operator, query: &str) -> Result<(), StartError> {
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC).to_string();
    let mut after = 0;
    loop {
        let path = format!("/api/admin/users?limit=200&query={query}&after={after}");
        let page = way.call(Method::GET, &path, None).await?;
        for user in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default();
            let is = |name: &str| user.get(name).and_then(Value::as_bool).unwrap_or_default();
            let marks =
                [("superuser", is("is_superuser")), ("inactive", !is("is_active")), ("bot", is("is_bot"))];
            let marks: Vec<_> = marks.into_iter().filter(|(_, is)| *is).map(|(mark, _)| mark).collect();
            after = id(user);
            say(&format!("{after}\t{}\t{}\t{}", text("username"), text("email"), marks.join(",")));
        }
        if !page.get("has_more").and_then(Value::as_bool).unwrap_or_default() {
            return Ok(());
        }
    }
}
