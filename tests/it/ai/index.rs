//! What is found, by whom, and how it gets into the index.

use patchbay_tests::{eventually, json};

use super::{STATUS, found, ids, indexed, provider::Provider, servers, with_provider};

#[tokio::test]
async fn only_who_may_read_a_message_at_that_moment_finds_it() {
    for app in servers(&[]).await {
        let (root, ann, bob, eve) =
            (app.user("root").await, app.user("ann").await, app.user("bob").await, app.user("eve").await);
        let channel = ann.private_channel("plans", &[&bob]).await;
        let id = ann.say(channel, "the walrus is released in october").await;
        indexed(&bob, "walrus", id).await;
        for by in ["both", "words", "vectors"] {
            let query = format!("releasing+the+walrus&by={by}");
            assert_eq!(found(&bob, &query).await, [id], "{by}");
            assert_eq!(found(&eve, &query).await, [] as [i64; 0], "{by}");
            assert_eq!(found(&root, &query).await, [] as [i64; 0], "{by}: no member, superuser or not");
        }
        let page = bob.get("/api/v1/ai/context?q=walrus&limit=1").await.expect(200);
        assert_eq!((&page["embedder"], &page["has_more"]), (&json!("lexical"), &json!(false)));
        assert_eq!(page["items"][0]["message"]["sender"]["username"], "ann");
        assert!(page["items"][0]["score"].as_f64().unwrap() > 0.9);
        let within = format!("/api/v1/ai/context?q=walrus&channel_id={channel}");
        assert_eq!(ids(&bob.get(&within).await.expect(200)), [id]);
        assert_eq!(eve.get(&within).await.problem(404), "channel_not_found");

        bob.delete(&format!("/api/channels/{channel}/members/{}", bob.id)).await.expect(204);
        assert_eq!(found(&bob, "walrus").await, [] as [i64; 0], "a former member");
        assert_eq!(bob.get(&within).await.problem(404), "channel_not_found");
        let edited = json!({ "content": "the narwhal is released in november" });
        ann.patch(&format!("/api/messages/{id}"), &edited).await.expect(200);
        indexed(&ann, "narwhal", id).await;
        ann.delete(&format!("/api/messages/{id}")).await.expect(204);
        assert_eq!(found(&ann, "narwhal").await, [] as [i64; 0]);
        root.until(STATUS, |status| status["vectors"] == 0).await;
        // A channel that goes takes its vectors along.
        let id = ann.say(channel, "the walrus again").await;
        indexed(&ann, "walrus", id).await;
        ann.delete(&format!("/api/channels/{channel}")).await.expect(204);
        root.until(STATUS, |status| status["vectors"] == 0).await;
    }
}

#[tokio::test]
async fn what_was_written_before_is_gone_through_and_a_kill_does_not_matter() {
    for mut app in servers(&[]).await {
        let ann = app.user("ann").await;
        let disabled = json!({ "enabled": false });
        ann.patch("/api/admin/plugins/ai", &disabled).await.expect(200);
        let channel = ann.channel("general", &[]).await;
        let first = ann.say(channel, "walrus number 0").await;
        for n in 1..450 {
            ann.say(channel, &format!("walrus number {n}")).await;
        }
        ann.patch("/api/admin/plugins/ai", &json!({ "enabled": true })).await.expect(200);
        let begun = ann.post("/api/plugins/ai/reindex", &json!({})).await.expect(202);
        assert_eq!(begun["backfill"]["state"], "running");
        app.kill().await;
        app.restart().await;
        let ann = ann.at(&app.url);
        let is_complete = |status: &patchbay_tests::Value| status["backfill"]["state"] == "complete";
        let status = ann.until(STATUS, is_complete).await;
        assert_eq!((&status["vectors"], &status["embedder"]), (&json!(450), &json!("lexical")), "{status}");
        let oldest = ann.get("/api/v1/ai/context?q=walrus+number+0&by=vectors").await.expect(200);
        assert!(ids(&oldest).contains(&first));

        // The same by the command line, with a server and without.
        let said = app.run(&["ai", "reindex"], "").await.expect();
        assert!(said.contains("complete"), "{said}");
        let bob = app.user("bob").await;
        bob.get(STATUS).await.problem(403);
        bob.post("/api/plugins/ai/reindex", &json!({})).await.problem(403);
        assert!(app.stop().await);
        let said = app.run(&["ai", "status"], "").await.expect();
        assert!(said.contains("embedded by lexical: 450 vectors"), "{said}");
        app.run(&["ai", "reindex"], "").await.expect();
    }
}

#[tokio::test]
async fn another_embedder_makes_another_index() {
    for mut app in servers(&[]).await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        let id = ann.say(channel, "the cat sat on the mat").await;
        indexed(&ann, "cat", id).await;
        assert!(!found(&ann, "feline&by=vectors").await.contains(&id), "words know no meaning");
        let provider = Provider::start().await;
        let settings = provider.settings(true);
        app.set(&settings.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(app.stop().await);
        app.restart().await;
        let ann = ann.at(&app.url);
        ann.say(channel, "something else").await;
        indexed(&ann, "feline", id).await;
        let page = ann.get("/api/v1/ai/context?q=feline").await.expect(200);
        assert!(page["embedder"].as_str().unwrap().contains("fake-embedding"), "{page}");
        ann.until(STATUS, |status| status["backfill"]["state"] == "complete").await;
    }
}

#[tokio::test]
async fn nothing_of_what_is_excluded_leaves_the_machine() {
    for (provider, app) in with_provider(true).await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let (legal, general) = (ann.private_channel("legal", &[]).await, ann.channel("general", &[]).await);
        let config = json!({ "config": { "exclude_channels": [legal.to_string()] } });
        ann.patch("/api/admin/plugins/ai", &config).await.expect(200);
        let direct =
            json!({ "name": "", "is_direct_message": true, "is_public": false, "member_ids": [bob.id] });
        let direct = ann.post("/api/channels", &direct).await.expect(201)["id"].as_i64().unwrap();
        let hidden = [
            ann.say(legal, "orinoco is the plaintiff").await,
            ann.say(direct, "amazonas is what I think").await,
        ];
        let id = ann.say(general, "the cat sat on the mat").await;
        indexed(&ann, "feline", id).await;
        ann.post("/api/plugins/ai/reindex", &json!({})).await.expect(202);
        ann.until(STATUS, |status| status["backfill"]["state"] == "complete").await;
        for content in ["who is the plaintiff?", "what does ann think?"] {
            ann.post("/api/v1/ai/message", &json!({ "content": content })).await.expect(200);
        }
        let refused = json!({ "content": "who?", "channel_id": legal });
        assert_eq!(ann.post("/api/v1/ai/message", &refused).await.problem(403), "channel_excluded");
        for query in ["orinoco", "amazonas", "orinoco&by=words", "amazonas&by=vectors"] {
            let found = found(&ann, query).await;
            assert!(found.iter().all(|id| !hidden.contains(id)), "{query}: {found:?}");
        }
        let heard = provider.heard();
        assert!(heard.contains("the cat sat"), "{heard}");
        assert!(!heard.contains("orinoco is") && !heard.contains("amazonas is"), "{heard}");
        // With the operator's word direct messages are like any others.
        let config = json!({ "config": { "include_direct_messages": true } });
        ann.patch("/api/admin/plugins/ai", &config).await.expect(200);
        ann.post("/api/plugins/ai/reindex", &json!({})).await.expect(202);
        ann.until(STATUS, |status| status["backfill"]["state"] == "complete").await;
        assert!(provider.heard().contains("amazonas is") && !provider.heard().contains("orinoco is"));
    }
}

#[tokio::test]
async fn nothing_leaves_the_machine_without_a_provider() {
    // It is there, and nobody has told the server of it.
    let provider = Provider::start().await;
    for app in servers(&[]).await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        let id = ann.say(channel, "the walrus is released").await;
        indexed(&ann, "walrus", id).await;
        let refused = ann.post("/api/v1/ai/message", &json!({ "content": "when?" })).await;
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.problem(503), "ai_not_configured");
        assert!(ann.get("/api/users?query=ai").await.expect(200)["items"].as_array().unwrap().is_empty());
    }
    assert_eq!(provider.heard(), "");
}

#[tokio::test]
async fn messages_wait_for_a_provider_that_is_away() {
    let provider = Provider::start().await;
    let mut settings = provider.settings(true);
    // Nobody listens there.
    settings[0] = "ai.base_url=http://127.0.0.1:1/v1".to_owned();
    for mut app in servers(&settings).await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        let id = ann.say(channel, "the cat sat on the mat").await;
        ann.until(STATUS, |status| status["waiting"] == 1).await;
        let page = ann.get("/api/v1/ai/context?q=cat").await.expect(200);
        assert_eq!((ids(&page), &page["embedder"]), (vec![id], &json!(null)), "words still find it");
        app.unset("ai.base_url");
        app.set(&[&format!("ai.base_url={}", provider.url)]);
        assert!(app.stop().await);
        app.restart().await;
        let ann = ann.at(&app.url);
        ann.say(channel, "another").await;
        indexed(&ann, "feline", id).await;
        eventually("it was asked", || provider.heard().contains("the cat sat")).await;
        let letters = ann.get("/api/admin/plugins/ai/dead-letters").await.expect(200);
        assert_eq!(letters["items"], json!([]));
    }
}
