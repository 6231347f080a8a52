//! What commands print of plugins.

use std::time::Duration;

use http::Method;
use patchbay_runtime::limits::TABLE;
use serde_json::Value;

use super::{path, take_in::Candidate};
use crate::{
    app::StartError,
    cli::{operator::Operator, say},
};

/// How often `logs --follow` looks.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_i64).unwrap_or_default()
}

/// A value as one would type it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A plugin in one line.
pub(super) fn state(plugin: &Value) {
    let fields = ["name", "version", "state", "reason"].map(|field| text(plugin, field));
    say(fields.join("\t").trim_end());
}

/// All about a plugin.
pub(super) fn plugin(plugin: &Value) {
    for (name, value) in plugin.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if items.iter().all(Value::is_string) => {
                say(&format!("{name}: {}", items.iter().map(plain).collect::<Vec<_>>().join(", ")));
            }
            Value::Array(items) => {
                say(&format!("{name}:"));
                items.iter().for_each(|item| say(&format!("  {}", members(item))));
            }
            Value::Object(_) => {
                say(&format!("{name}:"));
                pairs(value);
            }
            _ => say(&format!("{name}: {}", plain(value))),
        }
    }
}

fn members(value: &Value) -> String {
    let Some(members) = value.as_object() else { return plain(value) };
    let set = members.iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(" ")
}

/// The members of an object, one a line.
pub(super) fn pairs(object: &Value) {
    for (name, value) in object.as_object().into_iter().flatten() {
        say(&format!("  {name}={}", plain(value)));
    }
}

/// A plugin's limits, what differs from the default marked.
pub(super) fn limits(plugin: &Value) {
    for limit in TABLE {
        let value = plugin.get("limits").and_then(|limits| limits.get(limit.name)).and_then(Value::as_u64);
        let value = value.unwrap_or(limit.default);
        let default = if value == limit.default {
            String::new()
        } else {
            format!(" (default {}; {} to {})", limit.default, limit.min, limit.max)
        };
        say(&format!("{}={value}{default}", limit.name));
    }
}

/// What a file says of itself.
pub(super) fn inspection(candidate: &Candidate) {
    let inspection = &candidate.inspection;
    let manifest = &inspection.manifest;
    say(&format!("{} {}: {}", manifest.name, manifest.version, manifest.description));
    say(&format!("digest: {}", inspection.digest));
    say(&format!("bytes: {}", candidate.bytes.len()));
    let list = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(", ");
    say(&format!("capabilities: {}", list(&mut manifest.capabilities.iter())));
    say(&format!("imports: {}", list(&mut inspection.wanted.iter())));
    say(&format!("exports: {}", list(&mut inspection.exports.iter())));
    for route in &manifest.routes {
        let methods = route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(",");
        let beyond = if manifest.owns_path(&route.path) { "" } else { " (to be granted)" };
        say(&format!("route: {methods} {}{beyond}", route.path));
    }
    let listed = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            say(&format!("{what}: {}", names.join(", ")));
        }
    };
    listed("requests to", manifest.egress.iter().map(ToString::to_string).collect());
    listed("hears of", manifest.events.iter().map(ToString::to_string).collect());
    listed("hooks", manifest.hooks.iter().map(|moment| moment.as_str().to_owned()).collect());
    listed("commands", manifest.commands.iter().map(|command| format!("/{}", command.name)).collect());
    listed("jobs", manifest.jobs.iter().map(|job| job.name.clone()).collect());
    listed("config", manifest.config.iter().map(|key| key.key.clone()).collect());
    say(&format!("signature: {}", if candidate.signature.is_some() { "a file beside it" } else { "none" }));
}

/// A plugin's log, the oldest line first.
pub(super) async fn log(way: &Operator, name: &str, lines: u32, follow: bool) -> Result<(), StartError> {
    let mut limit = lines;
    let mut last: Option<Value> = None;
    loop {
        let page = way.call(Method::GET, &path(name, &format!("/log?limit={limit}")), None).await?;
        let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let new: Vec<_> = items.iter().take_while(|item| Some(*item) != last.as_ref()).collect();
        for item in new.iter().rev() {
            say(&format!("{} {:5} {}", text(item, "at"), text(item, "level"), text(item, "message")));
        }
        last = new.first().map(|item| (*item).clone()).or(last);
        if !follow {
            return Ok(());
        }
        // What came meanwhile may be more than was asked for at first.
        limit = 200;
        tokio::time::sleep(LOOK).await;
    }
}

/// What a plugin could not handle.
pub(super) async fn dead_letters(way: &Operator, name: &str) -> Result<(), StartError> {
    let page = way.call(Method::GET, &path(name, "/dead-letters?limit=200"), None).await?;
    for letter in page.get("items").and_then(Value::as_array).into_iter().flatten() {
        let fields = ["id", "kind", "seq", "attempts", "created_at", "error"];
        let fields = fields.map(|field| letter.get(field).map(plain).unwrap_or_default());
        say(&fields.join("\t"));
    }
    if page.get("has_more").and_then(Value::as_bool).unwrap_or_default() {
        say("… and more");
    }
    Ok(())
}

/// How far history has been told.
pub(super) fn backfill(name: &str, backfill: &Value) {
    say(&format!(
        "{name} has been told {} of {} messages",
        number(backfill, "done"),
        number(backfill, "total")
    ));
}
