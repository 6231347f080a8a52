//! Channels and members, and who may do what with them.

use patchbay_tests::{TestApp, json};

#[tokio::test]
async fn the_life_of_a_channel() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let body = json!({ "name": "general", "description": "everything" });
    let made = ann.post("/api/channels/", &body).await.expect(201);
    assert_eq!(made["is_public"], true);
    assert_eq!(made["member_count"], 1);
    assert_eq!(made["created_by_id"], ann.id);
    let path = format!("/api/channels/{}", made["id"]);

    assert_eq!(
        bob.get(&path).await.expect(200)["name"],
        "general",
        "a public channel can be read by everyone"
    );
    assert_eq!(bob.patch(&path, &json!({ "name": "mine" })).await.problem(403), "forbidden");
    let changed = ann.patch(&path, &json!({ "name": "lobby", "description": null })).await.expect(200);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("lobby"), &json!(null)));
    assert_eq!(ann.put(&path, &json!({ "is_vc": true })).await.expect(200)["is_vc"], true);
    for bad in [json!({ "name": "" }), json!({ "name": " " }), json!({ "nam": "x" }), json!({ "name": 1 })] {
        assert_eq!(ann.patch(&path, &bad).await.problem(422), "validation_failed", "{bad}");
    }
    assert_eq!(bob.delete(&path).await.problem(403), "forbidden");
    let search = ann.patch(&path, &json!({ "description": "Öffentlich" })).await.expect(200);
    assert_eq!(ann.get("/api/channels?query=%C3%B6FFENT").await.expect(200)["items"][0]["id"], search["id"]);
    ann.delete(&path).await.expect(204);
    assert_eq!(ann.get(&path).await.problem(404), "channel_not_found");
    assert_eq!(ann.get("/api/channels").await.expect(200)["items"], json!([]));
    assert_eq!(ann.get("/api/channels/x").await.problem(404), "not_found");
}

#[tokio::test]
async fn lists_page_both_ways_in_one_order() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(ann.channel(name, &[]).await);
    }
    let page = async |query: &str| {
        let page = ann.get(&format!("/api/channels?{query}")).await.expect(200);
        let found: Vec<_> =
            page["items"].as_array().unwrap().iter().map(|c| c["id"].as_i64().unwrap()).collect();
        (found, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(page(&format!("limit=2&after={}", ids[1])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(&format!("limit=2&after={}", ids[3])).await, (ids[4..].to_vec(), false));
    assert_eq!(page(&format!("limit=2&before={}", ids[4])).await, (ids[2..4].to_vec(), true));
    assert_eq!(page(&format!("limit=2&before={}", ids[2])).await, (ids[..2].to_vec(), false));
    assert_eq!(page("query=C").await.0, vec![ids[2]]);
    for bad in ["limit=0", "limit=201", "limit=x", "after=-1", "before=1&after=2"] {
        assert_eq!(ann.get(&format!("/api/channels?{bad}")).await.problem(422), "validation_failed", "{bad}");
    }
}

#[tokio::test]
async fn members_come_and_go() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let channel = ann.private_channel("secret", &[&bob]).await;
    let members = format!("/api/channels/{channel}/members");
    let list = ann.get(&members).await.expect(200);
    let roles: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|m| (&m["user"]["username"], &m["role"])).collect();
    assert_eq!(roles, [(&json!("ann"), &json!("owner")), (&json!("bob"), &json!("member"))]);

    assert_eq!(bob.post(&members, &json!({ "user_id": cid.id })).await.problem(403), "forbidden");
    assert_eq!(cid.post(&members, &json!({ "user_id": cid.id })).await.problem(404), "channel_not_found");
    let added = ann.post(&members, &json!({ "user_id": cid.id, "role": "admin" })).await.expect(201);
    assert_eq!(added["role"], "admin");
    ann.post(&members, &json!({ "user_id": cid.id })).await.expect(200);
    assert_eq!(ann.post(&members, &json!({ "user_id": 99 })).await.problem(422), "validation_failed");

    let anns = format!("{members}/{}", ann.id);
    assert_eq!(cid.delete(&anns).await.problem(403), "forbidden", "an admin can't remove an owner");
    assert_eq!(ann.delete(&anns).await.problem(409), "last_owner");
    assert_eq!(ann.patch(&anns, &json!({ "role": "member" })).await.problem(409), "last_owner");
    let bobs = format!("{members}/{}", bob.id);
    assert_eq!(ann.patch(&bobs, &json!({ "role": "owner" })).await.expect(200)["role"], "owner");
    ann.delete(&anns).await.expect(204);
    assert_eq!(ann.get(&members).await.problem(404), "channel_not_found");
    bob.delete(&format!("{members}?user_id={}", cid.id)).await.expect(204);
    assert_eq!(bob.delete(&format!("{members}/{}", cid.id)).await.problem(404), "member_not_found");
}

#[tokio::test]
async fn a_channel_never_is_without_somebody_to_manage_it() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let public = format!("/api/channels/{}/members", ann.channel("public", &[]).await);
    let anns = format!("{public}/{}", ann.id);
    assert_eq!(ann.patch(&anns, &json!({ "role": "member" })).await.problem(409), "last_owner");
    ann.delete(&anns).await.expect(204);
    let joined = bob.post(&public, &json!({ "user_id": bob.id })).await.expect(201);
    assert_eq!(joined["role"], "owner", "whoever enters an empty channel owns it");
    let private = format!("/api/channels/{}", ann.private_channel("private", &[]).await);
    let mut socket = ann.socket().await;
    ann.delete(&format!("{private}/members/{}", ann.id)).await.expect(204);
    assert_eq!(ann.get(&private).await.problem(404), "channel_not_found");
    socket.event("member.removed").await;
}

#[tokio::test]
async fn a_direct_message_is_one_per_set_of_people() {
    let app = TestApp::start().await;
    let (ann, bob, cid) = (app.user("ann").await, app.user("bob").await, app.user("cid").await);
    let body = |ids: &[i64]| json!({ "is_direct_message": true, "member_ids": ids });
    let made = ann.post("/api/channels", &body(&[bob.id])).await.expect(201);
    assert_eq!((&made["is_public"], &made["member_count"]), (&json!(false), &json!(2)));
    let again = bob.post("/api/channels", &body(&[ann.id, bob.id])).await.expect(200);
    assert_eq!(again["id"], made["id"]);
    let group = ann.post("/api/channels", &body(&[bob.id, cid.id])).await.expect(201);
    assert_ne!(group["id"], made["id"]);
    let members = format!("/api/channels/{}/members", made["id"]);
    assert_eq!(ann.post(&members, &json!({ "user_id": cid.id })).await.problem(403), "forbidden");
    assert_eq!(cid.get(&members).await.problem(404), "channel_not_found");
    assert_eq!(ann.post("/api/channels", &body(&[])).await.problem(422), "validation_failed");
    assert_eq!(ann.post("/api/channels", &body(&[99])).await.problem(422), "validation_failed");
}

#[tokio::test]
async fn unread_and_mention_counts() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "before bob came").await;
    let path = format!("/api/channels/{channel}");
    bob.post(&format!("{path}/members"), &json!({ "user_id": bob.id })).await.expect(201);
    let counts = async || {
        let seen = bob.get(&path).await.expect(200);
        (seen["unread_count"].as_i64().unwrap(), seen["mention_count"].as_i64().unwrap())
    };
    assert_eq!(counts().await, (0, 0));
    ann.say(channel, "hello").await;
    let second = ann.say(channel, "hello @bob").await;
    bob.say(channel, "my own words are read").await;
    assert_eq!(counts().await, (2, 1));
    let mut other_device = app.login("bob").await.socket().await;
    bob.put(&format!("{path}/read"), &json!({ "message_id": second })).await.expect(204);
    assert_eq!(counts().await, (0, 0));
    assert_eq!(other_device.event("read.updated").await["data"]["message_id"], second);
    ann.delete(&format!("/api/messages/{}", ann.say(channel, "@bob!").await)).await.expect(204);
    assert_eq!(counts().await, (0, 0));
    assert_eq!(
        ann.put(&format!("{path}/read"), &json!({ "message_id": 999 })).await.problem(422),
        "validation_failed"
    );
}

/// Posts, mentions, reads and deletions at the same time: afterwards the counts are what a recount finds.
#[tokio::test]
async fn unread_counts_are_right_after_everything_at_once() {
    let app = TestApp::start().await;
    let users = [app.user("ann").await, app.user("bob").await, app.user("cid").await];
    let channel = users[0].channel("general", &[&users[1], &users[2]]).await;
    let path = format!("/api/channels/{channel}");
    let work = users.iter().cloned().enumerate().map(|(me, user)| {
        let path = path.clone();
        tokio::spawn(async move {
            for n in 0..30 {
                let whom = ["@ann", "@bob", "@cid", "nobody"][(n + me) % 4];
                let id = user.say(channel, &format!("{n} for {whom}")).await;
                match n % 5 {
                    1 => user.delete(&format!("/api/messages/{id}")).await.expect(204),
                    2 if me != 0 => {
                        user.put(&format!("{path}/read"), &json!({ "message_id": id })).await.expect(204)
                    }
                    _ => json!(null),
                };
            }
            // The last mark, wherever the others are by now; the first user never reads.
            let newest = user.get(&format!("{path}/messages?limit=1")).await.expect(200);
            let mark = newest["items"][0]["id"].as_i64().unwrap();
            if me != 0 {
                user.put(&format!("{path}/read"), &json!({ "message_id": mark })).await.expect(204);
            }
            if me == 0 { 0 } else { mark }
        })
    });
    let marks = futures_util::future::join_all(work.collect::<Vec<_>>()).await;
    let all = users[0].get(&format!("{path}/messages?limit=200")).await.expect(200);
    let all = all["items"].as_array().unwrap();
    assert_eq!(all.len(), 3 * 24);
    for (user, mark) in users.iter().zip(marks) {
        let mark = mark.unwrap();
        let unread =
            |m: &&patchbay_tests::Value| m["id"].as_i64().unwrap() > mark && m["sender_id"] != user.id;
        let mentions =
            |m: &&patchbay_tests::Value| m["mentions"].as_array().unwrap().contains(&json!(user.id));
        let expected =
            (all.iter().filter(unread).count(), all.iter().filter(unread).filter(mentions).count());
        let seen = user.get(&path).await.expect(200);
        assert_eq!((&seen["unread_count"], &seen["mention_count"]), (&json!(expected.0), &json!(expected.1)));
    }
}
