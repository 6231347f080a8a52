//! What plugins reach through their imports, and what they don't: each import called in good faith and by a plugin that
//! tries to get at what is not its own.

mod config;
mod egress;
mod wasi;

use patchbay_tests::{Answer, Socket, TestApp, User, Value, guest, json, repacked};

pub use self::wasi::wasi_probe;

/// Calls a host function through a plugin.
async fn call_of(plugin: &str, user: &User, function: &str, body: Value) -> Answer {
    user.post(&format!("/api/plugins/{plugin}/{function}"), &body).await
}

async fn call(user: &User, function: &str, body: Value) -> Answer {
    call_of("probe", user, function, body).await
}

/// The probe under another name, and with more in its manifest.
fn twin(name: &str, more: &str) -> Vec<u8> {
    let own = include_str!("../guests/examples/probe.toml");
    let manifest = own
        .replace("\"probe\"", &format!("\"{name}\""))
        .replace("plugins/probe/", &format!("plugins/{name}/"));
    repacked(&guest("probe"), &format!("{manifest}\n{more}"))
}

/// A server with the probe, its superuser, and two other users.
async fn with_probe() -> (TestApp, User, User, User) {
    let app = TestApp::start().await;
    let (root, ann, bob) = (app.user("root").await, app.user("ann").await, app.user("bob").await);
    root.install_with_grants("probe", guest("probe")).await;
    (app, root, ann, bob)
}

const ADMIN: &str = "/api/admin/plugins/probe";

#[tokio::test]
pub async fn probe() {
    let (_app, _root, ann, _) = with_probe().await;
    let who = call(&ann, "actor/who", json!({})).await.expect(200);
    assert_eq!(who, json!({ "user_id": ann.id, "is_bot": false, "is_superuser": false }));
}

#[tokio::test]
async fn a_handle_that_nobody_gave_stands_for_nobody() {
    let (_app, _root, ann, _) = with_probe().await;
    let mut trapped = 0;
    for handle in [0, 1, 2, 3, 4, 77, 1 << 20, u32::MAX] {
        let answer = call(&ann, "actor/forge", json!({ "handle": handle })).await;
        // The one that the call came with is its caller, whatever way its number was found.
        if answer.status == 200 {
            assert_eq!(answer.body, json!({ "user_id": ann.id, "is_superuser": false }), "{handle}");
        } else {
            assert_eq!(answer.problem(502), "plugin_trapped", "{handle}");
            trapped += 1;
        }
    }
    assert!(trapped >= 6, "{trapped}");
}

#[tokio::test]
async fn a_plugin_does_not_reach_what_is_anothers() {
    let (_app, root, ann, _) = with_probe().await;
    root.install_with_grants("twin", twin("twin", "")).await;
    let set = |size: i64, token: &str| json!({ "config": { "size": size, "token": token } });
    root.patch(ADMIN, &set(1, "of probe")).await.expect(200);
    root.patch("/api/admin/plugins/twin", &set(2, "of twin")).await.expect(200);
    for (plugin, size) in [("probe", "1"), ("twin", "2")] {
        let call =
            async |function: &str, body: Value| call_of(plugin, &ann, function, body).await.expect(200);
        assert_eq!(call("config/get", json!({ "key": "size" })).await, size);
        assert_eq!(call("config/secret", json!({ "key": "token" })).await, format!("of {plugin}"));
        call("kv/set", json!({ "key": "k", "value": plugin })).await;
        call("scheduler/schedule", json!({ "id": "j", "payload": plugin, "due": 4_000_000_000_000_u64 }))
            .await;
    }
    for plugin in ["probe", "twin"] {
        let call =
            async |function: &str, body: Value| call_of(plugin, &ann, function, body).await.expect(200);
        assert_eq!(call("kv/get", json!({ "key": "k" })).await, plugin);
        assert_eq!(call("kv/keys", json!({})).await, json!(["k"]));
        assert_eq!(call("scheduler/list", json!({})).await, json!([["j", plugin, 4_000_000_000_000_u64]]));
    }
    let twins = async |function: &str, body: Value| call_of("twin", &ann, function, body).await.expect(200);
    assert_eq!(twins("kv/delete", json!({ "key": "k" })).await, true);
    assert_eq!(twins("scheduler/cancel", json!({ "id": "j" })).await, true);
    assert_eq!(call(&ann, "kv/get", json!({ "key": "k" })).await.expect(200), "probe");
    assert_eq!(call(&ann, "scheduler/list", json!({})).await.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_plugin_acts_as_its_own_bot_within_the_bots_rights() {
    let (app, root, ann, _) = with_probe().await;
    app.user("twin").await;
    root.install_with_grants("twin", twin("twin", "")).await;
    let who = |plugin| {
        let ann = ann.clone();
        async move { call_of(plugin, &ann, "actor/who", json!({ "as": "bot" })).await }
    };
    let bot = who("probe").await.expect(200);
    let id = bot["user_id"].as_i64().unwrap();
    assert_eq!((&bot["is_bot"], &bot["is_superuser"]), (&json!(true), &json!(false)));
    assert_eq!(who("probe").await.expect(200), bot, "always the same");
    let user = root.get(&format!("/api/users/{id}")).await.expect(200);
    assert_eq!((&user["username"], &user["is_bot"]), (&json!("probe"), &json!(true)));
    let other = who("twin").await.expect(200)["user_id"].as_i64().unwrap();
    assert_eq!(ann.get(&format!("/api/users/{other}")).await.expect(200)["username"], "twin-bot");
    assert_ne!(other, id);

    // It is a member of nothing, and what its caller may is no matter.
    let secret = ann.private_channel("secret", &[]).await;
    let message = ann.say(secret, "psst").await;
    let read = |with: Value| {
        let mut body = json!({ "id": message });
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        call(&ann, "messages/get", body)
    };
    assert_eq!(read(json!({})).await.expect(200), "psst");
    assert_eq!(read(json!({ "as": "bot" })).await.problem(404), "message_not_found");
    assert_eq!(read(json!({ "as": "system" })).await.expect(200), "psst");
    let members = format!("/api/channels/{secret}/members");
    ann.post(&members, &json!({ "user_id": id })).await.expect(201);
    let post = json!({ "channel": secret, "content": "beep", "as": "bot" });
    let posted = call(&ann, "messages/post", post).await.expect(200).as_i64().unwrap();
    let posted = ann.get(&format!("/api/messages/{posted}")).await.expect(200);
    assert_eq!((&posted["sender_id"], &posted["is_bot"]), (&json!(id), &json!(true)));

    root.patch(&format!("/api/admin/users/{id}"), &json!({ "is_active": false })).await.expect(200);
    assert_eq!(who("probe").await.problem(403), "forbidden");
    let system = call(&ann, "actor/who", json!({ "as": "system" })).await.expect(200);
    assert_eq!(system, json!({ "user_id": null, "is_bot": false, "is_superuser": true }));
}

#[tokio::test]
async fn files_are_those_that_the_actor_may_read() {
    let (_app, _, ann, bob) = with_probe().await;
    let secret = ann.private_channel("secret", &[]).await;
    let made = json!({ "filename": "../a.txt", "file_type": "text/plain", "content": "0123456789" });
    let file = call(&ann, "files/create", made.clone()).await.expect(200);
    let id = file["id"].as_i64().unwrap();
    let expected = json!({
        "id": id, "filename": "a.txt", "file_type": "text/plain", "size": 10, "uploaded_by": ann.id, "message": null,
    });
    assert_eq!(file, expected);
    let read = async |user: &User, offset: u64, length: u32| {
        call(user, "files/read", json!({ "id": id, "offset": offset, "length": length })).await
    };
    for (offset, length, content) in [(0, 4, "0123"), (8, 100, "89"), (10, 1, ""), (1 << 60, 1 << 20, "")] {
        assert_eq!(read(&ann, offset, length).await.expect(200), content, "{offset} {length}");
    }
    for length in [0, (1 << 20) + 1] {
        assert_eq!(read(&ann, 0, length).await.problem(422), "validation_failed");
    }
    let post = json!({ "channel": secret, "content": "look", "files": [id] });
    let message = call(&ann, "messages/post", post).await.expect(200);
    let of_message = call(&ann, "files/of_message", json!({ "id": message })).await.expect(200);
    assert_eq!((&of_message[0]["id"], &of_message[0]["message"]), (&json!(id), &message));
    // Neither another caller nor the bot gets at it, by any way.
    assert_eq!(read(&bob, 0, 4).await.problem(404), "file_not_found");
    assert_eq!(call(&bob, "files/get", json!({ "id": id })).await.problem(404), "file_not_found");
    let of_message = call(&bob, "files/of_message", json!({ "id": message })).await;
    assert_eq!(of_message.problem(404), "message_not_found");
    let as_bot = call(&ann, "files/get", json!({ "id": id, "as": "bot" })).await;
    assert_eq!(as_bot.problem(404), "file_not_found");
    call(&ann, "files/create", json!({ "filename": "b", "file_type": "", "size": 1 << 20 }))
        .await
        .expect(200);
    let large =
        call(&ann, "files/create", json!({ "filename": "b", "file_type": "", "size": (1 << 20) + 1 })).await;
    assert_eq!(large.problem(503), "plugin_limit_exceeded");
}

#[tokio::test]
async fn a_plugins_files_count_in_the_quota_of_whom_they_are_made_for() {
    let app = TestApp::start_with(&["files.quota=1000"]).await;
    let root = app.user("root").await;
    root.install_with_grants("probe", guest("probe")).await;
    let create = async |size: i64| {
        call(&root, "files/create", json!({ "filename": "a", "file_type": "", "size": size })).await
    };
    create(900).await.expect(200);
    assert_eq!(create(200).await.problem(503), "plugin_limit_exceeded");
    create(100).await.expect(200);
}

#[tokio::test]
async fn presence_is_that_of_those_who_share_a_channel() {
    let (app, root, ann, bob) = with_probe().await;
    let cid = app.user("cid").await;
    ann.private_channel("ours", &[&bob]).await;
    let _sockets: [Socket; 3] = [ann.socket().await, bob.socket().await, cid.socket().await];
    let see = async |user: &User, of: Value, who: &str| {
        call(user, "presence/get", json!({ "users": of, "as": who })).await
    };
    let all = json!([cid.id, bob.id, ann.id, 999_999, bob.id]);
    let seen = see(&ann, all.clone(), "").await.expect(200);
    assert_eq!(seen, json!(["offline", "online", "online", "offline", "online"]), "in the order asked");
    let seen = see(&cid, all.clone(), "").await.expect(200);
    assert_eq!(seen, json!(["online", "offline", "offline", "offline", "offline"]));
    assert_eq!(see(&ann, all.clone(), "bot").await.expect(200), json!(vec!["offline"; 5]));
    let everybody = json!(["online", "online", "online", "offline", "online"]);
    assert_eq!(see(&root, all.clone(), "").await.expect(200), everybody);
    assert_eq!(see(&ann, all, "system").await.expect(200), everybody);
    bob.put("/api/users/me/status", &json!({ "status": "busy" })).await.expect(200);
    assert_eq!(see(&ann, json!([bob.id]), "").await.expect(200), json!(["busy"]));
    bob.put("/api/users/me/status", &json!({ "status": "offline" })).await.expect(200);
    assert_eq!(see(&ann, json!([bob.id]), "").await.expect(200), json!(["offline"]));
    assert_eq!(see(&ann, json!(vec![1; 201]), "").await.problem(422), "validation_failed");
}

#[tokio::test]
async fn signals_go_where_the_actor_may_write_and_not_without_end() {
    let (app, _, ann, bob) = with_probe().await;
    let cid = app.user("cid").await;
    let ours = ann.private_channel("ours", &[&bob]).await;
    let public = ann.channel("public", &[]).await;
    let (mut at_bobs, mut at_cids) = (bob.socket().await, cid.socket().await);
    let signal = |channel: i64, times: u32| json!({ "channel": channel, "kind": "beat.1", "data": { "n": 1 }, "times": times });
    call(&ann, "realtime/signal", signal(ours, 1)).await.expect(200);
    let frame = at_bobs.event("plugin.probe.beat.1").await;
    assert_eq!((&frame["data"], frame.get("seq")), (&json!({ "n": 1 }), None));
    assert_eq!(call(&cid, "realtime/signal", signal(ours, 1)).await.problem(404), "channel_not_found");
    assert_eq!(call(&cid, "realtime/signal", signal(public, 1)).await.problem(403), "forbidden");
    let mut as_bot = signal(ours, 1);
    as_bot["as"] = json!("bot");
    assert_eq!(call(&ann, "realtime/signal", as_bot).await.problem(404), "channel_not_found");
    for (field, value) in
        [("kind", json!("A")), ("kind", json!("a\"b")), ("data", json!([1])), ("data", json!(1))]
    {
        let mut wrong = signal(ours, 1);
        wrong[field] = value.clone();
        assert_eq!(call(&ann, "realtime/signal", wrong).await.problem(422), "validation_failed", "{value}");
    }
    let mut large = signal(ours, 1);
    large["data"] = json!({ "a": "x".repeat(16 << 10) });
    assert_eq!(call(&ann, "realtime/signal", large).await.problem(503), "plugin_limit_exceeded");
    at_bobs.quiet().await;
    call(&ann, "realtime/signal", signal(ours, 1000)).await.expect(200);
    let heard = at_bobs.quiet().await.len();
    assert!((1..900).contains(&heard), "{heard} of 1000 were heard");
    assert!(at_cids.quiet().await.iter().all(|frame| frame["type"] != "plugin.probe.beat.1"));
}

#[tokio::test]
async fn a_plugin_plans_jobs_of_its_own_and_leaves_the_manifests_alone() {
    let (app, _, ann, _) = with_probe().await;
    let schedule = async |id: &str, payload: &str| {
        let body = json!({ "id": id, "payload": payload, "due": 4_000_000_000_000_u64 });
        call(&ann, "scheduler/schedule", body).await
    };
    for id in ["b", "a", "ä"] {
        schedule(id, "once").await.expect(200);
    }
    schedule("a", "twice").await.expect(200);
    let list = async |body: Value| call(&ann, "scheduler/list", body).await.expect(200);
    let due = 4_000_000_000_000_u64;
    assert_eq!(list(json!({})).await, json!([["a", "twice", due], ["b", "once", due], ["ä", "once", due]]));
    assert_eq!(list(json!({ "after": "a", "limit": 1 })).await, json!([["b", "once", due]]));
    let cancel = async |id: &str| call(&ann, "scheduler/cancel", json!({ "id": id })).await;
    assert_eq!(cancel("b").await.expect(200), true);
    assert_eq!(cancel("b").await.expect(200), false);
    assert_eq!(schedule("sweep", "").await.problem(409), "job_of_manifest");
    assert_eq!(schedule("", "").await.problem(422), "validation_failed");
    assert_eq!(schedule("large", &"x".repeat((16 << 10) + 1)).await.problem(503), "plugin_limit_exceeded");
    // One that an earlier manifest had is not the plugin's to replace, see or take out.
    app.sql(
        "INSERT INTO plugin_jobs (plugin, id, payload, due_at, run_at, every_ms)
         VALUES ('probe', 'old', '', 4000000000000, 4000000000000, 60000)",
    )
    .await;
    assert_eq!(schedule("old", "").await.problem(409), "job_of_manifest");
    assert_eq!(cancel("old").await.expect(200), false);
    assert_eq!(list(json!({})).await.as_array().unwrap().len(), 2);
    app.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9997)
         INSERT INTO plugin_jobs (plugin, id, payload, due_at, run_at)
         SELECT 'probe', 'many-' || i, '', 4000000000000, 4000000000000 FROM n",
    )
    .await;
    schedule("last", "").await.expect(200);
    assert_eq!(schedule("one too many", "").await.problem(503), "plugin_limit_exceeded");
    assert_eq!(cancel("one too many").await.expect(200), false, "it was not kept");
    schedule("last", "again").await.expect(200);
}
