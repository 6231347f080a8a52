//! Who is here: `/ws/presence` and what the chat hears of it.

use patchbay_tests::{Socket, TestApp, User, Value, json};

async fn presence(app: &TestApp, user: &User) -> (Socket, Vec<Value>) {
    let mut socket = Socket::open_at(&app.url, "/ws/presence", &user.token).await;
    let snapshot = socket.event("presence.snapshot").await;
    (socket, snapshot["data"]["items"].as_array().unwrap().clone())
}

#[tokio::test]
async fn those_who_share_a_channel_see_each_other_come_and_go() {
    let app = TestApp::start_with(&["presence.grace=100ms"]).await;
    let _root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    ann.channel("general", &[&bob]).await;
    let (mut at_anns, snapshot) = presence(&app, &ann).await;
    assert_eq!(snapshot, [json!({ "user_id": bob.id, "status": "offline", "last_seen": null })]);
    let (mut at_cids, nobody) = presence(&app, &cid).await;
    assert_eq!(nobody, [] as [Value; 0]);
    let mut chat = ann.socket().await;

    let (mut at_bobs, snapshot) = presence(&app, &bob).await;
    assert_eq!(snapshot, [json!({ "user_id": ann.id, "status": "online", "last_seen": null })]);
    let came = json!({ "user_id": bob.id, "status": "online", "last_seen": null });
    assert_eq!(at_anns.event("presence.changed").await["data"], came);
    let frame = chat.event("presence.changed").await;
    assert_eq!((&frame["data"], frame.get("seq")), (&came, None));

    let second = bob.socket().await;
    let set = at_bobs.call("presence.set", json!({ "status": "busy" })).await;
    assert_eq!((&set["type"], &set["data"]), (&json!("ack"), &json!({ "status": "busy" })));
    assert_eq!(at_anns.event("presence.changed").await["data"]["status"], "busy");
    assert_eq!(at_bobs.event("presence.changed").await["data"]["status"], "busy", "one's other devices");
    bob.put("/api/users/me/status", &json!({ "status": "away" })).await.expect(200);
    assert_eq!(at_anns.event("presence.changed").await["data"]["status"], "away");

    drop(at_bobs);
    assert_eq!(at_anns.quiet().await, [] as [Value; 0], "another socket is open");
    drop(second);
    let gone = at_anns.event("presence.changed").await["data"].clone();
    assert_eq!((&gone["user_id"], &gone["status"]), (&json!(bob.id), &json!("offline")));
    assert!(gone["last_seen"].is_string());
    at_anns.quiet().await;
    at_anns.quiet().await;
    let seen = ann.get(&format!("/api/users/{}", bob.id)).await.expect(200);
    assert_eq!((&seen["status"], &seen["last_seen"]), (&json!("offline"), &gone["last_seen"]));
    assert_eq!(at_cids.quiet().await, [] as [Value; 0], "a stranger hears nothing");
}

#[tokio::test]
async fn who_chose_offline_is_invisible() {
    let app = TestApp::start_with(&["presence.grace=100ms"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.channel("general", &[&bob]).await;
    bob.put("/api/users/me/status", &json!({ "status": "offline" })).await.expect(200);
    let (mut at_anns, _) = presence(&app, &ann).await;
    let (mut at_bobs, _) = presence(&app, &bob).await;
    assert_eq!(at_anns.quiet().await, [] as [Value; 0]);
    let seen = ann.get(&format!("/api/users/{}", bob.id)).await.expect(200);
    assert_eq!((&seen["status"], &seen["last_seen"]), (&json!("offline"), &json!(null)));
    at_bobs.call("presence.set", json!({ "status": "online" })).await;
    assert_eq!(at_anns.event("presence.changed").await["data"]["status"], "online");
    at_bobs.call("presence.set", json!({ "status": "offline" })).await;
    let hidden = at_anns.event("presence.changed").await["data"].clone();
    assert_eq!((&hidden["user_id"], &hidden["status"]), (&json!(bob.id), &json!("offline")));
    assert!(hidden["last_seen"].is_string(), "it looks as if bob had gone: {hidden}");
    drop(at_bobs);
    assert_eq!(at_anns.quiet().await, [] as [Value; 0], "leaving is no news");
    for _ in 0..2 {
        // The second time after every socket has been closed for more than the second that records wait.
        at_anns.quiet().await;
        at_anns.quiet().await;
        let seen = ann.get(&format!("/api/users/{}", bob.id)).await.expect(200);
        assert_eq!((&seen["status"], &seen["last_seen"]), (&json!("offline"), &hidden["last_seen"]));
    }
}

#[tokio::test]
async fn a_new_member_and_the_others_see_each_other() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (mut at_anns, _) = presence(&app, &ann).await;
    let (mut at_bobs, _) = presence(&app, &bob).await;
    let channel = ann.channel("general", &[]).await;
    bob.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": bob.id })).await.expect(201);
    assert_eq!(at_anns.event("presence.changed").await["data"]["user_id"], bob.id);
    assert_eq!(at_bobs.event("presence.changed").await["data"]["user_id"], ann.id);
}

/// What was told of somebody does not stay behind when nothing is told any more.
#[tokio::test]
async fn who_shares_no_channel_any_more_is_seen_to_go() {
    let app = TestApp::start().await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let general = ann.channel("general", &[&bob, &cid]).await;
    let secret = ann.private_channel("secret", &[&bob]).await;
    let mut sockets = Vec::new();
    for user in [&ann, &bob, &cid] {
        sockets.push(presence(&app, user).await.0);
    }
    for socket in &mut sockets {
        socket.quiet().await;
    }
    let offline = |user: &User| json!({ "user_id": user.id, "status": "offline", "last_seen": null });
    let [at_anns, at_bobs, at_cids] = &mut sockets[..] else { unreachable!() };

    ann.delete(&format!("/api/channels/{general}/members/{}", bob.id)).await.expect(204);
    assert_eq!(at_cids.event("presence.changed").await["data"], offline(&bob));
    assert_eq!(at_bobs.event("presence.changed").await["data"], offline(&cid));
    assert_eq!(at_anns.quiet().await, [] as [Value; 0], "another channel is shared");

    ann.delete(&format!("/api/channels/{secret}")).await.expect(204);
    assert_eq!(at_anns.event("presence.changed").await["data"], offline(&bob));
    assert_eq!(at_bobs.event("presence.changed").await["data"], offline(&ann));
    assert_eq!(at_cids.quiet().await, [] as [Value; 0]);

    bob.put("/api/users/me/status", &json!({ "status": "busy" })).await.expect(200);
    assert_eq!(at_anns.quiet().await, [] as [Value; 0]);
    ann.post(&format!("/api/channels/{general}/members"), &json!({ "user_id": bob.id })).await.expect(201);
    let told = at_anns.event("presence.changed").await["data"].clone();
    assert_eq!((&told["user_id"], &told["status"]), (&json!(bob.id), &json!("busy")));
}

/// Where pairs would be too many to be told one by one, the sockets come again to a new snapshot.
#[tokio::test]
async fn the_end_of_a_large_channel_is_a_new_snapshot() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let mut others = Vec::new();
    for n in 0..33 {
        others.push(app.user(&format!("user{n}")).await);
    }
    let channel = ann.channel("general", &others.iter().collect::<Vec<_>>()).await;
    let mut chats = Vec::new();
    for user in &others {
        chats.push(user.socket().await);
    }
    let (mut at_anns, snapshot) = presence(&app, &ann).await;
    assert_eq!(snapshot.iter().filter(|one| one["status"] == "online").count(), 33);
    ann.delete(&format!("/api/channels/{channel}")).await.expect(204);
    assert_eq!(at_anns.close_code().await, 4503);
    let (_at_anns, snapshot) = presence(&app, &ann).await;
    assert_eq!(snapshot, [] as [Value; 0]);
    assert_eq!(chats[0].event("channel.deleted").await["data"]["id"], channel, "a chat goes on");
}

/// A short absence is not seen; who has gone is recorded once, also when the server stops.
#[tokio::test]
async fn grace_hides_a_reconnect_and_last_seen_outlives_the_server() {
    let mut app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.channel("general", &[&bob]).await;
    let (mut at_anns, _) = presence(&app, &ann).await;
    let (at_bobs, _) = presence(&app, &bob).await;
    at_anns.event("presence.changed").await;
    drop(at_bobs);
    let (_at_bobs, _) = presence(&app, &bob).await;
    assert_eq!(at_anns.quiet().await, [] as [Value; 0]);
    assert_eq!(ann.get(&format!("/api/users/{}", bob.id)).await.expect(200)["status"], "online");
    assert!(app.stop().await);
    app.restart().await;
    let ann = ann.at(&app.url);
    let seen = ann.get(&format!("/api/users/{}", bob.id)).await.expect(200);
    assert_eq!(seen["status"], "offline");
    assert!(seen["last_seen"].is_string(), "{seen}");
}

#[tokio::test]
async fn the_presence_socket_is_for_presence() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let (mut at_anns, _) = presence(&app, &ann).await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "no news for presence").await;
    assert_eq!(at_anns.quiet().await, [] as [Value; 0]);
    let refused = at_anns.call("presence.set", json!({ "status": "asleep" })).await;
    assert_eq!(refused["data"]["code"], "validation_failed");
    let refused = at_anns.call("message.send", json!({ "channel_id": channel, "content": "x" })).await;
    assert_eq!(refused["data"]["code"], "unknown_type");
    assert_eq!(app.anonymous().get("/ws/presence").await.problem(426), "upgrade_required");
    ann.post("/api/auth/logout", &json!({})).await.expect(204);
    assert_eq!(at_anns.close_code().await, 4401);
}

#[tokio::test]
async fn one_user_has_so_many_sockets_and_no_more() {
    let app = TestApp::start_with(&["limits.rate=on", "limits.sockets_per_user=3"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(ann.socket().await);
    }
    let mut one_more = Socket::connect(&app.url).await;
    let token = json!({ "type": "authenticate", "data": { "token": ann.token } });
    one_more.send_raw(&token.to_string()).await;
    assert_eq!(one_more.close_code().await, 4429);
    bob.socket().await;
}
