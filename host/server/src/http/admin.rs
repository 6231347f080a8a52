//! `/api/admin/…`

use axum::extract::{Request, State};
use http::StatusCode;
use patchbay_core::Timestamp;
use patchbay_protocol::{
    List, OnFailure, Plugin, PluginBackfill, PluginCalls, PluginConfigKey, PluginCursor, PluginHooks,
    PluginVersion, UpdatePlugin,
};
use patchbay_runtime::{ConfigKey, KindStats, Limit, Manifest, limits::TABLE};
use patchbay_store::{CursorRow, PluginRow};

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params, body, media_type},
    openapi::{Document, OF_COMPONENTS},
};
use crate::{
    app::App,
    ops::Admin,
    ops::plugins::{HookChanges, Installed, PluginChanges, State as PluginState, limits, signature},
};

/// Carries the component's `.minisig` file in base64.
pub(crate) const SIGNATURE: &str = "x-patchbay-signature";

type Answer<T> = Result<T, Failure>;

pub(super) fn shown(plugin: Installed) -> Plugin {
    let counted = plugin.counted.as_ref();
    let (state, reason) = match plugin.state {
        PluginState::Active => ("active", None),
        PluginState::Disabled => ("disabled", None),
        PluginState::PendingGrants(reason) => ("pending_grants", Some(reason)),
        PluginState::Failed(reason) => ("failed", Some(reason)),
        PluginState::Quarantined(reason) => ("quarantined", Some(reason)),
    };
    let capabilities_wanted = plugin.manifest.wanted().into_iter().collect();
    Plugin {
        bundled: plugin.row.bundled_digest.as_ref() == Some(&plugin.digest),
        version: plugin.manifest.version.to_string(),
        digest: plugin.digest,
        state,
        reason,
        enabled: plugin.row.enabled,
        capabilities_wanted,
        hooks: hooks(&plugin.manifest, &plugin.row),
        commands: plugin.manifest.commands.iter().map(|command| command.name.clone()).collect(),
        events: plugin.manifest.events.iter().map(ToString::to_string).collect(),
        cursor: plugin.cursor.as_ref().map(|cursor| shown_cursor(cursor, plugin.head)),
        backfill: plugin.cursor.as_ref().and_then(backfill),
        dead_letters: plugin.dead_letters,
        calls: counted.map_or_else(Vec::new, |counted| counted.kinds.iter().map(calls).collect()),
        waiting_calls: plugin.waiting_calls,
        traps: counted.map_or(0, |counted| counted.traps),
        cpu_ms: counted.map_or(0, |counted| u64::try_from(counted.cpu.as_millis()).unwrap_or(u64::MAX)),
        peak_memory_bytes: counted.map_or(0, |counted| counted.peak_memory),
        llm_tokens_today: plugin.llm_tokens_today,
        previous_digest: plugin.row.previous_digest,
        name: plugin.row.name,
        description: plugin.manifest.description,
        capabilities_granted: plugin.grants.capabilities.into_iter().collect(),
        routes_wanted: plugin.routes_wanted,
        routes_granted: plugin.grants.routes,
        config: plugin.config,
        config_keys: plugin.config_keys.into_iter().map(config_key).collect(),
        limits: limits::shown(&plugin.row.limits),
        versions: plugin
            .versions
            .into_iter()
            .map(|version| PluginVersion {
                version: version.version,
                digest: version.digest,
                installed_at: Timestamp(version.installed_at).into(),
                installed_by_id: version.installed_by,
                signed_by: version.signed_by,
            })
            .collect(),
        created_at: Timestamp(plugin.row.created_at).into(),
        updated_at: Timestamp(plugin.row.updated_at).into(),
    }
}

fn hooks(manifest: &Manifest, row: &PluginRow) -> Option<PluginHooks> {
    let moments: Vec<_> = manifest.hooks.iter().map(|moment| moment.as_str()).collect();
    let on_failure = if row.hooks_fail_closed { "closed" } else { "open" };
    (!moments.is_empty()).then_some(PluginHooks { moments, order: row.hook_order, on_failure })
}

fn shown_cursor(cursor: &CursorRow, head: i64) -> PluginCursor {
    PluginCursor {
        seq: cursor.seq,
        lag: (head - cursor.seq).max(0),
        attempts: cursor.attempts,
        retry_at: cursor.retry_at.map(|at| Timestamp(at).into()),
        last_error: cursor.last_error.clone(),
    }
}

fn backfill(cursor: &CursorRow) -> Option<PluginBackfill> {
    cursor.history_at.map(|_| PluginBackfill {
        total: cursor.history_total,
        done: cursor.history_done,
        running: cursor.history_until.is_some(),
    })
}

fn calls(kind: &KindStats) -> PluginCalls {
    let ms = |duration: std::time::Duration| duration.as_micros() as f64 / 1e3;
    PluginCalls {
        export: kind.kind.as_str(),
        calls: kind.calls,
        failures: kind.failures,
        unserved: kind.unserved,
        p50_ms: ms(kind.p50),
        p99_ms: ms(kind.p99),
    }
}

fn config_key((key, is_set): (ConfigKey, bool)) -> PluginConfigKey {
    PluginConfigKey {
        key: key.key,
        kind: key.kind.as_str(),
        description: key.description,
        required: key.required,
        default: key.default,
        is_set,
    }
}

pub(super) async fn plugins(
    State(app): State<App>,
    As(actor): As,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Plugin>>> {
    params.request()?;
    // They have names and no ids to page by.
    let params = PageParams { before: None, after: None, ..params };
    let (plugins, has_more) = params.of(app.plugins.list(&actor).await?, |_| 0)?;
    let items = plugins.into_iter().map(shown).collect();
    Ok(axum::Json(List { items, has_more, extensions_omitted: Vec::new() }))
}

pub(super) async fn plugin(
    State(app): State<App>,
    As(actor): As,
    Id(name): Id<String>,
) -> Answer<axum::Json<Plugin>> {
    Ok(axum::Json(shown(app.plugins.get(&actor, &name).await?)))
}

pub(super) async fn put_plugin(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
    request: Request,
) -> Answer<(StatusCode, axum::Json<Plugin>)> {
    let is_wasm = media_type(request.headers()).is_some_and(|kind| kind == "application/wasm");
    if !is_wasm {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be application/wasm",
        ));
    }
    // Before the upload is read: only who may install can make the host take in this much.
    if !by.actor.is_superuser() {
        return Err(crate::ops::Error::Forbidden("only superusers may do this".into()).into());
    }
    let signature = request.headers().get(SIGNATURE).map(|value| signature::of_header(value.as_bytes()));
    let signature = signature.transpose()?;
    let bytes = body(request, &app).await?;
    let (installed, is_new) = app.plugins.put(&by, &name, bytes, signature.as_deref()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(shown(installed))))
}

pub(super) async fn update_plugin(
    State(app): State<App>,
    by: Admin,
    Id(name): Id<String>,
    Json(body): Json<UpdatePlugin>,
) -> Answer<axum::Json<Plugin>> {
    let hooks = body.hooks.map(|hooks| HookChanges {
        order: hooks.order,
        fail_closed: hooks.on_failure.map(|on| matches!(on, OnFailure::Closed)),
    });
    let changes = PluginChanges {
        enabled: body.enabled,
        grants: body.grants,
        routes: body.routes,
        config: body.config,
        hooks,
        limits: body.limits,
    };
    Ok(axum::Json(shown(app.plugins.update(&by, &name, changes).await?)))
}

fn table_of_limits() -> String {
    let row = |limit: &Limit| {
        let Limit { name, default, min, max, meaning, .. } = limit;
        format!("\n| `{name}` | {default} | {min} | {max} | {meaning} |")
    };
    let head = "The limits (`_ms`: milliseconds, `_bytes`: bytes, else a count):\n\n\
                | limit | default | least | most | what it bounds |\n| --- | --- | --- | --- | --- |";
    TABLE.iter().map(row).fold(head.to_owned(), |text, row| text + &row)
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Administration", "For superusers.");
    doc.get("/api/admin/plugins", plugins).says("List plugins", "By name.").refuses(403, &["forbidden"]);
    doc.get("/api/admin/plugins/{name}", plugin)
        .says("Get a plugin", "")
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"]);
    doc.put("/api/admin/plugins/{name}", put_plugin)
        .says(
            "Install or replace a plugin",
            "A component from `patchbay plugin pack`. If anything is wrong with it, the version before serves on. A \
             new plugin that wants what it wasn't granted is kept and waits.",
        )
        .takes("application/wasm", &serde_json::json!({ "type": "string", "format": "binary" }))
        .header(
            "X-Patchbay-Signature",
            &serde_json::json!({ "type": "string" }),
            "The component's `.minisig` file in base64. Needed where `plugins.require_signature` is set; one that is \
             there is checked in any case.",
        )
        .answers(201, "The new plugin.")
        .answers(200, "The plugin in its new version.")
        .refuses(400, &["incomplete_body"])
        .refuses(403, &["forbidden"])
        .refuses(409, &["managed_by_settings"])
        .refuses(413, &["too_large"])
        .refuses(415, &["unsupported_media_type"])
        .refuses(422, OF_COMPONENTS);
    doc.patch("/api/admin/plugins/{name}", update_plugin)
        .says("Grant, revoke, configure, limit, enable or disable", table_of_limits())
        .refuses(403, &["forbidden"])
        .refuses(404, &["plugin_not_found"])
        .refuses(409, &["managed_by_settings"])
        .refuses(422, OF_COMPONENTS);
}
