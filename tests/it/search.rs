//! Search by its routes, with the plugin that ships, on both databases.

mod files;
mod index;
pub mod leaks;

use patchbay_tests::{Answer, TestApp, User, Value, json};
use reqwest::{Method, Url};

/// A server on each database that there is.
pub(super) async fn servers() -> Vec<TestApp> {
    let mut servers = vec![TestApp::start_on_sqlite().await];
    servers.extend(TestApp::start_on_postgres().await);
    servers
}

/// Asks `/api/search/{what}` with these parameters.
pub(super) async fn search(user: &User, what: &str, parameters: &[(&str, &str)]) -> Answer {
    let url = Url::parse_with_params(&format!("http://x/api/search/{what}"), parameters).unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    user.send(user.request(Method::GET, &path)).await
}

/// The ids of the messages that are found, in order.
pub(super) async fn found(user: &User, q: &str) -> Vec<i64> {
    found_with(user, &[("q", q)]).await
}

async fn found_with(user: &User, parameters: &[(&str, &str)]) -> Vec<i64> {
    ids(&search(user, "messages", parameters).await.expect(200), "message")
}

pub(super) fn ids(page: &Value, what: &str) -> Vec<i64> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item[what]["id"].as_i64().unwrap()).collect()
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn what_can_be_said() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let general = ann.channel("general", &[&bob]).await;
        let ops = ann.channel("Ops Team", &[&bob]).await;
        let first = ann.say(general, "The deploy failed: out of memory").await;
        let second = bob.say(ops, "memory is out, deployments wait https://example.org/x").await;
        let third = bob.say(general, "Café in Łódź #release").await;
        let path = format!("/api/channels/{general}/messages");
        let reply = json!({ "content": "deploy again", "parent_id": first });
        let reply = bob.post(&path, &reply).await.expect(201)["id"].as_i64().unwrap();
        let file = ann.upload("notes.txt", "text/plain", "x").await.expect(201)["id"].clone();
        let with_file = json!({ "content": "see the notes", "file_ids": [file] });
        let with_file = ann.post(&path, &with_file).await.expect(201)["id"].as_i64().unwrap();
        ann.post(&format!("/api/messages/{third}/reactions"), &json!({ "emoji": "🎉" })).await.expect(201);

        for (q, expected) in [
            ("deploy", vec![first, reply]),
            ("DEPLOY failed", vec![first]),
            ("deploy*", vec![first, second, reply]),
            (r#""out of memory""#, vec![first]),
            ("out memory", vec![first, second]),
            (r#""out of mem"*"#, vec![first]),
            ("memory -deploy", vec![second]),
            (r#"memory -"out of memory""#, vec![second]),
            ("cafe lodz", vec![third]),
            ("#release", vec![third]),
            ("example.org", vec![second]),
            ("from:bob deploy*", vec![second, reply]),
            ("from:@BOB -from:ann is:thread", vec![reply]),
            (&format!("from:{} notes", ann.id), vec![with_file]),
            ("from:me memory", vec![first]),
            ("from:ann from:bob memory", vec![first, second]),
            ("in:general memory", vec![first]),
            (r#"in:"ops team" memory"#, vec![second]),
            (&format!("in:{ops} memory"), vec![second]),
            ("-in:general memory", vec![second]),
            ("has:file", vec![with_file]),
            ("has:link", vec![second]),
            ("has:reaction", vec![third]),
            ("is:thread", vec![first, reply]),
            ("-has:link -has:file -has:reaction -is:thread", vec![]),
            ("-deploy -memory", vec![third, with_file]),
            ("deploy before:2020-01-01", vec![]),
            ("deploy after:2020-01-01 before:2099-01-01", vec![first, reply]),
            ("deploy on:2020-01-01", vec![]),
            ("nothing", vec![]),
            ("NOT OR AND NEAR(a) ^x col:y {z}", vec![]),
        ] {
            assert_eq!(sorted(found(&ann, q).await), sorted(expected), "{q}");
        }
        let only = |name, id: i64| [("q", "memory".to_owned()), (name, id.to_string())];
        for (parameters, expected) in [(only("channel_id", ops), second), (only("sender_id", ann.id), first)]
        {
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(found_with(&ann, &parameters).await, [expected]);
        }
        let contradiction = [("q", "in:general memory"), ("channel_id", &*ops.to_string())];
        assert_eq!(found_with(&ann, &contradiction).await, [] as [i64; 0]);

        let page = search(&ann, "messages", &[("q", "cafe <b>")]).await.expect(200);
        assert_eq!(page, json!({ "items": [], "has_more": false, "next_cursor": null }));
        let page = search(&ann, "messages", &[("q", "cafe")]).await.expect(200);
        let hit = &page["items"][0];
        assert_eq!(hit["message"]["content"], "Café in Łódź #release");
        assert_eq!(hit["highlight"], "<mark>Café</mark> in Łódź #release");
        assert!(hit["score"].as_f64().unwrap() > 0.0);
    }
}

#[tokio::test]
async fn faults_say_where_they_are() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.private_channel("hidden", &[]).await;
    let bob = app.user("bob").await;
    for (q, code, offset, length) in [
        ("deploy from:", "missing_value", 7, 5),
        ("é from:nobody", "user_not_found", 7, 6),
        ("in:#nowhere", "channel_not_found", 3, 8),
        ("in:hidden", "channel_not_found", 3, 6),
        ("x has:cheese", "unknown_value", 6, 6),
        ("is:open", "unknown_value", 3, 4),
        ("before:yesterday", "date", 7, 9),
        ("on:2026-02-30", "date", 3, 10),
        ("-after:2026-01-01 x", "not_negatable", 0, 17),
        ("has:link -has:link", "contradiction", 9, 9),
        ("say \"never closed", "unclosed_quote", 4, 13),
        ("", "missing", 0, 0),
        (" ?! ", "missing", 0, 4),
        (&"word ".repeat(33), "too_much", 160, 4),
        (&"x".repeat(600), "too_much", 0, 600),
    ] {
        let answer = search(&bob, "messages", &[("q", q)]).await;
        let error = answer.body["errors"][0].clone();
        assert_eq!(answer.problem(422), "validation_failed", "{q}");
        let expected = json!({ "field": "q", "code": code, "offset": offset, "length": length });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&error[name], value, "{q}: {error}");
        }
    }
    let answer = search(&bob, "messages", &[("q", "from: in: \"x")]).await;
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 3, "all at once");
    for (name, value) in [
        ("limit", "0"),
        ("limit", "201"),
        ("sort", "oldest"),
        ("timezone", "Mars/Base"),
        ("channel_id", "x"),
        ("sender_id", "0"),
        ("cursor", "n1'; DROP TABLE messages"),
        ("cursor", "r1"),
    ] {
        let answer = search(&bob, "messages", &[("q", "x"), (name, value)]).await;
        assert_eq!(answer.body["errors"][0]["field"], name, "{}", answer.body);
        answer.problem(422);
    }
    for what in ["files", "channels"] {
        assert_eq!(search(&bob, what, &[]).await.problem(422), "validation_failed");
        assert_eq!(search(&app.anonymous(), what, &[("q", "x")]).await.problem(401), "unauthenticated");
    }
    assert_eq!(
        search(&bob, "files", &[("q", "has:link")]).await.body["errors"][0]["code"],
        "unknown_operator"
    );
}

#[tokio::test]
async fn days_are_those_of_the_time_zone() {
    let app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let id = ann.say(channel, "late").await;
    // 2026-01-31T23:30:00Z
    app.sql("UPDATE messages SET created_at = 1769902200000").await;
    for (q, zone, is_found) in [
        ("late on:2026-01-31", "UTC", true),
        ("late on:2026-01-31", "Europe/Berlin", false),
        ("late on:2026-02-01", "Europe/Berlin", true),
        ("late on:2026-02-01", "+01:00", true),
        ("late before:2026-02-01", "UTC", true),
        ("late before:2026-02-01", "Asia/Tokyo", false),
        ("late after:2026-01-31", "UTC", false),
        ("late after:2026-01-31", "Asia/Tokyo", true),
        ("late after:2026-01-31T23:29:59Z before:2026-01-31T23:30:01Z", "UTC", true),
        ("late after:2026-01-31T23:30:00Z", "UTC", false),
    ] {
        let expected = if is_found { vec![id] } else { vec![] };
        assert_eq!(found_with(&ann, &[("q", q), ("timezone", zone)]).await, expected, "{q} {zone}");
    }
}

/// What other teams' search is known to miss, from the message to the answer.
#[tokio::test]
async fn words_in_any_script() {
    for app in servers().await {
        let ann = app.user("ann").await;
        let channel = ann.channel("general", &[]).await;
        for (text, queries) in [
            ("東京都の会議室を予約", "東京 京都 会議室 東 約 \"都の会議\""),
            ("한국어를 배워요", "한국 국어 배"),
            ("พูดสวัสดีครับ", "สวัสดี"),
            ("ssh 192.168.1.10:2222", "192.168.1.10 192.168 168 192.16* 2222"),
            ("docker-compose up", "docker-compose compose docker \"compose up\""),
            ("write to anna.smith@example.org.", "anna.smith@example.org example.org smith"),
            ("max_retry_count in getUserById", "max_retry_count retry getUserById getuserbyid user"),
            ("C++ or C#", "C++ C# c"),
            ("x̌ Ünïcödé straße", "unicode STRASSE"),
            ("shipped 🎉", "🎉"),
            ("see https://x.example/a/b?c=d#e", "https://x.example/a/b?c=d#e x.example /a/b"),
        ] {
            let id = ann.say(channel, text).await;
            let quoted = queries.split(' ').filter(|q| !queries.contains('"') || !q.contains('"'));
            for q in quoted.filter(|q| !q.ends_with('"')) {
                assert!(found(&ann, q).await.contains(&id), "{q} does not find {text}");
            }
            if let Some((_, phrase)) = queries.split_once('"') {
                assert_eq!(found(&ann, &format!("\"{phrase}")).await, [id], "{phrase}");
            }
        }
        assert_eq!(found(&ann, "C++").await.len(), 1);
        assert_eq!(found(&ann, "192.168.1.1").await, [] as [i64; 0]);
    }
}

#[tokio::test]
async fn pages_hold_what_may_be_seen_and_nothing_twice() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let (open, closed) = (ann.channel("open", &[]).await, ann.private_channel("closed", &[]).await);
        let mut expected = Vec::new();
        for n in 0..9 {
            expected.push(ann.say(open, &format!("apple {}", "pie ".repeat(n + 1))).await);
            ann.say(closed, "apple apple apple").await;
        }
        for sort in ["relevance", "newest"] {
            let (mut all, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
            loop {
                let mut parameters = vec![("q", "apple"), ("sort", sort), ("limit", "3")];
                parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                let page = search(&bob, "messages", &parameters).await.expect(200);
                all.extend(ids(&page, "message"));
                pages += 1;
                // What is posted meanwhile moves nothing.
                ann.say(open, "apple").await;
                assert_eq!(page["has_more"], pages < 3, "{sort}: 9 of 18 may be seen");
                cursor = page["next_cursor"].as_str().map(str::to_owned);
                if cursor.is_none() {
                    break;
                }
            }
            let newest: Vec<_> = expected.iter().rev().copied().collect();
            match sort {
                "newest" => assert_eq!(all, newest),
                _ => assert_eq!(all, expected, "the shorter the text, the more the word says"),
            }
            let path = format!("/api/channels/{open}/messages?limit=200");
            for message in ann.get(&path).await.expect(200)["items"].as_array().unwrap() {
                if message["content"] == "apple" {
                    ann.delete(&format!("/api/messages/{}", message["id"])).await.expect(204);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_changes_is_found_as_it_is_now() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let channel = ann.private_channel("team", &[&bob]).await;
        let id = ann.say(channel, "carrot").await;
        assert_eq!(found(&bob, "carrot").await, [id]);
        ann.patch(&format!("/api/messages/{id}"), &json!({ "content": "potato" })).await.expect(200);
        assert_eq!(found(&bob, "carrot").await, [] as [i64; 0]);
        assert_eq!(found(&bob, "potato").await, [id]);

        let members = format!("/api/channels/{channel}/members");
        ann.delete(&format!("{members}/{}", bob.id)).await.expect(204);
        assert_eq!(found(&bob, "potato").await, [] as [i64; 0]);
        assert_eq!(found(&ann, "potato").await, [id]);
        ann.post(&members, &json!({ "user_id": bob.id })).await.expect(201);
        assert_eq!(found(&bob, "potato").await, [id]);

        let reply = json!({ "content": "onion", "parent_id": id });
        ann.post(&format!("/api/channels/{channel}/messages"), &reply).await.expect(201);
        ann.delete(&format!("/api/messages/{id}")).await.expect(204);
        assert_eq!(found(&bob, "potato").await, [] as [i64; 0], "a tombstone");
        ann.delete(&format!("/api/channels/{channel}")).await.expect(204);
        assert_eq!(found(&bob, "onion").await, [] as [i64; 0], "a deleted channel");
    }
}

#[tokio::test]
async fn channels_are_found_in_spite_of_typing_errors() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let general = ann.channel("general", &[]).await;
        let engineering = ann.channel("platform-engineering", &[]).await;
        let tokyo = ann.channel("東京オフィス", &[]).await;
        let secret = ann.private_channel("general-secrets", &[]).await;
        let body = json!({ "name": "town-hall", "description": "General announcements" });
        let town = ann.post("/api/channels", &body).await.expect(201)["id"].as_i64().unwrap();
        for (q, expected) in [
            ("general", vec![general, town]),
            ("genral", vec![general, town]),
            ("gen", vec![general, town]),
            ("platfrom enginering", vec![engineering]),
            ("東京", vec![tokyo]),
            ("announcement", vec![town]),
            ("zzz", vec![]),
        ] {
            let page = search(&bob, "channels", &[("q", q)]).await.expect(200);
            assert_eq!(ids(&page, "channel"), expected, "{q}");
        }
        let page = search(&ann, "channels", &[("q", "general"), ("limit", "2")]).await.expect(200);
        assert_eq!((ids(&page, "channel"), &page["has_more"]), (vec![general, secret], &json!(true)));
        let next = page["next_cursor"].as_str().unwrap();
        let page = search(&ann, "channels", &[("q", "general"), ("limit", "2"), ("cursor", next)]).await;
        let page = page.expect(200);
        assert_eq!((ids(&page, "channel"), &page["has_more"]), (vec![town], &json!(false)));
        assert_eq!(page["items"][0]["highlight"], "<mark>General</mark> announcements");

        let path = format!("/api/channels/{town}");
        ann.patch(&path, &json!({ "name": "plaza", "description": null })).await.expect(200);
        assert_eq!(ids(&search(&bob, "channels", &[("q", "plaza")]).await.expect(200), "channel"), [town]);
        assert_eq!(
            ids(&search(&bob, "channels", &[("q", "town")]).await.expect(200), "channel"),
            [] as [i64; 0]
        );
    }
}
