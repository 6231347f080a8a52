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

/// The sockets that have a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    All,
    Chat,
    Presence,
    Voice,
    ChatAndPresence,
    ChatAndVoice,
}

impl On {
    fn includes(self, door: Self) -> bool {
        match self {
            Self::All => true,
            Self::ChatAndPresence => matches!(door, Self::Chat | Self::Presence),
            Self::ChatAndVoice => matches!(door, Self::Chat | Self::Voice),
            one => one == door,
        }
    }
}

struct Frame {
    kind: &'static str,
    on: On,
    meaning: &'static str,
    data: Value,
    /// Whether it has a place in the journal.
    counted: bool,
}

fn plain(kind: &'static str, on: On, data: Value, meaning: &'static str) -> Frame {
    Frame { kind, on, meaning, data, counted: false }
}

/// The frames of every socket.
pub(super) fn describe(schemas: &mut Schemas) -> Frames {
    let (from_client, from_server) = (client_frames(schemas), server_frames(schemas));
    let mut described = Map::new();
    for frame in &from_client {
        described.insert(format!("request.{}", frame.kind), request(frame.kind, frame.meaning, &frame.data));
    }
    for frame in &from_server {
        described.insert(format!("frame.{}", frame.kind), answer(frame));
    }
    described.insert("frame.plugin".into(), plugin_frame());
    let (mut text, mut sockets) = (String::new(), Map::new());
    for (path, door) in
        [("/ws/chat", On::Chat), ("/ws/presence", On::Presence), ("/ws/voice/{channel_id}", On::Voice)]
    {
        let (client, server) = (of(&from_client, door), of(&from_server, door));
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "<details>\n<summary>Frames of {path}</summary>\n\nClient to server:\n\n{}\nServer to client:\n\n{}",
            table(&client),
            table(&server)
        );
        let mut server = references("frame", &server);
        if door == On::Chat {
            text.push_str("| `plugin.{name}.{event}` | what the plugin says | An event of a plugin. `seq` if it is kept. |\n");
            server.insert("plugin.{name}.{event}".into(), reference("frame", "plugin"));
        }
        text.push_str("\n</details>\n\n");
        sockets.insert(path.into(), json!({ "client": references("request", &client), "server": server }));
    }
    Frames { schemas: described, sockets: sockets.into(), text }
}

fn of(frames: &[Frame], door: On) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.on.includes(door)).collect()
}

fn reference(prefix: &str, kind: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{prefix}.{kind}") })
}

fn references(prefix: &str, frames: &[&Frame]) -> Map<String, Value> {
    frames.iter().map(|frame| (frame.kind.to_owned(), reference(prefix, frame.kind))).collect()
}

fn client_frames(schemas: &mut Schemas) -> Vec<Frame> {
    let mut data =
        |on, kind, schema: fn(&mut Schemas) -> Value, meaning| plain(kind, on, schema(schemas), meaning);
    vec![
        data(
            On::All,
            "authenticate",
            Schemas::request::<protocol::Authenticate>,
            "The first frame, unless the upgrade had the token; within 10 s.",
        ),
        data(
            On::All,
            "heartbeat",
            Schemas::request::<protocol::Empty>,
            "Every `heartbeat_ms`. Answered by `heartbeat_ack`.",
        ),
        data(
            On::ChatAndVoice,
            "resume",
            resume,
            "On a chat: replays everything after `seq`; answered by `resumed`, or by `resync` if something may be missing. In a \
             voice channel: whether one is still that participant; answered by `ack` or `error`. `joined` says the same.",
        ),
        data(
            On::Chat,
            "message.send",
            Schemas::request::<protocol::MessageSend>,
            "Posts. Answered by `ack` with the message.",
        ),
        data(On::Chat, "typing", Schemas::request::<protocol::Typing>, "Tells the other members."),
        data(On::Chat, "read", Schemas::request::<protocol::ReadFrame>, "Moves one's read mark."),
        data(
            On::Chat,
            "subscribe",
            Schemas::request::<protocol::Subscribe>,
            "Follows public channels that one is not a member of.",
        ),
        data(On::Presence, "presence.set", Schemas::request::<protocol::SetStatus>, "Chooses a status."),
        data(
            On::Voice,
            "offer",
            Schemas::request::<protocol::VoiceOffer>,
            "A WebRTC offer; again for more sections or an ICE restart. Answered by `answer`.",
        ),
        data(
            On::Voice,
            "candidate",
            Schemas::request::<protocol::VoiceCandidate>,
            "May be sent and need not be: the server learns where a client is from its packets.",
        ),
        data(On::Voice, "mute", Schemas::request::<protocol::VoiceMute>, "Mutes one's own microphone."),
        data(On::Voice, "deafen", Schemas::request::<protocol::VoiceDeafen>, "Listens to nobody."),
        data(On::Voice, "leave", Schemas::request::<protocol::Empty>, "Goes. `ended` follows."),
    ]
}

fn server_frames(schemas: &mut Schemas) -> Vec<Frame> {
    let place = schemas.answer::<protocol::Place>();
    let ack = json!({ "anyOf": [
        schemas.answer::<protocol::Message>(),
        place,
        schemas.answer::<protocol::SetStatus>(),
        schemas.answer::<protocol::Empty>(),
    ] });
    let mut frames = vec![
        plain("hello", On::All, schemas.answer::<protocol::Hello>(), "The connection is authenticated."),
        plain(
            "ack",
            On::All,
            ack,
            "The request was carried out: with the message of `message.send`, the place from which a `subscribe` holds, the status that was set, or nothing.",
        ),
        plain("error", On::All, schemas.answer::<protocol::Refusal<'_>>(), "The request was refused."),
        plain("heartbeat_ack", On::All, schemas.answer::<protocol::Empty>(), "The server is there."),
        plain("resumed", On::Chat, place.clone(), "Nothing is missing up to `seq`."),
        plain("resync", On::Chat, place, "Something may be missing: fetch afresh."),
        plain("typing", On::Chat, schemas.answer::<protocol::IsTyping>(), "Somebody is typing."),
        plain(
            "presence.snapshot",
            On::Presence,
            schemas.answer::<protocol::PresenceSnapshot>(),
            "Who of the people that one shares a channel with is here; after `hello`.",
        ),
        plain(
            "presence.changed",
            On::ChatAndPresence,
            schemas.answer::<protocol::PresenceOf>(),
            "Somebody came, went, or chose another status.",
        ),
    ];
    frames.extend(voice_frames(schemas));
    let events = protocol::event_schemas(&mut schemas.answers);
    frames.extend(events.into_iter().map(|(kind, meaning, data)| Frame {
        counted: true,
        ..plain(kind, On::Chat, data.to_value(), meaning)
    }));
    frames
}

fn resume(schemas: &mut Schemas) -> Value {
    let both =
        [Schemas::request::<protocol::Resume>(schemas), Schemas::request::<protocol::VoiceResume>(schemas)];
    json!({ "anyOf": both })
}

fn voice_frames(schemas: &mut Schemas) -> Vec<Frame> {
    let membership = schemas.answer::<protocol::VoiceMembership>();
    let participant = schemas.answer::<protocol::VoiceParticipant>();
    vec![
        plain("voice.joined", On::Chat, membership.clone(), "Somebody came into a voice channel."),
        plain("voice.left", On::Chat, membership, "Somebody left a voice channel."),
        plain(
            "joined",
            On::Voice,
            schemas.answer::<protocol::VoiceJoined>(),
            "One is in the room; after `hello`.",
        ),
        plain("answer", On::Voice, schemas.answer::<protocol::VoiceAnswer>(), "To an `offer`."),
        plain("participant.joined", On::Voice, participant.clone(), "Somebody came in."),
        plain("participant.updated", On::Voice, participant, "Somebody's state has changed."),
        plain(
            "participant.left",
            On::Voice,
            schemas.answer::<protocol::VoiceParticipantLeft>(),
            "Somebody went.",
        ),
        plain(
            "slot",
            On::Voice,
            schemas.answer::<protocol::VoiceSlot>(),
            "Another voice, or none, is heard in this slot from now on.",
        ),
        plain(
            "speaking",
            On::Voice,
            schemas.answer::<protocol::VoiceSpeaking>(),
            "Somebody begins or ceases to speak.",
        ),
        plain(
            "ended",
            On::Voice,
            schemas.answer::<protocol::VoiceEnded>(),
            "One is no longer in the room; the socket closes with 1000.",
        ),
    ]
}

fn request(kind: &str, meaning: &str, data: &Value) -> Value {
    let optional = matches!(kind, "heartbeat" | "leave");
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

fn answer(frame: &Frame) -> Value {
    let mut properties = json!({ "type": { "const": frame.kind }, "data": frame.data });
    let required = if frame.counted {
        properties["seq"] =
            json!({ "type": "integer", "minimum": 1, "description": "Its place in the journal." });
        json!(["type", "seq", "data"])
    } else {
        properties["id"] = json!({ "type": ["string", "number"], "description": "That of the request." });
        json!(["type", "data"])
    };
    json!({
        "description": frame.meaning,
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

fn table(frames: &[&Frame]) -> String {
    let mut text = String::from("| type | data | |\n| --- | --- | --- |\n");
    for frame in frames {
        let name = frame.data["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        let name = name.map_or_else(|| "depends on the request".to_owned(), |name| format!("`{name}`"));
        let seq = if frame.counted { " Has a `seq`." } else { "" };
        let _ = writeln!(text, "| `{}` | {name} | {}{seq} |", frame.kind, frame.meaning);
    }
    text
}
