//! Messages and threads.

use patchbay_tests::{TestApp, json};

#[tokio::test]
async fn a_message_is_edited_and_deleted() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let id = bob.say(channel, "frist").await;
    let path = format!("/api/messages/{id}");
    assert_eq!(ann.patch(&path, &json!({ "content": "x" })).await.problem(403), "forbidden");
    let edited = bob.patch(&path, &json!({ "content": "first @ann" })).await.expect(200);
    assert_eq!((&edited["content"], &edited["mentions"]), (&json!("first @ann"), &json!([ann.id])));
    assert!(edited["edited_at"].is_string());
    assert_eq!(edited["extensions"]["reactions"], json!([]));
    let history = ann.get(&format!("{path}/history")).await.expect(200);
    assert_eq!(history["items"][0]["content"], "frist");
    assert_eq!(history["items"].as_array().unwrap().len(), 1);
    ann.delete(&path).await.expect(204);
    assert_eq!(bob.get(&path).await.problem(404), "message_not_found");
    assert_eq!(bob.delete(&path).await.problem(404), "message_not_found");
}

#[tokio::test]
async fn content_is_checked() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let path = format!("/api/channels/{channel}/messages");
    for bad in ["", "   ", "\n", "a\u{0}b", &"x".repeat(8_001)] {
        let answer = ann.post(&path, &json!({ "content": bad })).await;
        assert_eq!(answer.body["errors"][0]["field"], "content");
        assert_eq!(answer.problem(422), "validation_failed");
    }
    for good in ["é".repeat(8_000), "👩‍👩‍👧‍👦 שלום 日本語 \u{202e}".to_owned(), "tabs\tand\nlines".to_owned()]
    {
        let made = ann.post(&path, &json!({ "content": good })).await.expect(201);
        let read = ann.get(&format!("/api/messages/{}", made["id"])).await.expect(200);
        assert_eq!(read["content"], good.as_str());
    }
    let answer = ann.post(&path, &json!({ "content": "x", "file_ids": [7] })).await;
    assert_eq!(answer.problem(422), "validation_failed");
    let answer = ann.post(&path, &json!({ "content": "x", "parent_id": 999 })).await;
    assert_eq!(answer.problem(422), "validation_failed");
}

#[tokio::test]
async fn who_only_reads_can_not_write() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[]).await;
    let message = ann.say(channel, "hello").await;
    let answer = bob.post(&format!("/api/channels/{channel}/messages"), &json!({ "content": "x" })).await;
    assert_eq!(answer.problem(403), "forbidden");
    let answer = bob.post(&format!("/api/messages/{message}/reactions"), &json!({ "emoji": "👍" })).await;
    assert_eq!(answer.problem(403), "forbidden");
    assert_eq!(bob.get(&format!("/api/messages/{message}")).await.expect(200)["content"], "hello");
}

#[tokio::test]
async fn messages_page_newest_first() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(ann.say(channel, &format!("message {n}")).await);
    }
    let page = async |query: &str| {
        let page = ann.get(&format!("/api/channels/{channel}/messages?{query}")).await.expect(200);
        let found: Vec<_> =
            page["items"].as_array().unwrap().iter().map(|m| m["id"].as_i64().unwrap()).collect();
        (found, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (vec![ids[4], ids[3]], true));
    assert_eq!(page(&format!("limit=2&before={}", ids[3])).await, (vec![ids[2], ids[1]], true));
    assert_eq!(page(&format!("limit=2&before={}", ids[1])).await, (vec![ids[0]], false));
    assert_eq!(page(&format!("limit=2&after={}", ids[0])).await, (vec![ids[2], ids[1]], true));
    assert_eq!(page(&format!("limit=2&after={}", ids[3])).await, (vec![ids[4]], false));
}

#[tokio::test]
async fn threads_have_one_level_and_leave_a_tombstone() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let posts = format!("/api/channels/{channel}/messages");
    let root = ann.say(channel, "a question").await;
    let reply = bob.post(&posts, &json!({ "content": "an answer", "parent_id": root })).await.expect(201);
    let reply = reply["id"].as_i64().unwrap();
    let second = ann.post(&posts, &json!({ "content": "thanks", "parent_id": reply })).await.expect(201);
    assert_eq!(second["parent_id"], root, "a reply to a reply belongs to the root");
    let second = second["id"].as_i64().unwrap();

    let thread = bob.get(&format!("/api/messages/{reply}/thread")).await.expect(200);
    assert_eq!((&thread["root"]["id"], &thread["root"]["reply_count"]), (&json!(root), &json!(2)));
    let order: Vec<_> =
        thread["items"].as_array().unwrap().iter().map(|m| m["id"].as_i64().unwrap()).collect();
    assert_eq!(order, [reply, second]);
    assert_eq!(thread["items"][0]["extensions"]["reactions"], json!([]));

    ann.delete(&format!("/api/messages/{root}")).await.expect(204);
    let tombstone = ann.get(&format!("/api/messages/{root}")).await.expect(200);
    assert_eq!((&tombstone["content"], &tombstone["reply_count"]), (&json!(""), &json!(2)));
    assert!(tombstone["deleted_at"].is_string());
    assert_eq!(
        ann.patch(&format!("/api/messages/{root}"), &json!({ "content": "x" })).await.problem(404),
        "message_not_found"
    );
    bob.delete(&format!("/api/messages/{reply}")).await.expect(204);
    assert_eq!(ann.get(&format!("/api/messages/{root}")).await.expect(200)["reply_count"], 1);
    ann.delete(&format!("/api/messages/{second}")).await.expect(204);
    assert_eq!(ann.get(&format!("/api/messages/{root}")).await.problem(404), "message_not_found");
    assert_eq!(ann.get(&posts).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_key_finds_the_original() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let path = format!("/api/channels/{channel}/messages");
    let post = async |user: &patchbay_tests::User, content: &str| {
        let request = user.request(reqwest::Method::POST, &path).header("idempotency-key", "k1");
        user.send(request.json(&json!({ "content": content }))).await
    };
    let posts = futures_util::future::join_all((0..8).map(|_| post(&ann, "once"))).await;
    let made = posts.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    let id = posts[0].body["id"].as_i64().unwrap();
    assert!(posts.iter().all(|answer| answer.body["id"] == id));
    post(&bob, "another's key").await.expect(201);
    // The socket's nonce is the same thing.
    let mut socket = ann.socket().await;
    let data = json!({ "channel_id": channel, "content": "once", "nonce": "k1" });
    assert_eq!(socket.call("message.send", data).await["data"]["id"], id);
    assert_eq!(ann.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn reactions_are_emoji_once_each() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let id = ann.say(channel, "react!").await;
    let path = format!("/api/messages/{id}/reactions");
    let first = ann.post(&path, &json!({ "emoji": "👍🏽" })).await.expect(201);
    assert_eq!((&first["message_id"], &first["user_id"]), (&json!(id), &json!(ann.id)));
    assert_eq!(ann.post(&path, &json!({ "emoji": "👍🏽" })).await.expect(200)["id"], first["id"]);
    for good in ["❤️", "🇩🇪", "👩‍👩‍👧‍👦", "1️⃣"] {
        bob.post(&path, &json!({ "emoji": good })).await.expect(201);
    }
    assert_eq!(bob.post(&path, &json!({ "emoji": "❤" })).await.status, 200, "another spelling of the same");
    for bad in ["", "a", "1", "👍👍", "👍 ", ":+1:", "\u{200d}"] {
        assert_eq!(
            ann.post(&path, &json!({ "emoji": bad })).await.problem(422),
            "validation_failed",
            "{bad:?}"
        );
    }
    assert_eq!(ann.post(&path, &json!({ "emoji": "👍", "x": 1 })).await.problem(422), "validation_failed");
    let list = bob.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["has_more"]), (2, &json!(true)));
    bob.delete(&format!("{path}?emoji=%F0%9F%87%A9%F0%9F%87%AA")).await.expect(204);
    bob.delete(&format!("{path}/❤️")).await.expect(204);
    assert_eq!(bob.delete(&format!("{path}/❤️")).await.problem(404), "reaction_not_found");
    let message = bob.get(&format!("/api/messages/{id}")).await.expect(200);
    let counts: Vec<_> = message["extensions"]["reactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (&r["emoji"], &r["me"]))
        .collect();
    assert_eq!(
        counts,
        [(&json!("👍🏽"), &json!(false)), (&json!("👩‍👩‍👧‍👦"), &json!(true)), (&json!("1️⃣"), &json!(true))]
    );
    assert_eq!(ann.put(&path, &json!({})).await.problem(405), "method_not_allowed");
}

#[tokio::test]
async fn messages_are_pinned_by_members() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let channel = ann.channel("general", &[&bob]).await;
    let elsewhere = ann.channel("elsewhere", &[]).await;
    let (first, second) = (ann.say(channel, "first").await, ann.say(channel, "second").await);
    let pins = format!("/api/channels/{channel}/pins");
    let mut at_anns = ann.socket().await;
    for id in [first, second, first] {
        bob.put(&format!("{pins}/{id}"), &json!({})).await.expect(204);
    }
    let event = at_anns.event("message.pinned").await;
    assert_eq!(event["data"], json!({ "channel_id": channel, "message_id": first, "user_id": bob.id }));
    let listed = async |user: &patchbay_tests::User| {
        let page = user.get(&pins).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|m| m["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&cid).await, [second, first], "the newest pin first");
    assert_eq!(cid.put(&format!("{pins}/{first}"), &json!({})).await.problem(403), "forbidden");
    let wrong = format!("/api/channels/{elsewhere}/pins/{first}");
    assert_eq!(ann.put(&wrong, &json!({})).await.problem(404), "message_not_found");
    ann.delete(&format!("{pins}/{second}")).await.expect(204);
    assert_eq!(ann.delete(&format!("{pins}/{second}")).await.problem(404), "pin_not_found");
    at_anns.event("message.unpinned").await;
    ann.delete(&format!("/api/messages/{first}")).await.expect(204);
    assert_eq!(listed(&ann).await, [0; 0]);
}

/// Posts that arrive together are written together; each gets what it would have got alone.
#[tokio::test]
async fn posts_that_are_written_together_do_not_suffer_for_each_other() {
    let postgres = match patchbay_tests::postgres::database().await {
        Some(database) => Some(TestApp::start_on_with(database, &[]).await),
        None => None,
    };
    for app in [Some(TestApp::start().await), postgres].into_iter().flatten() {
        let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
        let channel = ann.private_channel("general", &[&bob]).await;
        let other = ann.channel("other", &[&bob]).await;
        let root = ann.say(channel, "root").await;
        let elsewhere = ann.say(other, "elsewhere").await;
        let path = format!("/api/channels/{channel}/messages");
        let mut socket = patchbay_tests::Socket::open(&app.url, &bob.token).await;

        let mut running = tokio::task::JoinSet::new();
        for n in 0..120_i64 {
            let (user, path) = (
                if n % 6 == 1 {
                    &eve
                } else if n % 2 == 0 {
                    &ann
                } else {
                    &bob
                },
                path.clone(),
            );
            let user = user.clone();
            running.spawn(async move {
                let content = format!("number {n} for @bob");
                let body = match n % 6 {
                    2 => json!({ "content": content, "parent_id": root }),
                    3 => json!({ "content": content, "parent_id": elsewhere }),
                    4 => json!({ "content": content, "file_ids": [999_999] }),
                    _ => json!({ "content": content }),
                };
                // Twenty posts share five keys.
                let answer = if n % 6 == 5 {
                    let request = user.request(reqwest::Method::POST, &path);
                    let key = format!("key{}", n % 5);
                    user.send(request.header("idempotency-key", key).json(&body)).await
                } else {
                    user.post(&path, &body).await
                };
                (n, answer)
            });
        }
        let (mut plain, mut by_key) = (Vec::new(), std::collections::BTreeMap::<i64, Vec<_>>::new());
        while let Some(done) = running.join_next().await {
            let (n, answer) = done.unwrap();
            match n % 6 {
                0 | 2 => {
                    let made = answer.expect(201);
                    assert_eq!(made["content"], format!("number {n} for @bob"));
                    assert_eq!((&made["sender_id"], &made["mentions"]), (&json!(ann.id), &json!([bob.id])));
                    assert_eq!(made["parent_id"], if n % 6 == 2 { json!(root) } else { json!(null) });
                    plain.push(made["id"].as_i64().unwrap());
                }
                1 => assert_eq!(answer.problem(404), "channel_not_found"),
                3 | 4 => assert_eq!(answer.problem(422), "validation_failed"),
                _ => by_key.entry(n % 5).or_default().push((answer.status, answer.body["id"].clone())),
            }
        }
        for (key, answers) in &by_key {
            assert_eq!(answers.len(), 4, "key {key}");
            assert!(answers.iter().all(|(_, id)| *id == answers[0].1 && id.is_i64()), "{answers:?}");
            assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
        }
        assert_eq!((plain.len(), by_key.len()), (40, 5));
        let thread = ann.get(&format!("/api/messages/{root}/thread")).await.expect(200);
        assert_eq!(thread["root"]["reply_count"], 20);

        // Everybody is told of each once, in order.
        let mut seqs = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 45 {
            let event = socket.event("message.created").await;
            seqs.push(event["seq"].as_i64().unwrap());
            assert!(told.insert(event["data"]["id"].as_i64().unwrap()), "{event:#}");
        }
        assert!(seqs.is_sorted() && plain.iter().all(|id| told.contains(id)));
        let list = ann.get(&format!("{path}?limit=200")).await.expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), 46);
        let found = bob.get("/api/search/messages?q=number&limit=200").await.expect(200);
        assert_eq!(found["items"].as_array().unwrap().len(), 45);
    }
}
