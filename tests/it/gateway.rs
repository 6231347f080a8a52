//! The gateway: who hears what, and that nothing is missed.

use patchbay_tests::{Socket, TestApp, Value, json};

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_reach_those_who_may_see_them() {
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let (mut at_roots, mut at_bobs, mut at_cids) =
        (root.socket().await, bob.socket().await, cid.socket().await);

    let secret = ann.private_channel("secret", &[&bob]).await;
    let message = ann.say(secret, "psst").await;
    ann.patch(&format!("/api/messages/{message}"), &json!({ "content": "hush" })).await.expect(200);
    ann.post(&format!("/api/messages/{message}/reactions"), &json!({ "emoji": "👍" })).await.expect(201);
    ann.delete(&format!("/api/messages/{message}/reactions/👍")).await.expect(204);
    ann.delete(&format!("/api/messages/{message}")).await.expect(204);
    ann.patch(&format!("/api/channels/{secret}"), &json!({ "name": "secrets" })).await.expect(200);
    ann.delete(&format!("/api/channels/{secret}/members/{}", bob.id)).await.expect(204);
    ann.say(secret, "bob is gone").await;
    assert_eq!(
        kinds(&at_bobs.quiet().await),
        [
            "channel.created",
            "member.added",
            "member.added",
            "message.created",
            "message.updated",
            "reaction.added",
            "reaction.removed",
            "message.deleted",
            "channel.updated",
            "member.removed",
        ]
    );
    assert_eq!(kinds(&at_roots.quiet().await), [] as [&str; 0], "a superuser is no member");
    assert_eq!(kinds(&at_cids.quiet().await), [] as [&str; 0]);

    let public = ann.channel("public", &[&bob]).await;
    ann.say(public, "for members").await;
    ann.delete(&format!("/api/channels/{public}")).await.expect(204);
    assert_eq!(kinds(&at_cids.quiet().await), ["channel.created", "channel.deleted"]);
    assert_eq!(
        kinds(&at_bobs.quiet().await),
        ["channel.created", "member.added", "member.added", "message.created", "channel.deleted"]
    );
}

#[tokio::test]
async fn a_member_can_be_told_by_every_device_and_a_follower_while_it_is_public() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[]).await;
    let mut at_bobs = bob.socket().await;
    assert_eq!(at_bobs.call("subscribe", json!({ "channel_ids": [channel] })).await["type"], "ack");
    let (mut desk, mut phone) = (ann.socket().await, ann.socket().await);
    let id = ann.say(channel, "hello").await;
    for socket in [&mut at_bobs, &mut desk, &mut phone] {
        assert_eq!(socket.event("message.created").await["data"]["id"], id);
    }
    desk.call("typing", json!({ "channel_id": channel })).await;
    ann.patch(&format!("/api/channels/{channel}"), &json!({ "is_public": false })).await.expect(200);
    ann.say(channel, "now it is private").await;
    let frames = at_bobs.quiet().await;
    assert!(!kinds(&frames).contains(&"message.created"), "{frames:?}");
    let refused = at_bobs.call("subscribe", json!({ "channel_ids": [channel] })).await;
    assert_eq!(refused["data"]["code"], "channel_not_found");
}

#[tokio::test]
async fn following_is_for_public_channels_and_ends_with_them() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let secret = ann.private_channel("secret", &[&bob]).await;
    let public = ann.channel("public", &[]).await;
    let mut at_bobs = bob.socket().await;
    // A member may name a private channel; it does not outlive the membership.
    assert_eq!(at_bobs.call("subscribe", json!({ "channel_ids": [secret, public] })).await["type"], "ack");
    ann.delete(&format!("/api/channels/{secret}/members/{}", bob.id)).await.expect(204);
    ann.say(secret, "after the removal").await;
    let heard = ann.say(public, "for followers").await;
    let frames = at_bobs.quiet().await;
    assert_eq!(kinds(&frames), ["member.removed", "message.created"]);
    assert_eq!(frames[1]["data"]["id"], heard);
    let hidden = json!({ "is_public": false, "name": "a secret name" });
    ann.patch(&format!("/api/channels/{public}"), &hidden).await.expect(200);
    ann.say(public, "for members").await;
    assert_eq!(kinds(&at_bobs.quiet().await), [] as [&str; 0]);
    let many: Vec<i64> = (0..200).collect();
    let refused = at_bobs.call("subscribe", json!({ "channel_ids": many })).await;
    assert_eq!(refused["data"]["code"], "validation_failed");
}

/// What happens between hello and resume in a channel that is followed anew is part of the replay.
#[tokio::test]
async fn resume_covers_what_it_subscribes_to() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let (public, gone) = (ann.channel("public", &[]).await, ann.channel("gone", &[]).await);
    let first = bob.socket().await;
    let seen = first.hello["seq"].as_i64().unwrap();
    drop(first);
    ann.delete(&format!("/api/channels/{gone}")).await.expect(204);
    let before = ann.say(public, "before hello").await;
    let mut socket = bob.socket().await;
    let between = ann.say(public, "between hello and resume").await;
    let data = json!({ "seq": seen, "subscribe": [public, gone] });
    socket.seq = seen;
    assert_eq!(socket.call("resume", data).await["type"], "resumed");
    let after = ann.say(public, "after").await;
    let heard: Vec<_> = socket
        .quiet()
        .await
        .iter()
        .filter(|frame| frame["type"] == "message.created")
        .map(|frame| frame["data"]["id"].as_i64().unwrap())
        .collect();
    assert_eq!(heard, [before, between, after]);
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let app = TestApp::start().await;
    assert_eq!(app.anonymous().get("/ws/chat").await.problem(426), "upgrade_required");
}

/// Listeners who stop reading in the middle of a replay keep nobody else from reading.
#[tokio::test]
async fn slow_replays_do_not_hold_up_the_rest() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let long = "x".repeat(8_000);
    for _ in 0..600 {
        ann.say(channel, &long).await;
    }
    let mut listeners = Vec::new();
    for _ in 0..12 {
        let mut socket = bob.socket().await;
        socket.send_raw(r#"{"type":"resume","id":1,"data":{"seq":0}}"#).await;
        listeners.push(socket);
    }
    for _ in 0..20 {
        ann.get(&format!("/api/channels/{channel}/messages?limit=1")).await.expect(200);
        ann.say(channel, "still here").await;
    }
}

/// A client that doesn't read costs a bounded number of bytes: it is cut off, and comes back to all it has missed.
#[tokio::test]
async fn who_reads_too_slowly_is_cut_off_and_can_resume() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let mut slow = Socket::open_narrow(&app.url, &bob.token).await;
    // Far fewer frames than may wait, and more bytes than the queue and the system together hold.
    let long = "🦀".repeat(8_000);
    let mut posted = Vec::new();
    for _ in 0..300 {
        posted.push(ann.say(channel, &long).await);
    }
    let mut heard = Vec::new();
    let code = loop {
        match slow.next_or_close().await {
            Ok(frame) => heard.push(frame["data"]["id"].as_i64().unwrap()),
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4508);
    assert!(!heard.is_empty() && heard.len() < posted.len(), "{} of {}", heard.len(), posted.len());
    let mut again = bob.socket().await;
    let (answer, events) = again.resume(slow.seq).await;
    assert_eq!(answer["type"], "resumed");
    heard.extend(events.iter().map(|event| event["data"]["id"].as_i64().unwrap()));
    assert_eq!(heard, posted);
}

#[tokio::test]
async fn requests_by_socket_are_the_same_operations() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let (mut at_anns, mut at_bobs) = (ann.socket().await, bob.socket().await);
    let sent = at_anns.call("message.send", json!({ "channel_id": channel, "content": "hello" })).await;
    assert_eq!((&sent["type"], &sent["data"]["content"]), (&json!("ack"), &json!("hello")));
    at_bobs.call("read", json!({ "channel_id": channel, "message_id": sent["data"]["id"] })).await;
    assert_eq!(bob.get(&format!("/api/channels/{channel}")).await.expect(200)["unread_count"], 0);
    at_anns.call("typing", json!({ "channel_id": channel })).await;
    assert_eq!(at_bobs.event("typing").await["data"], json!({ "channel_id": channel, "user_id": ann.id }));
    for (data, code) in [
        (json!({ "channel_id": 99, "content": "x" }), "channel_not_found"),
        (json!({ "channel_id": channel, "content": "" }), "validation_failed"),
        (json!({ "channel_id": channel, "text": "x" }), "validation_failed"),
    ] {
        let refused = at_anns.call("message.send", data).await;
        assert_eq!((&refused["type"], &refused["data"]["code"]), (&json!("error"), &json!(code)));
    }
    assert_eq!(at_anns.call("nonsense", json!({})).await["data"]["code"], "unknown_type");
}

#[tokio::test]
async fn bad_frames_close_the_socket_with_their_code() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    for text in ["nonsense", "[]", r#"{"type":"heartbeat","id":{}}"#] {
        let mut socket = ann.socket().await;
        socket.send_raw(text).await;
        assert_eq!(socket.close_code().await, 4400, "{text}");
    }
    let mut socket = ann.socket().await;
    socket.send_raw(&"x".repeat(70_000)).await;
    assert_eq!(socket.close_code().await, 4413);
}

#[tokio::test]
async fn a_flood_of_frames_is_cut_off() {
    let app = TestApp::start_with(&["limits.rate=on"]).await;
    let ann = app.user("ann").await;
    let mut socket = ann.socket().await;
    for _ in 0..150 {
        socket.send_raw(r#"{"type":"heartbeat"}"#).await;
    }
    assert_eq!(socket.close_code().await, 4429);
}

#[tokio::test]
async fn resume_replays_what_one_may_see_now() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let shared = ann.channel("shared", &[&bob]).await;
    let private = ann.private_channel("private", &[&bob]).await;
    let socket = bob.socket().await;
    let seen = socket.hello["seq"].as_i64().unwrap();
    drop(socket);

    ann.say(private, "bob will not be allowed to read this").await;
    let kept = ann.say(shared, "kept").await;
    let doomed = ann.say(shared, "the secret word is xyzzy").await;
    ann.delete(&format!("/api/messages/{doomed}")).await.expect(204);
    ann.delete(&format!("/api/channels/{private}/members/{}", bob.id)).await.expect(204);

    let mut socket = bob.socket().await;
    let (answer, events) = socket.resume(seen).await;
    assert_eq!(answer["type"], "resumed");
    assert_eq!(kinds(&events), ["message.created", "message.created", "message.deleted", "member.removed"]);
    assert_eq!(events[0]["data"]["id"], kept);
    let replayed = serde_json::to_string(&events).unwrap();
    assert!(!replayed.contains("xyzzy") && !replayed.contains("not be allowed"), "{replayed}");
    let live = ann.say(shared, "live again").await;
    assert_eq!(socket.event("message.created").await["data"]["id"], live);
}

#[tokio::test]
async fn continuity_that_can_not_be_proven_is_a_resync() {
    let app = TestApp::start_with(&["journal.max_events=3"]).await;
    let ann = app.user("ann").await;
    let mut socket = ann.socket().await;
    let (answer, events) = socket.resume(1_000_000).await;
    assert_eq!((&answer["type"], events.len()), (&json!("resync"), 0), "the future");

    let channel = ann.channel("general", &[]).await;
    let mut socket = ann.socket().await;
    let seen = socket.hello["seq"].as_i64().unwrap();
    socket.call("typing", json!({ "channel_id": channel })).await;
    ann.say(channel, "seen live").await;
    socket.event("message.created").await;
    let answer = socket.call("resume", json!({ "seq": seen })).await;
    assert_eq!(answer["type"], "resync", "what was sent already can't be sent again");
}

/// Every message that was acknowledged is heard exactly once, in order, however often the listener goes away.
#[tokio::test]
async fn nothing_is_missed_and_nothing_repeats_across_reconnects() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let first = bob.socket().await;
    let mut seen = first.hello["seq"].as_i64().unwrap();
    drop(first);
    let talk = {
        let ann = ann.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..300 {
                ids.push(ann.say(channel, &format!("message {n}")).await);
            }
            ids
        })
    };
    let mut heard = Vec::new();
    while heard.len() < 300 {
        let mut socket = Socket::open(&app.url, &bob.token).await;
        let (answer, events) = socket.resume(seen).await;
        assert_eq!(answer["type"], "resumed", "{answer}");
        let mut events = events;
        for _ in 0..7 {
            // After the last one, or when it may be on its way already, there is nothing to wait for.
            if heard.len() + events.len() == 300 || talk.is_finished() {
                break;
            }
            events.push(socket.event("message.created").await);
        }
        for event in events {
            heard.push(event["data"]["id"].as_i64().unwrap());
            seen = event["seq"].as_i64().unwrap();
        }
    }
    assert_eq!(heard, talk.await.unwrap());
}

#[tokio::test]
async fn an_orderly_stop_tells_the_sockets() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let mut sockets = Vec::new();
    for _ in 0..50 {
        sockets.push(ann.socket().await);
    }
    let farewells = tokio::spawn(async move {
        let mut codes = Vec::new();
        for socket in &mut sockets {
            codes.push(socket.close_code().await);
        }
        codes
    });
    assert!(app.stop().await);
    assert_eq!(farewells.await.unwrap(), [4503; 50]);
}
