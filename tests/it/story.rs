//! The whole of it, once, as two people would live it.

use patchbay_tests::{TestApp, component, json};

#[tokio::test]
async fn a_conversation_survives_a_swap_and_a_crash() {
    story(TestApp::start().await).await;
}

#[tokio::test]
async fn a_conversation_on_postgres_survives_a_swap_and_a_crash() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    story(app).await;
}

async fn story(mut app: TestApp) {
    let ann = app.user("ann").await;
    let bob = app.user("bob").await;
    let channel = ann.channel("general", &[&bob]).await;

    let mut at_bobs = bob.socket().await;
    let first = ann.say(channel, "hello @bob").await;
    let heard = at_bobs.event("message.created").await;
    assert_eq!(heard["data"]["id"], first);
    assert_eq!(heard["data"]["content"], "hello @bob");
    assert_eq!(heard["data"]["mentions"], json!([bob.id]));
    assert!(heard["data"].get("extensions").is_none(), "events carry no decorations");

    let mut at_anns = ann.socket().await;
    let answer = at_anns
        .call("message.send", json!({ "channel_id": channel, "content": "and again", "nonce": "n1" }))
        .await;
    assert_eq!(answer["type"], "ack", "{answer}");
    let second = answer["data"]["id"].as_i64().unwrap();
    assert_eq!(at_bobs.event("message.created").await["data"]["id"], second);

    let reactions = format!("/api/messages/{first}/reactions");
    bob.post(&reactions, &json!({ "emoji": "👍" })).await.expect(201);
    assert_eq!(at_anns.event("reaction.added").await["data"]["emoji"], "👍");

    let old = ann.get("/api/admin/plugins/reactions").await.expect(200);
    let swapped = ann.install("reactions", other_version(&component("reactions"))).await.expect(200);
    assert_ne!(swapped["digest"], old["digest"]);
    assert_eq!(swapped["state"], "active");
    ann.post(&reactions, &json!({ "emoji": "🎉" })).await.expect(201);
    at_bobs.event("reaction.added").await;
    let last_seen = at_bobs.event("reaction.added").await["seq"].as_i64().unwrap();

    // Bob's train enters a tunnel; Ann goes on talking, and then the power fails.
    drop(at_bobs);
    let third = ann.say(channel, "are you there?").await;
    bob.get("/api/users/me").await.expect(200);
    app.kill().await;
    app.restart().await;
    let (ann, bob) = (ann.at(&app.url), bob.at(&app.url));

    let mut at_bobs = bob.socket().await;
    let (answer, missed) = at_bobs.resume(last_seen).await;
    assert_eq!(answer["type"], "resumed", "{answer}");
    let missed: Vec<_> = missed.iter().map(|event| (&event["type"], &event["data"]["id"])).collect();
    assert_eq!(missed, [(&json!("message.created"), &json!(third))]);

    let page = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    let contents: Vec<_> = page["items"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
    assert_eq!(contents, ["are you there?", "and again", "hello @bob"]);
    assert_eq!(
        page["items"][2]["extensions"]["reactions"],
        json!([{ "emoji": "👍", "count": 1, "me": false }, { "emoji": "🎉", "count": 1, "me": true }])
    );
    let plugin = ann.get("/api/admin/plugins/reactions").await.expect(200);
    assert_eq!(plugin["digest"], swapped["digest"], "the operator's version survives a restart");
    assert_eq!(plugin["versions"].as_array().unwrap().len(), 2);

    at_bobs.call("message.send", json!({ "channel_id": channel, "content": "I am back" })).await;
    assert_eq!(at_bobs.event("message.created").await["data"]["content"], "I am back");
}

/// The same component with another digest: a custom section that means nothing.
fn other_version(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend_from_slice(&[0, 6, 4, b'n', b'o', b't', b'e', b'2']);
    bytes
}
