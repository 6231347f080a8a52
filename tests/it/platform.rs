//! Plugins that act: they hear of events, look at messages, answer commands and do jobs.

mod bounds;
mod versions;

use patchbay_tests::{TestApp, User, Value, guest, json, plugins::version, repacked};

const ADMIN: &str = "/api/admin/plugins/recorder";
const MANIFEST: &str = include_str!("../guests/examples/recorder.toml");

/// A server with the recorder, its superuser, and a channel in which the recorder's bot is.
async fn with_recorder(app: &TestApp) -> (User, i64) {
    let ann = app.user("ann").await;
    ann.install_with_grants("recorder", guest("recorder")).await;
    let channel = ann.channel("general", &[]).await;
    join(&ann, channel, "recorder").await;
    (ann, channel)
}

async fn join(ann: &User, channel: i64, bot: &str) {
    let bot = ann.id_of(bot).await;
    ann.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": bot })).await.expect(201);
}

/// The same with a second one, by another name and with other commands.
async fn with_two_recorders(app: &TestApp) -> (User, i64) {
    let (ann, channel) = with_recorder(app).await;
    let second = MANIFEST
        .replace("name = \"recorder\"", "name = \"second\"")
        .replace("/recorder/", "/second/")
        .replace("\"mirror\"", "\"mirror2\"")
        .replace("\"shout\"", "\"shout2\"");
    ann.install_with_grants("second", repacked(&guest("recorder"), &second)).await;
    join(&ann, channel, "second").await;
    (ann, channel)
}

/// What the recorder has written down under a prefix, in order, once it is so.
async fn recorded(ann: &User, prefix: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    recorded_by(ann, "recorder", prefix, is_so).await
}

async fn recorded_by(ann: &User, name: &str, prefix: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let values = |state: &Value| -> Vec<Value> {
        let entries = state.as_array().unwrap().iter();
        entries.map(|entry| serde_json::from_str(entry[1].as_str().unwrap()).unwrap()).collect()
    };
    let path = format!("/api/plugins/{name}/state?prefix={prefix}/");
    values(&ann.until(&path, |state| is_so(&values(state))).await)
}

fn contents(events: &[Value]) -> Vec<String> {
    let created = events.iter().filter(|event| event["kind"] == "message.created");
    created.map(|event| event["content"].as_str().unwrap().to_owned()).collect()
}

/// Failures come again soon.
async fn hurry(ann: &User) {
    ann.patch(ADMIN, &json!({ "limits": { "event_attempts": 2, "event_backoff_ms": 20 } })).await.expect(200);
}

async fn each_database() -> Vec<TestApp> {
    [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten().collect()
}

#[tokio::test]
pub async fn events_come_in_order_from_where_the_bot_is() {
    for app in each_database().await {
        let (ann, channel) = with_recorder(&app).await;
        let elsewhere = ann.channel("elsewhere", &[]).await;
        ann.say(elsewhere, "not for bots").await;
        for n in 0..20 {
            ann.say(channel, &n.to_string()).await;
        }
        let last = ann.say(channel, "end").await;
        ann.delete(&format!("/api/messages/{last}")).await.expect(204);
        let events = recorded(&ann, "event", |events| {
            events.last().is_some_and(|event| event["kind"] == "message.deleted")
        })
        .await;
        let expected: Vec<_> = (0..20).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
        let heard = contents(&events);
        // The last one may have been scrubbed before it was told.
        assert_eq!(heard[..20], expected[..20]);
        assert_eq!((heard.len(), events[0]["kind"].as_str()), (21, Some("member.added")));
        let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
        assert_eq!((&events[1]["depth"], &events[1]["origin"]), (&json!(0), &json!(null)));
        let shown = ann.until(ADMIN, |plugin| plugin["cursor"]["seq"].as_i64() >= seqs.last().copied()).await;
        assert_eq!(shown["dead_letters"], 0);
        let events =
            shown["calls"].as_array().unwrap().iter().find(|calls| calls["export"] == "events").unwrap();
        assert!(events["calls"].as_u64() > Some(0) && events["failures"] == 0, "{events}");
    }
}

#[tokio::test]
async fn with_the_grant_it_hears_all_but_what_is_for_one_alone() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let all = MANIFEST
        .replace("\"hooks\"]", "\"hooks\", \"events:all\"]")
        .replace("events = [\"message.*\", \"member.added\"]", "events = [\"*\"]");
    ann.install_with_grants("recorder", repacked(&guest("recorder"), &all)).await;
    let secret = ann.private_channel("secret", &[]).await;
    let message = ann.say(secret, "psst").await;
    ann.put(&format!("/api/channels/{secret}/read"), &json!({ "message_id": message })).await.expect(204);
    ann.say(secret, "end").await;
    let events = recorded(&ann, "event", |events| contents(events).contains(&"end".to_owned())).await;
    assert!(contents(&events).contains(&"psst".to_owned()));
    assert!(events.iter().all(|event| event["kind"] != "read.updated"), "{events:#?}");
}

#[tokio::test]
async fn what_it_can_not_handle_becomes_a_dead_letter_and_holds_nothing_up() {
    for app in each_database().await {
        let (ann, channel) = with_recorder(&app).await;
        hurry(&ann).await;
        let mut ids = std::collections::HashMap::new();
        for text in ["one", "poison", "two", "reject", "later", "three"] {
            ids.insert(text, ann.say(channel, text).await);
        }
        let events = recorded(&ann, "event", |events| contents(events).contains(&"three".to_owned())).await;
        let heard: Vec<_> = contents(&events).into_iter().filter(|text| text != "reject").collect();
        assert_eq!(heard, ["one", "two", "three"]);
        let path = format!("{ADMIN}/dead-letters");
        let letters = ann.until(&path, |list| list["items"].as_array().unwrap().len() == 3).await;
        let of =
            |n: usize| (letters["items"][n]["message_id"].as_i64(), letters["items"][n]["error"].to_string());
        let ((later, why_later), (rejected, why_rejected), (poison, why_poison)) = (of(0), of(1), of(2));
        assert_eq!([later, rejected, poison], ["later", "reject", "poison"].map(|text| Some(ids[text])));
        assert!(letters["items"][0]["payload"].is_null(), "operators do not read along");
        assert!(why_later.contains("not yet") && why_rejected.contains("not mine"), "{letters:#}");
        assert!(why_poison.contains("plugin_trapped"), "{letters:#}");
        assert_eq!(
            (&letters["items"][0]["attempts"], &letters["items"][1]["attempts"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(ann.get(ADMIN).await.expect(200)["dead_letters"], 3);
        assert_eq!(ann.get(&format!("{path}?limit=2")).await.expect(200)["has_more"], true);

        // Nothing has changed about them.
        let redeliver = format!("{ADMIN}/redeliver");
        let again = ann.post(&redeliver, &json!({})).await.expect(200);
        assert_eq!(again, json!({ "redelivered": 0, "failed": 3, "left": 0 }));
        // Now it has patience.
        ann.post("/api/plugins/recorder/set", &json!({ "key": "patience", "value": "1" })).await.expect(204);
        let id = letters["items"][0]["id"].clone();
        let again = ann.post(&redeliver, &json!({ "ids": [id] })).await.expect(200);
        assert_eq!(again, json!({ "redelivered": 1, "failed": 0, "left": 0 }));
        recorded(&ann, "event", |events| contents(events).contains(&"later".to_owned())).await;

        // The content of a message that is gone is gone from here too: what comes again is empty.
        ann.delete(&format!("/api/messages/{}", ids["poison"])).await.expect(204);
        let left = json!({ "ids": [letters["items"][2]["id"]] });
        assert_eq!(ann.post(&redeliver, &left).await.expect(200)["redelivered"], 1);
        // And the guest's failure is in its log, with its function.
        let log = ann.get(&format!("{ADMIN}/log")).await.expect(200);
        assert!(log["items"].to_string().contains("plugin_trapped"), "{log:#}");
        assert_eq!(ann.post(&redeliver, &json!({ "ids": [] })).await.problem(422), "validation_failed");
    }
}

#[tokio::test]
async fn no_event_is_lost_by_swaps_and_kills() {
    for mut app in each_database().await {
        let (ann, channel) = with_recorder(&app).await;
        let recorder = guest("recorder");
        let mut ann = ann;
        let mut said = Vec::new();
        for round in 0..4u8 {
            for n in 0..25 {
                let text = format!("{round}-{n}");
                ann.say(channel, &text).await;
                said.push(text);
                if n == 12 {
                    ann.install("recorder", version(&recorder, round)).await.expect(200);
                }
            }
            app.kill().await;
            app.restart().await;
            ann = ann.at(&app.url);
        }
        let events = recorded(&ann, "event", |events| contents(events).contains(&"3-24".to_owned())).await;
        let mut heard = contents(&events);
        // Some may have come twice, but in order.
        let mut first = std::collections::HashSet::new();
        heard.retain(|text| first.insert(text.clone()));
        assert_eq!(heard, said);
    }
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told_to_start_anew() {
    let app = TestApp::start_with(&["journal.max_events=20"]).await;
    let (ann, channel) = with_recorder(&app).await;
    ann.say(channel, "before").await;
    recorded(&ann, "event", |events| contents(events) == ["before"]).await;
    ann.patch(ADMIN, &json!({ "enabled": false })).await.expect(200);
    for n in 0..60 {
        ann.say(channel, &n.to_string()).await;
    }
    // Until the journal has been pruned behind its cursor.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    ann.patch(ADMIN, &json!({ "enabled": true })).await.expect(200);
    ann.say(channel, "after").await;
    recorded(&ann, "resync", |resyncs| resyncs.len() == 1).await;
    recorded(&ann, "event", |events| contents(events).contains(&"after".to_owned())).await;
    let shown = ann.get(ADMIN).await.expect(200);
    assert!(shown["cursor"]["last_error"].as_str().unwrap().starts_with("missed the events"), "{shown:#}");
}

#[tokio::test]
async fn history_is_told_once_asked_for_and_goes_on_after_a_kill() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    for n in 0..150 {
        ann.say(channel, &format!("old {n}")).await;
    }
    ann.install_with_grants("recorder", guest("recorder")).await;
    join(&ann, channel, "recorder").await;
    assert_eq!(ann.post("/api/admin/plugins/reactions/backfill", &json!({})).await.problem(409), "no_events");
    let begun = ann.post(&format!("{ADMIN}/backfill"), &json!({})).await.expect(202);
    assert_eq!(begun["backfill"]["total"], 150);
    ann.say(channel, "new").await;
    app.kill().await;
    app.restart().await;
    let ann = ann.at(&app.url);
    let shown = ann.until(ADMIN, |plugin| plugin["backfill"]["running"] == false).await;
    assert!(shown["backfill"]["done"].as_i64() >= Some(150), "{shown:#}");
    let events = recorded(&ann, "event", |events| contents(events).contains(&"new".to_owned())).await;
    let past: Vec<_> = events.iter().filter(|event| event["history"] == true).cloned().collect();
    let mut told = contents(&past);
    told.dedup();
    let mut first = std::collections::HashSet::new();
    told.retain(|text| first.insert(text.clone()));
    assert_eq!(told[..150], (0..150).map(|n| format!("old {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn hooks_allow_replace_and_refuse() {
    for app in each_database().await {
        let (ann, channel) = with_recorder(&app).await;
        let path = format!("/api/channels/{channel}/messages");
        let post = async |text: &str| ann.post(&path, &json!({ "content": text })).await;
        let refused = post("something forbidden").await;
        assert_eq!(refused.body["errors"][0]["code"], "no_swearing");
        assert_eq!(refused.body["detail"], "Mind your words.");
        assert_eq!(refused.problem(422), "message_refused");
        let posted = post("fixme please").await.expect(201);
        assert_eq!(posted["content"], "posted please");
        let edit = format!("/api/messages/{}", posted["id"]);
        assert_eq!(
            ann.patch(&edit, &json!({ "content": "forbidden" })).await.problem(422),
            "message_refused"
        );
        assert_eq!(ann.patch(&edit, &json!({ "content": "fixme" })).await.expect(200)["content"], "edited");
        assert_eq!(ann.get(&path).await.expect(200)["items"].as_array().unwrap().len(), 1);

        // By the socket it is the same.
        let mut socket = ann.socket().await;
        let send = json!({ "channel_id": channel, "content": "forbidden" });
        let answer = socket.call("message.send", send).await;
        assert_eq!((&answer["type"], &answer["data"]["code"]), (&json!("error"), &json!("message_refused")));

        // A failure lets the message pass, or keeps it out, as the operator says.
        for text in ["crash", "loop"] {
            assert_eq!(post(text).await.expect(201)["content"], text);
        }
        let hooks = json!({ "hooks": { "on_failure": "closed", "order": 3 } });
        let shown = ann.patch(ADMIN, &hooks).await.expect(200);
        let expected =
            json!({ "moments": ["message.create", "message.edit"], "order": 3, "on_failure": "closed" });
        assert_eq!(shown["hooks"], expected);
        assert_eq!(post("crash").await.problem(503), "unavailable");
        post("quiet").await.expect(201);

        // A stranger does not make it work, and learns nothing.
        let bob = app.user("bob").await;
        assert_eq!(bob.post(&path, &json!({ "content": "forbidden" })).await.problem(403), "forbidden");
        ann.patch(ADMIN, &json!({ "enabled": false })).await.expect(200);
        assert_eq!(post("forbidden").await.expect(201)["content"], "forbidden");
    }
}

#[tokio::test]
async fn hooks_are_called_in_the_operators_order() {
    let app = TestApp::start().await;
    let (ann, channel) = with_two_recorders(&app).await;
    let path = format!("/api/channels/{channel}/messages");
    // Whoever is first replaces the word, and the other one finds nothing left; who fails closed decides.
    ann.patch("/api/admin/plugins/second", &json!({ "hooks": { "order": -1, "on_failure": "closed" } }))
        .await
        .expect(200);
    assert_eq!(ann.post(&path, &json!({ "content": "crash" })).await.problem(503), "unavailable");
    ann.patch("/api/admin/plugins/second", &json!({ "hooks": { "on_failure": "open" } })).await.expect(200);
    let posted = ann.post(&path, &json!({ "content": "fixme" })).await.expect(201);
    assert_eq!(posted["content"], "posted");

    for name in ["recorder", "second"] {
        let patient = json!({ "limits": { "hook_wall_ms": 5_000 } });
        ann.patch(&format!("/api/admin/plugins/{name}"), &patient).await.expect(200);
    }
    // A hook that posts is not called for its own message; the other one is, and its answer to that is one too many.
    ann.post(&path, &json!({ "content": "echo" })).await.expect(201);
    let list = ann.get(&path).await.expect(200);
    let texts: Vec<_> = list["items"].as_array().unwrap().iter().map(|m| m["content"].to_string()).collect();
    assert!(texts.len() <= 6, "{texts:?}");
    assert!(texts.contains(&"\"re: echo\"".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn two_bots_do_not_answer_each_other_for_ever() {
    let app = TestApp::start().await;
    let (ann, channel) = with_two_recorders(&app).await;
    ann.say(channel, "answer").await;
    for name in ["recorder", "second"] {
        let refused = recorded_by(&ann, name, "refused", |refused| !refused.is_empty()).await;
        assert!(refused[0].as_str().unwrap().contains("depth_exceeded"), "{refused:?}");
    }
    let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    let mut texts: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|m| m["content"].to_string()).collect();
    texts.sort();
    // One by ann, each bot's answer to it, and each bot's answer to the other's.
    assert_eq!(texts, ["\"answer!!\"", "\"answer!!\"", "\"answer!\"", "\"answer!\"", "\"answer\""]);
    let events = recorded(&ann, "event", |events| contents(events).len() == 3).await;
    let marks: Vec<_> = events
        .iter()
        .filter(|e| e["kind"] == "message.created")
        .map(|e| (&e["depth"], &e["origin"]))
        .collect();
    assert_eq!(
        marks,
        [(&json!(0), &json!(null)), (&json!(1), &json!("second")), (&json!(2), &json!("second"))],
        "it hears of nothing that it did itself"
    );
}

#[tokio::test]
async fn commands_are_answered_by_who_registered_them() {
    let app = TestApp::start().await;
    let (ann, channel) = with_recorder(&app).await;
    let bob = app.user("bob").await;
    let run = async |user: &User, text: &str| {
        user.post("/api/commands", &json!({ "channel_id": channel, "text": text })).await
    };
    let list = bob.get("/api/commands").await.expect(200);
    let mirror = json!({ "name": "mirror", "description": "Says it backwards", "usage": "TEXT", "plugin": "recorder" });
    assert!(list["items"].as_array().unwrap().contains(&mirror), "{list:#}");
    assert_eq!(bob.get("/api/commands?limit=1").await.expect(200)["has_more"], true);
    let answer = run(&ann, " /mirror  abc def ").await.expect(200);
    assert_eq!(answer, json!({ "command": "mirror", "plugin": "recorder", "text": "fed cba" }));
    assert_eq!(run(&ann, "/shout hey").await.expect(200)["text"], json!(null));
    let messages = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    let newest = &messages["items"][0];
    assert_eq!((&newest["content"], &newest["sender_id"]), (&json!("HEY"), &json!(ann.id)));
    let refused = run(&ann, "/mirror").await;
    assert_eq!(refused.body["errors"][0]["message"], "there is nothing to mirror", "{:#}", refused.body);
    assert_eq!(refused.problem(422), "command_refused");
    assert_eq!(run(&ann, "/nonsense").await.problem(404), "command_not_found");
    assert_eq!(run(&ann, "mirror").await.problem(422), "validation_failed");
    assert_eq!(run(&ann, "/").await.problem(422), "validation_failed");
    assert_eq!(run(&bob, "/mirror x").await.problem(403), "forbidden");
    app.anonymous().get("/api/commands").await.problem(401);
    // A second plugin can't take a command over.
    let second =
        MANIFEST.replace("name = \"recorder\"", "name = \"second\"").replace("/recorder/", "/second/");
    let made = ann.install("second", repacked(&guest("recorder"), &second)).await.expect(201);
    let grants = json!({ "grants": made["capabilities_wanted"] });
    assert_eq!(ann.patch("/api/admin/plugins/second", &grants).await.problem(422), "command_conflict");
}

#[tokio::test]
async fn jobs_run_when_they_are_due_and_survive_a_kill() {
    for mut app in each_database().await {
        let (ann, _) = with_recorder(&app).await;
        hurry(&ann).await;
        let schedule = async |ann: &User, id: &str, payload: &str, due: i64| {
            let job = json!({ "id": id, "payload": payload, "due": due });
            ann.post("/api/plugins/recorder/schedule", &job).await.expect(204);
        };
        let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        schedule(&ann, "a", "hello", 0).await;
        schedule(&ann, "b", "fail", 0).await;
        schedule(&ann, "soon", "", now + 3_000).await;
        schedule(&ann, "never", "", now + 3_600_000).await;
        let ran = |jobs: &[Value], id: &str| jobs.iter().filter(|job| job["id"] == id).count();
        let jobs = recorded(&ann, "job", |jobs| ran(jobs, "b") == 2).await;
        assert_eq!(ran(&jobs, "a"), 1);
        let letters = ann
            .until(&format!("{ADMIN}/dead-letters"), |list| list["items"].as_array().unwrap().len() == 1)
            .await;
        let letter = &letters["items"][0];
        assert_eq!((&letter["kind"], &letter["payload"]["id"]), (&json!("job"), &json!("b")));
        app.kill().await;
        app.restart().await;
        let ann = ann.at(&app.url);
        // That of the manifest comes every ten seconds.
        let jobs = recorded(&ann, "job", |jobs| ran(jobs, "soon") == 1 && ran(jobs, "tick") == 1).await;
        assert_eq!((ran(&jobs, "never"), ran(&jobs, "a")), (0, 1));
    }
}
