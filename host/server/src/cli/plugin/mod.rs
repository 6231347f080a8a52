//! `patchbay plugin …`
//!
//! Owns: the commands and the requests that each is. take_in.rs: installing, upgrading, granting; show.rs: what is
//! printed. Must not: decide anything that the operations decide.

mod show;
mod take_in;

pub(super) use take_in::{Source, pack, take_in};

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{Settings, author::AuthorCommand, operator::Operator, say, secret};
use crate::app::StartError;

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    #[command(flatten)]
    Author(AuthorCommand),
    /// Make an installable component: wrap a core module if it is one, and add its manifest.
    Pack {
        /// A core module built with wit-bindgen, or a component.
        input: PathBuf,
        /// The manifest.
        #[arg(long, default_value = "plugin.toml")]
        manifest: PathBuf,
        /// Where to write the component.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Install a packed component; its signature is read from FILE.minisig if that is there.
    Install {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        settings: Settings,
    },
    /// Replace the version that serves; says what the new one wants more or less than the old.
    Upgrade {
        /// The plugin's name.
        name: String,
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        settings: Settings,
    },
    /// Grant capabilities and, beginning with /, routes beyond the plugin's own prefix.
    Grant(Grants),
    /// Take grants back.
    Revoke(Grants),
    /// Print a plugin's configuration, or change it.
    Config(Pairs),
    /// Print the limits that a plugin's calls run under, or change them.
    Limits(Pairs),
    /// Let a plugin serve.
    Enable(One),
    /// Let a plugin serve no more; it keeps its state.
    Disable(One),
    /// Go back to the version that served before.
    Rollback(One),
    /// Remove a plugin with all its versions and its state.
    Remove {
        /// Don't ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        one: One,
    },
    /// Print the installed plugins: name, version, state, why.
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Print a plugin's log, the oldest line first.
    Logs {
        /// Go on as lines come.
        #[arg(long, short)]
        follow: bool,
        /// How many lines to begin with.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
        #[command(flatten)]
        one: One,
    },
    /// Print what a file says of itself without installing it, or all about an installed plugin.
    Inspect {
        /// A file, or the name of an installed plugin.
        #[arg(value_name = "FILE|NAME")]
        what: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print what a plugin could not handle: id, kind, seq, attempts, when, why.
    DeadLetters(One),
    /// Give a plugin what it could not handle once more.
    Redeliver {
        /// The plugin's name.
        name: String,
        /// Those with these ids; without any, all.
        ids: Vec<i64>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Tell a plugin the history of the channels that it hears.
    Backfill(One),
}

#[derive(Args)]
pub(super) struct One {
    /// The plugin's name.
    name: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
pub(super) struct Grants {
    /// The plugin's name.
    name: String,
    /// Names of capabilities, and path templates.
    #[arg(required = true, value_name = "CAPABILITY|ROUTE")]
    grants: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args)]
pub(super) struct Pairs {
    /// The plugin's name.
    name: String,
    /// What to set; an empty value takes the default again, and `-` is read from standard input, one line: other users of
    /// the machine can see what is written on the command line.
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

impl PluginCommand {
    /// None for what needs no deployment.
    pub(super) fn settings(&self) -> Option<&Settings> {
        match self {
            Self::Author(_) | Self::Pack { .. } => None,
            Self::Inspect { what, .. } if Path::new(what).is_file() => None,
            Self::Install { settings, .. }
            | Self::Upgrade { settings, .. }
            | Self::List { settings }
            | Self::Inspect { settings, .. }
            | Self::Redeliver { settings, .. } => Some(settings),
            Self::Grant(grants) | Self::Revoke(grants) => Some(&grants.settings),
            Self::Config(pairs) | Self::Limits(pairs) => Some(&pairs.settings),
            Self::Enable(one)
            | Self::Disable(one)
            | Self::Rollback(one)
            | Self::Remove { one, .. }
            | Self::Logs { one, .. }
            | Self::DeadLetters(one)
            | Self::Backfill(one) => Some(&one.settings),
        }
    }

    /// What needs no deployment.
    pub(super) fn run_alone(&self) -> Result<(), String> {
        match self {
            Self::Author(command) => command.run(),
            Self::Pack { input, manifest, out } => take_in::pack(input, manifest, out),
            Self::Inspect { what, .. } => print_inspection(Path::new(what)),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(&self, way: &Operator) -> Result<(), StartError> {
        way.start_plugins().await?;
        match self {
            Self::Author(_) | Self::Pack { .. } => {}
            Self::Install { source, .. } => take_in::install(way, source).await?,
            Self::Upgrade { name, source, .. } => take_in::upgrade(way, name, source).await?,
            Self::Grant(Grants { name, grants, .. }) => take_in::grant(way, name, grants, true).await?,
            Self::Revoke(Grants { name, grants, .. }) => take_in::grant(way, name, grants, false).await?,
            Self::Config(pairs) => set(way, pairs, "config").await?,
            Self::Limits(pairs) => set(way, pairs, "limits").await?,
            Self::Enable(one) => serve(way, &one.name, true).await?,
            Self::Disable(one) => serve(way, &one.name, false).await?,
            Self::Rollback(one) => {
                let plugin = way.call(Method::POST, &path(&one.name, "/rollback"), None).await?;
                show::state(&plugin);
            }
            Self::Remove { yes, one } => remove(way, &one.name, *yes).await?,
            Self::List { .. } => list(way).await?.iter().for_each(show::state),
            Self::Logs { follow, lines, one } => show::log(way, &one.name, *lines, *follow).await?,
            Self::Inspect { what, .. } => show::plugin(&find(way, what).await?),
            Self::DeadLetters(one) => show::dead_letters(way, &one.name).await?,
            Self::Redeliver { name, ids, .. } => {
                let body = if ids.is_empty() { json!({}) } else { json!({ "ids": ids }) };
                let done = way.call(Method::POST, &path(name, "/redeliver"), Some(&body)).await?;
                let [handled, failed, left] =
                    ["redelivered", "failed", "left"].map(|field| show::number(&done, field));
                say(&format!("{handled} handled, {failed} failed again, {left} not tried"));
            }
            Self::Backfill(one) => {
                let plugin = way.call(Method::POST, &path(&one.name, "/backfill"), None).await?;
                show::backfill(&one.name, plugin.get("backfill").unwrap_or(&Value::Null));
            }
        }
        Ok(())
    }
}

/// Prints what a file says of itself.
pub(super) fn print_inspection(file: &Path) -> Result<(), String> {
    show::inspection(&take_in::Candidate::read(file)?);
    Ok(())
}

/// The path of a plugin, or of something below it.
fn path(name: &str, below: &str) -> String {
    format!("/api/admin/plugins/{}{below}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

async fn find(way: &Operator, name: &str) -> Result<Value, StartError> {
    way.call(Method::GET, &path(name, ""), None).await
}

async fn list(way: &Operator) -> Result<Vec<Value>, StartError> {
    let list = way.call(Method::GET, "/api/admin/plugins?limit=200", None).await?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

async fn serve(way: &Operator, name: &str, enabled: bool) -> Result<(), StartError> {
    let plugin = way.call(Method::PATCH, &path(name, ""), Some(&json!({ "enabled": enabled }))).await?;
    show::state(&plugin);
    Ok(())
}

async fn remove(way: &Operator, name: &str, yes: bool) -> Result<(), StartError> {
    let question = format!("Remove {name} with all that it keeps?");
    if !yes && take_in::ask(&question) == Some(false) {
        return Err(format!("{name} stays").into());
    }
    way.call(Method::DELETE, &path(name, ""), None).await?;
    say(&format!("{name} is removed"));
    Ok(())
}

/// The keys of a plugin's config whose values are texts, whatever they look like.
fn texts(plugin: &Value) -> Vec<String> {
    let keys = plugin.get("config_keys").and_then(Value::as_array).into_iter().flatten();
    let is_text = |key: &&Value| {
        key.get("type").and_then(Value::as_str).is_some_and(|kind| matches!(kind, "string" | "secret"))
    };
    keys.filter(is_text).filter_map(|key| Some(key.get("key")?.as_str()?.to_owned())).collect()
}

/// Prints one object of a plugin, or changes members of it.
async fn set(way: &Operator, pairs: &Pairs, what: &str) -> Result<(), StartError> {
    let mut values = Map::new();
    let texts = if what == "config" { texts(&find(way, &pairs.name).await?) } else { Vec::new() };
    for pair in &pairs.pairs {
        let (key, text) = pair.split_once('=').ok_or_else(|| format!("{pair}: expected KEY=VALUE"))?;
        let read;
        let text = match text {
            "-" => {
                read = secret::read(key, true)?;
                read.as_str()
            }
            text => text,
        };
        let value = match text {
            "" => Value::Null,
            text if texts.iter().any(|name| name == key) => text.into(),
            // What is no JSON is text, so that nobody has to quote twice.
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        values.insert(key.to_owned(), value);
    }
    let plugin = if values.is_empty() {
        find(way, &pairs.name).await?
    } else {
        let mut body = Map::new();
        body.insert(what.to_owned(), values.into());
        way.call(Method::PATCH, &path(&pairs.name, ""), Some(&body.into())).await?
    };
    match what {
        "limits" => show::limits(&plugin),
        _ => show::pairs(plugin.get(what).unwrap_or(&Value::Null)),
    }
    Ok(())
}
