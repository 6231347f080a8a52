//! `/api/admin/plugins/{name}/…`: what an operator sees of a plugin and does about it.

use axum::extract::State;
use http::StatusCode;
use patchbay_core::Timestamp;
use patchbay_protocol::{DeadLetter, List, Plugin, PluginLogLine, Redeliver, Redelivered};
use patchbay_runtime::capabilities::log::LogLevel;
use patchbay_store::DeadLetterRow;
use serde_json::value::RawValue;

use super::{
    Failure,
    admin::shown,
    extract::{Id, Json, PageParams, Params},
    openapi::Document,
};
use crate::{app::App, ops::Admin, plugin_log::Line};

type Answer<T> = Result<axum::Json<T>, Failure>;

/// Most ids of one request.
const MAX_IDS: usize = 200;

fn list<T>(items: Vec<T>, has_more: bool) -> axum::Json<List<T>> {
    axum::Json(List { items, has_more, extensions_omitted: Vec::new() })
}

pub(super) async fn roll_back(State(app): State<App>, by: Admin, Id(name): Id<String>) -> Answer<Plugin> {
    Ok(axum::Json(shown(app.plugins.roll_back(&by, &name).await?)))
}

pub(super) async fn remove(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
) -> Result<StatusCode, Failure> {
    app.plugins.remove(&by, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn backfill(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
) -> Result<(StatusCode, axum::Json<Plugin>), Failure> {
    app.plugins.backfill(&by, &name).await?;
    let plugin = app.plugins.get(&by.actor, &name).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown(plugin))))
}

pub(super) async fn log(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
    Params(params): Params<PageParams>,
) -> Answer<List<PluginLogLine>> {
    let page = params.request()?;
    // Only to see that there is one, and that the caller may know.
    app.plugins.get(&by.actor, &name).await?;
    let limit = usize::try_from(page.limit).unwrap_or(0);
    let mut lines = app.ops.plugin_log().page(&name, page.before, page.after, limit + 1);
    let has_more = lines.len() > limit;
    if page.after.is_some() && has_more {
        // They lie after `after`; the one too many is the farthest from it.
        lines.remove(0);
    }
    lines.truncate(limit);
    Ok(list(lines.into_iter().map(line).collect(), has_more))
}

fn line(line: Line) -> PluginLogLine {
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    PluginLogLine { id: line.id, at: line.at.into(), level, message: line.text }
}

pub(super) async fn dead_letters(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
    Params(params): Params<PageParams>,
) -> Answer<List<DeadLetter>> {
    let page = app.plugins.dead_letters(&by, &name, params.request()?).await?;
    Ok(list(page.items.into_iter().map(letter).collect::<Result<_, _>>()?, page.has_more))
}

fn letter(row: DeadLetterRow) -> Result<DeadLetter, Failure> {
    // Who administers plugins does not thereby read what people write to each other.
    let payload = (row.kind == "job").then(|| RawValue::from_string(row.payload)).transpose();
    let payload = payload
        .map_err(|error| crate::ops::Error::Internal(format!("the dead letter {}: {error}", row.id)))?;
    Ok(DeadLetter {
        id: row.id,
        kind: row.kind,
        seq: row.seq,
        channel_id: row.channel_id,
        message_id: row.message_id,
        actor_id: row.actor_id,
        payload,
        error: row.error,
        attempts: row.attempts,
        at: Timestamp(row.at).into(),
        created_at: Timestamp(row.created_at).into(),
    })
}

pub(super) async fn redeliver(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
    Json(body): Json<Redeliver>,
) -> Answer<Redelivered> {
    if body.ids.as_ref().is_some_and(|ids| !(1..=MAX_IDS).contains(&ids.len())) {
        return Err(Failure::field("ids", "length", format!("must have 1 to {MAX_IDS} items")));
    }
    let done = app.plugins.redeliver(&by, &name, body.ids).await?;
    Ok(axum::Json(Redelivered { redelivered: done.redelivered, failed: done.failed, left: done.left }))
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.delete("/api/admin/plugins/{name}", remove)
        .says(
            "Remove a plugin",
            "With its versions, settings, secrets, jobs, dead letters and its own state. What it wrote elsewhere stays.",
        )
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"])
        .refuses(409, &["bundled", "managed_by_settings"]);
    doc.post("/api/admin/plugins/{name}/rollback", roll_back)
        .says("Go back to the version before", "A second time goes forward again.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"])
        .refuses(409, &["managed_by_settings", "nothing_to_roll_back"])
        .refuses(422, super::openapi::OF_COMPONENTS);
    doc.post("/api/admin/plugins/{name}/backfill", backfill)
        .says(
            "Tell a plugin of all messages",
            "The oldest first, beside what happens meanwhile; `backfill` shows how far it is.",
        )
        .answers(202, "It has begun.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"])
        .refuses(409, &["no_events"]);
    doc.get("/api/admin/plugins/{name}/log", log)
        .says("Read a plugin's log", "The last 1,000 lines since the server started, the newest first.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"]);
    doc.get("/api/admin/plugins/{name}/dead-letters", dead_letters)
        .says("List what a plugin could not handle", "The newest first.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"]);
    doc.post("/api/admin/plugins/{name}/redeliver", redeliver)
        .says("Deliver dead letters again", "Those that are handled are removed.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"])
        .refuses(409, &["plugin_not_serving"]);
}
