//! `/api/channels/{id}/messages` and `/api/messages/…`

use std::collections::BTreeMap;

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use patchbay_core::{Actor, ChannelId, FileId, Message as CoreMessage, MessageId, text};
use patchbay_protocol::{Edit, EditMessage, List, Message, PostMessage, Thread};
use serde_json::{json, value::RawValue};

use super::{
    Failure,
    extract::{As, Id, Json, PageParams, Params},
    openapi::Document,
};
use crate::{app::App, ops::NewPost};

type Answer<T> = Result<T, Failure>;

/// Messages with what plugins add to them for this viewer, and the plugins that missed their budget.
async fn decorated(app: &App, viewer: &Actor, messages: &[CoreMessage]) -> (Vec<Message>, Vec<String>) {
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    let mut decorations = app.plugins.decorate(viewer, &ids).await;
    let items = messages
        .iter()
        .map(|message| {
            let added = decorations.by_message.remove(&message.id).unwrap_or_default();
            let extensions: BTreeMap<String, Box<RawValue>> = added
                .into_iter()
                .filter_map(|(plugin, json)| Some((plugin, RawValue::from_string(json).ok()?)))
                .collect();
            Message {
                extensions: Some(extensions),
                extensions_omitted: decorations.omitted.clone(),
                ..Message::from(message)
            }
        })
        .collect();
    (items, decorations.omitted)
}

async fn one(app: &App, viewer: &Actor, message: CoreMessage) -> Answer<Message> {
    let (mut items, _) = decorated(app, viewer, std::slice::from_ref(&message)).await;
    Ok(items.pop().unwrap_or_else(|| Message::from(&message)))
}

pub(super) async fn list(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Message>>> {
    let page = app.ops.messages(&actor, ChannelId(id), params.request()?).await?;
    let (items, extensions_omitted) = decorated(&app, &actor, &page.items).await;
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted }))
}

pub(super) async fn post(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    headers: HeaderMap,
    Json(body): Json<PostMessage>,
) -> Answer<(StatusCode, axum::Json<Message>)> {
    let key = match headers.get("idempotency-key").map(|value| value.to_str()) {
        Some(Ok(key)) => Some(key.to_owned()),
        Some(Err(_)) => {
            return Err(Failure::field("Idempotency-Key", "characters", "must be visible ASCII"));
        }
        None => None,
    };
    let new = NewPost {
        content: body.content,
        parent_id: body.parent_id.map(MessageId),
        file_ids: body.file_ids.into_iter().map(FileId).collect(),
        key,
    };
    let posted = app.ops.post_message(&actor, ChannelId(id), new).await?;
    let status = if posted.created { StatusCode::CREATED } else { StatusCode::OK };
    let message = one(&app, &actor, posted.message).await?;
    Ok((status, axum::Json(message)))
}

pub(super) async fn get(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
) -> Answer<axum::Json<Message>> {
    let message = app.ops.message(&actor, MessageId(id)).await?;
    Ok(axum::Json(one(&app, &actor, message).await?))
}

pub(super) async fn edit(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Json(body): Json<EditMessage>,
) -> Answer<axum::Json<Message>> {
    let message = app.ops.edit_message(&actor, MessageId(id), body.content).await?;
    Ok(axum::Json(one(&app, &actor, message).await?))
}

pub(super) async fn delete(State(app): State<App>, As(actor): As, Id(id): Id<i64>) -> Answer<StatusCode> {
    app.ops.delete_message(&actor, MessageId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn thread(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<Thread>> {
    let thread = app.ops.thread(&actor, MessageId(id), params.request()?).await?;
    let has_more = thread.replies.has_more;
    let mut messages = vec![thread.root];
    messages.extend(thread.replies.items);
    let (mut items, extensions_omitted) = decorated(&app, &actor, &messages).await;
    let root = items.remove(0);
    Ok(axum::Json(Thread { root, items, has_more, extensions_omitted }))
}

pub(super) async fn pins(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Message>>> {
    let pinned = app.ops.pins(&actor, ChannelId(id)).await?;
    let (pinned, has_more) = params.of(pinned, |message| message.id.0)?;
    let (items, extensions_omitted) = decorated(&app, &actor, &pinned).await;
    Ok(axum::Json(List { items, has_more, extensions_omitted }))
}

pub(super) async fn pin(
    State(app): State<App>,
    As(actor): As,
    Id((id, message)): Id<(i64, i64)>,
) -> Answer<StatusCode> {
    app.ops.set_pin(&actor, ChannelId(id), MessageId(message), true).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn unpin(
    State(app): State<App>,
    As(actor): As,
    Id((id, message)): Id<(i64, i64)>,
) -> Answer<StatusCode> {
    app.ops.set_pin(&actor, ChannelId(id), MessageId(message), false).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn history(
    State(app): State<App>,
    As(actor): As,
    Id(id): Id<i64>,
    Params(params): Params<PageParams>,
) -> Answer<axum::Json<List<Edit>>> {
    let page = app.ops.message_history(&actor, MessageId(id), params.request()?).await?;
    let items = page.items.iter().map(Edit::from).collect();
    Ok(axum::Json(List { items, has_more: page.has_more, extensions_omitted: Vec::new() }))
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Messages", "Messages, threads, pins. Plugins add to messages under `extensions`.");
    doc.get("/api/channels/{id}/messages", list)
        .says("List a channel's messages", "Newest first.")
        .refuses(404, &["channel_not_found"]);
    doc.post("/api/channels/{id}/messages", post)
        .says(
            "Post a message",
            "A reply to a reply belongs to the thread's root. Plugins may change or refuse the text.",
        )
        .refuses(422, &["message_refused"])
        .header(
            "Idempotency-Key",
            &json!({ "type": "string", "minLength": 1, "maxLength": text::MAX_KEY_CHARS }),
            "A repeat with the same key, user and channel finds the original for 24 hours.",
        )
        .answers(201, "The new message.")
        .answers(200, "The message that was posted with this key before.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"])
        .refuses(409, &["conflict"]);
    doc.get("/api/messages/{id}", get).says("Get a message", "").refuses(404, &["message_not_found"]);
    doc.change("/api/messages/{id}", edit)
        .says(
            "Edit a message",
            "For its sender. The version before is kept. Plugins may change or refuse the text.",
        )
        .refuses(422, &["message_refused"])
        .refuses(403, &["forbidden"])
        .refuses(404, &["message_not_found"]);
    doc.delete("/api/messages/{id}", delete)
        .says(
            "Delete a message",
            "For its sender and the channel's admins. A root with replies stays as an empty place.",
        )
        .refuses(403, &["forbidden"])
        .refuses(404, &["message_not_found"]);
    doc.get("/api/messages/{id}/thread", thread)
        .says("Get a thread", "By its root or any of its replies; replies oldest first.")
        .refuses(404, &["message_not_found"]);
    doc.get("/api/messages/{id}/history", history)
        .says("List a message's earlier versions", "")
        .refuses(404, &["message_not_found"]);
    doc.get("/api/channels/{id}/pins", pins)
        .says("List a channel's pinned messages", "The newest pin first.")
        .refuses(404, &["channel_not_found"]);
    doc.put("/api/channels/{id}/pins/{message_id}", pin)
        .says("Pin a message", "For members.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "message_not_found"])
        .refuses(409, &["too_many_pins"]);
    doc.delete("/api/channels/{id}/pins/{message_id}", unpin)
        .says("Unpin a message", "For members.")
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found", "message_not_found", "pin_not_found"]);
}
