//! The sockets: OpenAPI has no place for frames, so they are schemas, an extension, and a chapter of the text.
//!
//! Owns: how frames are described. Must not: define their data (that is `protocol`).

use std::fmt::Write as _;

use patchbay_protocol as protocol;
use serde_json::{Map, Value, json};

use super::Schemas;

/// What the document says of sockets.
pub(super) struct Frames {
    /// A schema for each frame, `frame.{type}` from the server and `request.{type}` to it.
    pub(super) schemas: Map<String, Value>,
    /// The extension `x-sockets`.
    pub(super) sockets: Value,
    /// Tables, as Markdown.
    pub(super) text: String,
}

/// A frame: its type, whether it has a place in the journal, what it means, its data.
type Frame = (&'static str, bool, &'static str, Value);

/// The frames of `/ws/chat`.
pub(super) fn describe(schemas: &mut Schemas) -> Frames {
    let (from_client, from_server) = (client_frames(schemas), server_frames(schemas));
    let mut described = Map::new();
    for (kind, _, meaning, data) in &from_client {
        described.insert(format!("request.{kind}"), request(kind, meaning, data));
    }
    for (kind, counted, meaning, data) in &from_server {
        described.insert(format!("frame.{kind}"), frame(kind, *counted, meaning, data));
    }
    described.insert("frame.plugin".into(), plugin_frame());
    let mut text = String::from("Client to server:\n\n| type | data | |\n| --- | --- | --- |\n");
    table(&mut text, &from_client);
    text.push_str("\nServer to client:\n\n| type | data | |\n| --- | --- | --- |\n");
    table(&mut text, &from_server);
    text.push_str(
        "| `plugin.{name}.{event}` | what the plugin says | An event of a plugin. `seq` if it is kept. |\n",
    );
    let names = |prefix: &str, frames: &[Frame]| {
        let refs = frames.iter().map(|(kind, ..)| {
            ((*kind).to_owned(), json!({ "$ref": format!("#/components/schemas/{prefix}.{kind}") }))
        });
        refs.collect::<Map<_, _>>()
    };
    let mut server = names("frame", &from_server);
    server.insert("plugin.{name}.{event}".into(), json!({ "$ref": "#/components/schemas/frame.plugin" }));
    let sockets = json!({ "/ws/chat": { "client": names("request", &from_client), "server": server } });
    Frames { schemas: described, sockets, text }
}

fn client_frames(schemas: &mut Schemas) -> Vec<Frame> {
    vec![
        (
            "authenticate",
            false,
            "The first frame, unless the upgrade had the token; within 10 s.",
            schemas.request::<protocol::Authenticate>(),
        ),
        (
            "resume",
            false,
            "Replays everything after `seq`. Answered by `resumed`, or by `resync` if something may be missing.",
            schemas.request::<protocol::Resume>(),
        ),
        (
            "heartbeat",
            false,
            "Every `heartbeat_ms`. Answered by `heartbeat_ack`.",
            schemas.request::<protocol::Empty>(),
        ),
        (
            "message.send",
            false,
            "Posts. Answered by `ack` with the message.",
            schemas.request::<protocol::MessageSend>(),
        ),
        ("typing", false, "Tells the other members.", schemas.request::<protocol::Typing>()),
        ("read", false, "Moves one's read mark.", schemas.request::<protocol::ReadFrame>()),
        (
            "subscribe",
            false,
            "Follows public channels that one is not a member of.",
            schemas.request::<protocol::Subscribe>(),
        ),
    ]
}

fn server_frames(schemas: &mut Schemas) -> Vec<Frame> {
    let place = schemas.answer::<protocol::Place>();
    let ack = json!({ "anyOf": [schemas.answer::<protocol::Message>(), place, schemas.answer::<protocol::Empty>()] });
    let mut frames = vec![
        ("hello", false, "The connection is authenticated.", schemas.answer::<protocol::Hello>()),
        (
            "ack",
            false,
            "The request was carried out: the message of `message.send`, the place from which a `subscribe` holds, or nothing.",
            ack,
        ),
        ("error", false, "The request was refused.", schemas.answer::<protocol::Refusal<'_>>()),
        ("heartbeat_ack", false, "The server is there.", schemas.answer::<protocol::Empty>()),
        ("resumed", false, "Nothing is missing up to `seq`.", place.clone()),
        ("resync", false, "Something may be missing: fetch afresh.", place),
        ("typing", false, "Somebody is typing.", schemas.answer::<protocol::IsTyping>()),
    ];
    let events = protocol::event_schemas(&mut schemas.answers);
    frames.extend(events.into_iter().map(|(kind, says, data)| (kind, true, says, data.to_value())));
    frames
}

fn request(kind: &str, meaning: &str, data: &Value) -> Value {
    let optional = kind == "heartbeat";
    let required = if optional { json!(["type"]) } else { json!(["type", "data"]) };
    json!({
        "description": meaning,
        "type": "object",
        "properties": {
            "type": { "const": kind },
            "id": { "type": ["string", "number", "null"], "maxLength": 128, "description": "Given back in the answer." },
            "data": data,
        },
        "required": required,
        "additionalProperties": false,
    })
}

fn frame(kind: &str, counted: bool, meaning: &str, data: &Value) -> Value {
    let mut properties = json!({ "type": { "const": kind }, "data": data });
    let required = if counted {
        properties["seq"] =
            json!({ "type": "integer", "minimum": 1, "description": "Its place in the journal." });
        json!(["type", "seq", "data"])
    } else {
        properties["id"] = json!({ "type": ["string", "number"], "description": "That of the request." });
        json!(["type", "data"])
    };
    json!({
        "description": meaning,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn plugin_frame() -> Value {
    json!({
        "description": "An event of a plugin.",
        "type": "object",
        "properties": {
            "type": { "type": "string", "pattern": r"^plugin\.[a-z][a-z0-9-]*\.[A-Za-z0-9._-]+$" },
            "seq": { "type": "integer", "minimum": 1 },
            "data": {},
        },
        "required": ["type", "data"],
        "additionalProperties": false,
    })
}

fn table(text: &mut String, frames: &[Frame]) {
    for (kind, counted, meaning, data) in frames {
        let name = data["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        let name = name.map_or_else(|| "depends on the request".to_owned(), |name| format!("`{name}`"));
        let seq = if *counted { " Has a `seq`." } else { "" };
        // Writing to a String can't fail.
        let _ = writeln!(text, "| `{kind}` | {name} | {meaning}{seq} |");
    }
}
