//! The plugins that come with the host and are off until somebody wants them.

use patchbay_tests::{Answer, TestApp, User, json};

async fn enable(root: &User, name: &str, config: patchbay_tests::Value) {
    let path = format!("/api/admin/plugins/{name}");
    assert_eq!(root.get(&path).await.expect(200)["state"], "disabled");
    let enabled = root.patch(&path, &json!({ "enabled": true, "config": config })).await.expect(200);
    assert_eq!(enabled["state"], "active", "{enabled:#}");
}

#[tokio::test]
async fn moderation_keeps_out_what_is_not_wanted() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let reports = ann.channel("reports", &[]).await;
    bob.say(channel, "spam, while nobody minds").await;
    let config = json!({
        "words": ["spam"], "link_hosts": ["example.org"], "max_mentions": 2, "report_channel": reports,
    });
    enable(&ann, "moderation", config).await;
    let bot = ann.id_of("moderation").await;
    ann.post(&format!("/api/channels/{reports}/members"), &json!({ "user_id": bot })).await.expect(201);

    let post = async |text: &str| {
        bob.post(&format!("/api/channels/{channel}/messages"), &json!({ "content": text })).await
    };
    let why = |refused: Answer| {
        let code = refused.body["errors"][0]["code"].as_str().unwrap().to_owned();
        assert_eq!(refused.problem(422), "message_refused");
        code
    };
    let fine = post("spammers at https://docs.example.org, @ann and @bob").await.expect(201);
    assert_eq!(why(post("S\u{200b}pám!").await), "word_not_allowed");
    assert_eq!(why(post("see https://example.com").await), "link_not_allowed");
    assert_eq!(why(post("@a @b @c").await), "too_many_mentions");
    let path = format!("/api/messages/{}", fine["id"]);
    assert_eq!(why(bob.patch(&path, &json!({ "content": "spam" })).await), "word_not_allowed");
    assert_eq!(bob.get(&path).await.expect(200)["content"], fine["content"]);
    let told = ann.get(&format!("/api/channels/{reports}/messages")).await.expect(200);
    let told: Vec<_> = told["items"].as_array().unwrap().iter().map(|m| m["content"].to_string()).collect();
    assert_eq!(told.len(), 4);
    assert!(told[3].contains(&format!("by bob in channel {channel} was refused")), "{told:?}");
    assert!(told.iter().all(|text| !text.to_lowercase().contains("spam")), "{told:?}");

    let masks = json!({ "config": { "on_word": "mask" } });
    ann.patch("/api/admin/plugins/moderation", &masks).await.expect(200);
    assert_eq!(post("Spam, SPAM!").await.expect(201)["content"], "████, ████!");
    // Without its report the message is refused all the same.
    let nowhere = json!({ "config": { "report_channel": 9_999 } });
    ann.patch("/api/admin/plugins/moderation", &nowhere).await.expect(200);
    assert_eq!(why(post("www.example.com").await), "link_not_allowed");
}

#[tokio::test]
async fn a_digest_comes_when_it_is_due() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await] {
        let Some(mut app) = app else { continue };
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let channel = ann.channel("general", &[&bob]).await;
        enable(&ann, "digest", json!({})).await;
        let run = async |text: &str| {
            bob.post("/api/commands", &json!({ "channel_id": channel, "text": text })).await
        };
        assert!(run("/digest").await.expect(200)["text"].as_str().unwrap().contains("no digest here"));
        assert_eq!(run("/digest 25:00").await.problem(422), "command_refused");
        assert_eq!(run("/digest 08:00 Nowhere/Land").await.problem(422), "command_refused");
        assert_eq!(run("/digest 08:00").await.problem(422), "command_refused", "the bot is no member");
        let bot = ann.id_of("digest").await;
        ann.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": bot })).await.expect(201);
        assert_eq!(run("/digest 08:00 Europe/Berlin").await.expect(200)["text"], json!(null));
        let shown = run("/digest").await.expect(200);
        assert_eq!(shown["text"], "A digest comes daily at 08:00 (Europe/Berlin).");

        let messages = format!("/api/channels/{channel}/messages");
        let root = ann.post(&messages, &json!({ "content": "Shall we?" })).await.expect(201);
        bob.post(&messages, &json!({ "content": "yes", "parent_id": root["id"] })).await.expect(201);
        let liked = format!("/api/messages/{}/reactions", root["id"]);
        bob.post(&liked, &json!({ "emoji": "👍" })).await.expect(201);
        let newest = async |ann: &User| {
            ann.get(&messages).await.expect(200)["items"][0]["content"].as_str().unwrap().to_owned()
        };
        let heard = newest(&ann).await;
        app.kill().await;
        // The night passes.
        app.sql("UPDATE plugin_jobs SET due_at = 4000000000000, run_at = 0 WHERE plugin = 'digest'").await;
        app.restart().await;
        let (ann, bob) = (ann.at(&app.url), bob.at(&app.url));
        let told = ann.until(&messages, |list| list["items"][0]["content"] != *heard).await;
        let told = &told["items"][0];
        assert_eq!(told["sender_id"], bot);
        assert_eq!(
            told["content"],
            "2 messages by 2 people since the last digest.\n\nMost discussed:\n- “Shall we?” (1 reply)\n\n\
             Most reactions:\n- “Shall we?” (1)"
        );
        let off = bob.post("/api/commands", &json!({ "channel_id": channel, "text": "/digest off" })).await;
        off.expect(200);
        assert!(newest(&ann).await.contains("No more digests, says @bob"));
    }
}
