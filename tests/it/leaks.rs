//! Who may not know of something does not hear of it by any door: every endpoint of the document and every event, as
//! an outsider, a former member, a superuser who is no member, and as nobody.

use std::collections::BTreeSet;

use patchbay_tests::{Socket, TestApp, User, Value, json};
use reqwest::Method;

/// In every text of what is to stay secret.
const SECRET: &str = "xyzzy";

/// Endpoints that lead to something of a channel, with a body that would be good. Braces are filled by [`Secrets`].
const CHANNEL_BOUND: &[(&str, &str, &str)] = &[
    ("GET", "/api/channels/{id}", ""),
    ("PATCH", "/api/channels/{id}", r#"{"name":"x"}"#),
    ("PUT", "/api/channels/{id}", r#"{"name":"x"}"#),
    ("DELETE", "/api/channels/{id}", ""),
    ("GET", "/api/channels/{id}/members", ""),
    ("POST", "/api/channels/{id}/members", r#"{"user_id":ME}"#),
    ("DELETE", "/api/channels/{id}/members", "?user_id=OWNER"),
    ("PATCH", "/api/channels/{id}/members/{user_id}", r#"{"role":"member"}"#),
    ("PUT", "/api/channels/{id}/members/{user_id}", r#"{"role":"member"}"#),
    ("DELETE", "/api/channels/{id}/members/{user_id}", ""),
    ("GET", "/api/channels/{id}/messages", ""),
    ("POST", "/api/channels/{id}/messages", r#"{"content":"x"}"#),
    ("GET", "/api/channels/{id}/pins", ""),
    ("PUT", "/api/channels/{id}/pins/{message_id}", ""),
    ("DELETE", "/api/channels/{id}/pins/{message_id}", ""),
    ("GET", "/api/channels/{id}/voice", ""),
    ("PATCH", "/api/channels/{id}/voice/{user_id}", r#"{"muted":true}"#),
    ("PUT", "/api/channels/{id}/voice/{user_id}", r#"{"muted":true}"#),
    ("DELETE", "/api/channels/{id}/voice/{user_id}", ""),
    ("PUT", "/api/channels/{id}/read", r#"{"message_id":MESSAGE}"#),
    ("GET", "/api/files/{id}", ""),
    ("DELETE", "/api/files/{id}", ""),
    ("GET", "/api/files/{id}/download", ""),
    ("GET", "/api/files/{id}/thumbnail", ""),
    ("GET", "/api/messages/{id}", ""),
    ("PATCH", "/api/messages/{id}", r#"{"content":"x"}"#),
    ("PUT", "/api/messages/{id}", r#"{"content":"x"}"#),
    ("DELETE", "/api/messages/{id}", ""),
    ("GET", "/api/messages/{id}/history", ""),
    ("GET", "/api/messages/{id}/thread", ""),
    ("GET", "/api/messages/{message_id}/reactions", ""),
    ("POST", "/api/messages/{message_id}/reactions", r#"{"emoji":"👍"}"#),
    ("DELETE", "/api/messages/{message_id}/reactions", "?emoji=👍"),
    ("DELETE", "/api/messages/{message_id}/reactions/{emoji}", ""),
    ("POST", "/api/hooks", r#"{"channel_id": CHANNEL, "name": "x"}"#),
    (
        "POST",
        "/api/hooks/outgoing",
        r#"{"url": "https://example.org", "events": ["*"], "channel_ids": [CHANNEL]}"#,
    ),
    ("GET", "/api/commands", "?channel_id=CHANNEL"),
    ("GET", "/api/commands/complete", "?channel_id=CHANNEL&text=/"),
    ("POST", "/api/commands", r#"{"channel_id": CHANNEL, "text": "/anything"}"#),
    ("GET", "/api/v1/ai/context", "?q=xyzzy&channel_id=CHANNEL"),
    ("POST", "/api/v1/ai/message", r#"{"content": "x", "channel_id": CHANNEL}"#),
];

/// Endpoints that belong to nobody's channel. Whoever adds an endpoint puts it into one of the two lists.
const OTHERS: &[&str] = &[
    "/api/admin/audit",
    "/api/admin/invites",
    "/api/admin/invites/{id}",
    "/api/admin/plugins",
    "/api/admin/plugins/{name}",
    "/api/admin/plugins/{name}/backfill",
    "/api/admin/plugins/{name}/dead-letters",
    "/api/admin/plugins/{name}/log",
    "/api/admin/plugins/{name}/redeliver",
    "/api/admin/plugins/{name}/rollback",
    "/api/admin/search",
    "/api/admin/search/reindex",
    "/api/admin/users",
    "/api/admin/users/{id}",
    "/api/auth/login",
    "/api/auth/logout",
    "/api/auth/refresh",
    "/api/auth/register",
    "/api/auth/sessions",
    "/api/auth/sessions/{id}",
    "/api/bots",
    "/api/bots/{bot_id}",
    "/api/bots/{bot_id}/commands",
    "/api/bots/{bot_id}/commands/{name}",
    "/api/channels",
    "/api/commands",
    "/api/docs",
    "/api/docs/{file}",
    "/api/files/upload",
    "/api/hooks",
    "/api/hooks/outgoing",
    "/api/hooks/outgoing/{hook_id}",
    "/api/hooks/{hook_id}",
    "/api/hooks/{hook_id}/{secret}",
    "/api/openapi.json",
    "/api/plugins/ai/reindex",
    "/api/plugins/ai/status",
    "/api/search/channels",
    "/api/search/files",
    "/api/search/messages",
    "/api/users",
    "/api/users/me",
    "/api/users/me/profile-picture",
    "/api/users/me/status",
    "/api/users/{id}",
    "/api/users/{id}/profile-picture",
    "/healthz",
    "/metrics",
    "/readyz",
    "/ws/chat",
    "/ws/presence",
    "/ws/voice/{channel_id}",
];

/// What needs no login.
const OPEN: &[&str] = &[
    "/api/auth/login",
    "/api/auth/refresh",
    "/api/auth/register",
    "/api/docs",
    "/api/docs/{file}",
    "/api/hooks/{hook_id}/{secret}",
    "/api/openapi.json",
    "/healthz",
    "/metrics",
    "/readyz",
    "/ws/chat",
    "/ws/presence",
    "/ws/voice/{channel_id}",
];

fn picture() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(40, 30).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A private channel with one of everything in it.
struct Secrets {
    owner: User,
    channel: i64,
    message: i64,
    file: i64,
}

impl Secrets {
    async fn make(owner: &User, members: &[&User]) -> Self {
        let channel = owner.private_channel(SECRET, members).await;
        let picture = picture();
        let file =
            owner.upload(&format!("{SECRET}.png"), "image/png", picture).await.expect(201)["id"].clone();
        let body = json!({ "content": SECRET, "file_ids": [file] });
        let message = owner.post(&format!("/api/channels/{channel}/messages"), &body).await.expect(201);
        let message = message["id"].as_i64().unwrap();
        let path = format!("/api/messages/{message}");
        owner.patch(&path, &json!({ "content": format!("{SECRET}, edited") })).await.expect(200);
        owner.post(&format!("{path}/reactions"), &json!({ "emoji": "👍" })).await.expect(201);
        owner.put(&format!("/api/channels/{channel}/pins/{message}"), &json!({})).await.expect(204);
        let reply = json!({ "content": format!("{SECRET} again"), "parent_id": message });
        owner.post(&format!("/api/channels/{channel}/messages"), &reply).await.expect(201);
        Self { owner: owner.clone(), channel, message, file: file.as_i64().unwrap() }
    }

    fn fill(&self, text: &str, me: &User) -> String {
        let id = if text.starts_with("/api/channels") {
            self.channel
        } else if text.starts_with("/api/files") {
            self.file
        } else {
            self.message
        };
        text.replace("{id}", &id.to_string())
            .replace("{message_id}", &self.message.to_string())
            .replace("{user_id}", &self.owner.id.to_string())
            .replace("{emoji}", "👍")
            .replace("OWNER", &self.owner.id.to_string())
            .replace("CHANNEL", &self.channel.to_string())
            .replace("MESSAGE", &self.message.to_string())
            .replace("ME", &me.id.to_string())
    }

    async fn call(&self, me: &User, (method, path, body): (&str, &str, &str)) -> patchbay_tests::Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let query = if body.starts_with('?') { body } else { "" };
        let request = me.request(method, &self.fill(&format!("{path}{query}"), me));
        let request = match body.starts_with('{') {
            true => request.json(&serde_json::from_str::<Value>(&self.fill(body, me)).unwrap()),
            false => request,
        };
        me.send(request).await
    }
}

/// Every path and method of the document that a request can be made to.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |item: &Value| -> Vec<String> {
        let known = ["get", "post", "put", "patch", "delete"];
        known.iter().filter(|method| item[**method].is_object()).map(|m| m.to_uppercase()).collect()
    };
    paths
        .flat_map(|(path, item)| {
            methods(item).into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn every_endpoint_keeps_a_private_channel_secret() {
    let app = TestApp::start().await;
    let (root, ann) = (app.user("root").await, app.user("ann").await);
    let (former, outsider) = (app.user("former").await, app.user("out").await);
    let secrets = Secrets::make(&ann, &[&former]).await;
    let members = format!("/api/channels/{}/members", secrets.channel);
    for call in CHANNEL_BOUND.iter().filter(|call| call.0 == "GET") {
        let answer = secrets.call(&former, *call).await;
        assert_eq!(answer.status, 200, "a member can {call:?}: {}", answer.body);
    }
    former.delete(&format!("{members}/{}", former.id)).await.expect(204);

    let mut expected: BTreeSet<(String, String)> = described(&ann.document().await);
    for call in CHANNEL_BOUND {
        assert!(expected.remove(&(call.0.into(), call.1.into())), "{call:?} is not described");
        for user in [&root, &former, &outsider] {
            let code = secrets.call(user, *call).await.problem(404);
            assert!(code.ends_with("_not_found"), "{call:?}: {code}");
        }
        assert_eq!(secrets.call(&app.anonymous(), *call).await.problem(401), "unauthenticated", "{call:?}");
    }
    for (method, path) in expected {
        assert!(OTHERS.contains(&path.as_str()), "{method} {path} is in neither list");
        let (filled, me) = (path.replace("{id}", "1").replace("{name}", "reactions"), &outsider);
        if method == "GET" && !path.contains("{file}") {
            let answer = me.get(&filled).await;
            assert!(!answer.body.to_string().contains(SECRET), "{path} tells {}", answer.body);
        }
        if !OPEN.contains(&path.as_str()) {
            let nobody = app.anonymous();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                nobody.send(nobody.request(method, &filled)).await.problem(401),
                "unauthenticated",
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn every_event_keeps_a_private_channel_secret() {
    let app = TestApp::start().await;
    let (root, ann) = (app.user("root").await, app.user("ann").await);
    let (member, former, outsider) =
        (app.user("member").await, app.user("former").await, app.user("out").await);
    let channel = ann.private_channel(SECRET, &[&member, &former]).await;
    let members = format!("/api/channels/{channel}/members");
    let before = former.socket().await.hello["seq"].as_i64().unwrap();
    ann.delete(&format!("{members}/{}", former.id)).await.expect(204);

    let mut listeners = Vec::new();
    for user in [&root, &former, &outsider] {
        let mut chat = user.socket().await;
        let refused = chat.call("subscribe", json!({ "channel_ids": [channel] })).await;
        assert_eq!(refused["data"]["code"], "channel_not_found");
        let refused = chat.call("typing", json!({ "channel_id": channel })).await;
        assert_eq!(refused["data"]["code"], "channel_not_found");
        listeners.push(chat);
        listeners.push(Socket::open_at(&app.url, "/ws/presence", &user.token).await);
    }
    for socket in &mut listeners {
        socket.quiet().await;
    }
    let mut at_members = member.socket().await;
    let heard = everything_happens(&ann, &member, channel).await;
    let kinds: BTreeSet<String> =
        at_members.quiet().await.iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect();
    for kind in heard {
        assert!(kinds.contains(kind), "a member does not hear {kind}: {kinds:?}");
    }
    for socket in &mut listeners {
        assert_eq!(socket.quiet().await, [] as [Value; 0]);
    }
    for (user, events) in [(&former, 1), (&root, 0), (&outsider, 0)] {
        let (answer, replayed) = user.socket().await.resume(before).await;
        assert_eq!(answer["type"], "resumed");
        assert_eq!(replayed.len(), events, "{replayed:?}");
        assert!(replayed.iter().all(|event| event["type"] == "member.removed"));
    }
}

/// One of every event that a channel has; which.
async fn everything_happens(ann: &User, member: &User, channel: i64) -> Vec<&'static str> {
    let (path, id) = (format!("/api/channels/{channel}"), ann.say(channel, SECRET).await);
    let message = format!("/api/messages/{id}");
    ann.patch(&message, &json!({ "content": format!("{SECRET}!") })).await.expect(200);
    ann.post(&format!("{message}/reactions"), &json!({ "emoji": "🎉" })).await.expect(201);
    ann.delete(&format!("{message}/reactions/🎉")).await.expect(204);
    ann.put(&format!("{path}/pins/{id}"), &json!({})).await.expect(204);
    ann.delete(&format!("{path}/pins/{id}")).await.expect(204);
    member.put(&format!("{path}/read"), &json!({ "message_id": id })).await.expect(204);
    let mut typing = ann.socket().await;
    typing.call("typing", json!({ "channel_id": channel })).await;
    ann.delete(&message).await.expect(204);
    ann.patch(&path, &json!({ "name": format!("{SECRET} too") })).await.expect(200);
    ann.patch(&format!("{path}/members/{}", member.id), &json!({ "role": "admin" })).await.expect(200);
    vec![
        "message.created",
        "message.updated",
        "message.deleted",
        "message.pinned",
        "message.unpinned",
        "reaction.added",
        "reaction.removed",
        "read.updated",
        "typing",
        "channel.updated",
        "member.updated",
    ]
}
