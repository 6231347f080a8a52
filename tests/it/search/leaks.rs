//! What may not be read is not found, by no door, and not while a membership ends.

use patchbay_tests::{User, Value, guest, json};

use super::{found, search, servers};

const SECRET: &str = "xyzzy";

/// A private channel with a message, a file with text, a reaction and a thread, and its ids: channel, message.
async fn secrets(owner: &User, members: &[&User]) -> (i64, i64) {
    let channel = owner.private_channel(SECRET, members).await;
    let text = format!("{SECRET} is written in it");
    let file = owner.upload(&format!("{SECRET}.txt"), "text/plain", text).await.expect(201)["id"].clone();
    let body = json!({ "content": format!("{SECRET} https://example.org"), "file_ids": [file] });
    let path = format!("/api/channels/{channel}/messages");
    let message = owner.post(&path, &body).await.expect(201)["id"].as_i64().unwrap();
    let reaction = json!({ "emoji": "👍" });
    owner.post(&format!("/api/messages/{message}/reactions"), &reaction).await.expect(201);
    let reply = json!({ "content": format!("{SECRET} again"), "parent_id": message });
    owner.post(&path, &reply).await.expect(201);
    owner.until("/api/admin/search", |state| state["files_waiting"] == 0).await;
    (channel, message)
}

#[tokio::test]
async fn what_may_not_be_read_is_not_found() {
    for app in servers().await {
        let ann = app.user("ann").await;
        let (former, outsider, root) =
            (app.user("former").await, app.user("out").await, app.user("root").await);
        ann.patch(&format!("/api/admin/users/{}", root.id), &json!({ "is_superuser": true }))
            .await
            .expect(200);
        let root = app.login("root").await;
        assert!(root.id > 0);
        let (channel, _) = secrets(&ann, &[&former]).await;
        let (channel, owner) = (channel.to_string(), ann.id.to_string());
        let of_channel = format!("in:{channel}");
        let doors: Vec<(&str, Vec<(&str, &str)>)> = vec![
            ("messages", vec![("q", SECRET)]),
            ("messages", vec![("q", SECRET), ("sort", "newest")]),
            ("messages", vec![("q", "xyz*")]),
            ("messages", vec![("q", "\"xyzzy again\"")]),
            ("messages", vec![("q", &of_channel)]),
            ("messages", vec![("q", "in:xyzzy")]),
            ("messages", vec![("channel_id", &channel)]),
            ("messages", vec![("sender_id", &owner)]),
            ("messages", vec![("q", "from:ann")]),
            ("messages", vec![("q", "has:file")]),
            ("messages", vec![("q", "has:link")]),
            ("messages", vec![("q", "has:reaction")]),
            ("messages", vec![("q", "is:thread")]),
            ("messages", vec![("q", "-nothing")]),
            ("messages", vec![("q", "after:2020-01-01")]),
            ("files", vec![("q", SECRET)]),
            ("files", vec![("q", "written")]),
            ("files", vec![("q", "text")]),
            ("files", vec![("q", "-nothing")]),
            ("files", vec![("channel_id", &channel)]),
            ("files", vec![("sender_id", &owner)]),
            ("channels", vec![("q", SECRET)]),
            ("channels", vec![("q", "xyzzi")]),
        ];
        for (what, parameters) in &doors {
            let answer = search(&former, what, parameters).await.expect(200);
            assert!(answer.to_string().contains(SECRET), "a member sees {what} {parameters:?}: {answer}");
        }
        former.delete(&format!("/api/channels/{channel}/members/{}", former.id)).await.expect(204);
        for (what, parameters) in &doors {
            for user in [&former, &outsider, &root] {
                let answer = search(user, what, parameters).await;
                let items = answer.body["items"].as_array().map_or(0, Vec::len);
                assert_eq!(items, 0, "{what} {parameters:?}: {}", answer.body);
                assert!(answer.status == 200 || answer.status == 422, "{}", answer.body);
                assert!(!answer.body.to_string().contains(SECRET), "{what} {parameters:?}: {}", answer.body);
                assert_ne!(answer.body["has_more"], true);
            }
            search(&app.anonymous(), what, parameters).await.problem(401);
        }
        // That a channel is there is not told apart from its absence.
        for name in ["in:xyzzy", "in:nowhere"] {
            let answer = search(&outsider, "messages", &[("q", name)]).await;
            assert_eq!(answer.body["errors"][0]["code"], "channel_not_found");
        }
    }
}

#[tokio::test]
async fn a_membership_that_ends_ends_while_others_search() {
    for app in servers().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        let channel = ann.private_channel("team", &[]).await;
        for n in 0..30 {
            ann.say(channel, &format!("{SECRET} {n}")).await;
        }
        let members = format!("/api/channels/{channel}/members");
        for _ in 0..10 {
            ann.post(&members, &json!({ "user_id": bob.id })).await.expect(201);
            assert_eq!(found(&bob, SECRET).await.len(), 30);
            let running: Vec<_> = (0..3)
                .map(|_| {
                    let bob = bob.clone();
                    tokio::spawn(async move { found(&bob, SECRET).await.len() })
                })
                .collect();
            ann.delete(&format!("{members}/{}", bob.id)).await.expect(204);
            assert_eq!(found(&bob, SECRET).await, [] as [i64; 0], "what begins afterwards finds nothing");
            for search in running {
                let seen = search.await.unwrap();
                assert!(seen == 0 || seen == 30, "all or nothing, not {seen}");
            }
        }
    }
}

/// The guest of this name.
#[tokio::test]
pub async fn search_spy() {
    for app in servers().await {
        let (ann, bob, out) = (app.user("ann").await, app.user("bob").await, app.user("out").await);
        ann.install_with_grants("search-spy", guest("search-spy")).await;
        let (channel, _) = secrets(&ann, &[&bob]).await;
        let path = format!("/api/plugins/search-spy/go?channel={channel}&owner={}", ann.id);
        let attempts = async |user: &User| -> Vec<(String, String, Value)> {
            let answer = user.get(&path).await.expect(200);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let attempts = answer.as_array().unwrap().iter();
            attempts.map(|attempt| (text(&attempt[0]), text(&attempt[1]), attempt[2].clone())).collect()
        };
        let by_bob = attempts(&bob).await;
        for what in ["everything", "a word", "by relevance", "the channel", "the sender", "files: a word"] {
            let seen = by_bob.iter().find(|(whose, name, _)| whose == "caller" && name == what).unwrap();
            let expected = if what.starts_with("files") { 1 } else { 2 };
            assert_eq!(seen.2, expected, "a member is shown {what}");
        }
        let (by_out, by_nobody) = (attempts(&out).await, attempts(&app.anonymous()).await);
        assert!(by_nobody.iter().all(|(whose, ..)| whose == "bot"));
        let by_bot = by_bob.iter().filter(|(whose, ..)| whose == "bot");
        for (whose, what, seen) in by_out.iter().chain(&by_nobody).chain(by_bot) {
            let refused = matches!(seen.as_str(), Some("validation_failed" | "invalid"));
            assert!(refused || *seen == 0, "{whose} sees {seen} by {what}");
        }
        for what in [
            "none",
            "too many",
            "all there are",
            "many channels",
            "many senders",
            "many terms",
            "a long term",
            "many words",
            "no word",
            "no text",
            "wanted and not",
            "a negative place",
            "a place of another query",
            "a place that is code",
            "a long place",
        ] {
            let (.., seen) = by_out.iter().find(|(_, name, _)| name == what).unwrap();
            assert!(seen.is_string(), "{what} is refused, not answered with {seen}");
        }
        for handle in [0, 1, 2, 3, 7, 255, u32::MAX] {
            let forged = app.anonymous().get(&format!("/api/plugins/search-spy/forge/{handle}")).await;
            assert_eq!(forged.problem(502), "plugin_trapped", "{handle}");
        }
    }
}
