//! The gateway: sockets that hear of what they may see, in order, without a gap.
//!
//! `session` is one connection as a pure state machine; `socket` drives it; `outbox` is what waits for it; `hub` is the task
//! that reads the journal, `router` its table of who hears what; `presence` says who is here, `members` who is told of it; `voice` is a connection's place in a voice channel.
//!
//! Owns: delivery. Must not: write anything or decide who may do what; requests go to `ops` like REST's.

mod hub;
mod members;
mod online;
mod outbox;
mod presence;
mod router;
mod session;
mod socket;
mod voice;

use axum::{
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use http::{HeaderMap, StatusCode};
use patchbay_core::ChannelId;
use serde_json::{Value, json};

use crate::{
    app::App,
    http::{Document, Failure, Id, Operation, bearer},
};

pub use hub::Hub;
pub use online::Online;
pub(crate) use voice::participant as voice_participant;

use session::Door;

/// Largest frame from a client, in bytes.
const MAX_FRAME: usize = 64 * 1024;
/// What is read from a socket at once, held for as long as it is open. The library's 128 KiB, or what the largest frame
/// takes, would be most of an idle connection's memory; a large frame takes a few reads more.
const READ_BUFFER: usize = 512;
/// What is gathered before it is written, so that several frames leave in one system call. A socket keeps it once it has
/// needed it.
const WRITE_BUFFER: usize = 16 * 1024;
/// What may wait unsent inside a socket before writing fails: a few of the largest messages.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `/ws/chat`.
pub async fn chat(state: State<App>, headers: HeaderMap, upgrade: Upgrade) -> Result<Response, Failure> {
    open(Door::Chat, state, &headers, upgrade).await
}

/// `/ws/presence`.
pub async fn presence(state: State<App>, headers: HeaderMap, upgrade: Upgrade) -> Result<Response, Failure> {
    open(Door::Presence, state, &headers, upgrade).await
}

/// `/ws/voice/{channel_id}`. With a token on the upgrade a refusal is an answer; otherwise it is an `error` frame.
pub async fn voice(
    state: State<App>,
    Id(id): Id<i64>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    open(Door::Voice(ChannelId(id)), state, &headers, upgrade).await
}

/// A bearer token on the upgrade authenticates at once; without one the first frame has to.
async fn open(
    door: Door,
    State(app): State<App>,
    headers: &HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    let upgrade = upgrade.map_err(|rejection| {
        Failure::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", rejection.body_text())
    })?;
    let caller = match bearer(headers) {
        Some(token) => Some(app.ops.authenticate(token).await?),
        None => None,
    };
    if let (Door::Voice(channel), Some(caller)) = (door, &caller) {
        app.ops.may_join_voice(&caller.actor, channel).await?;
    }
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| {
            let sockets = app.sockets.clone();
            // Counted, so that a stop can wait for the farewells.
            sockets.track_future(socket::drive(door, app, socket, caller))
        }))
}

/// The endpoints in the document; their frames are described by `http::openapi`.
pub fn describe(doc: &mut Document) {
    doc.tag("Gateway", "WebSockets: see *Sockets* above for their frames.");
    let socket = |operation: Operation<'_>, summary| {
        operation
            .says(
                summary,
                "A WebSocket handshake. With a bearer token the connection is authenticated at once; without one, \
                 the first frame has to be `authenticate`.",
            )
            .answers_with(101, "The connection is a WebSocket.", Value::Null, json!({}))
            .refuses(401, &["unauthenticated"])
            .refuses(426, &["upgrade_required"]);
    };
    socket(doc.get("/ws/chat", chat), "Open a socket for messages and events");
    socket(doc.get("/ws/presence", presence), "Open a socket that tells who is here");
    let operation = doc
        .get("/ws/voice/{channel_id}", voice)
        .refuses(403, &["forbidden"])
        .refuses(404, &["channel_not_found"])
        .refuses(409, &["not_a_voice_channel"]);
    socket(operation, "Join a voice channel");
}
