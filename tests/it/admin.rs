//! Superusers administer accounts, and what they do is on record.

use patchbay_tests::{TestApp, Value, json};

#[tokio::test]
async fn superusers_see_all_accounts_with_their_addresses() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let (root, ann, _bob) = (app.user("root").await, app.user("ann").await, app.user("bob").await);
        let names = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().unwrap().iter();
            items.map(|user| user["username"].as_str().unwrap().to_owned()).collect()
        };
        let first = root.get("/api/admin/users?limit=2").await.expect(200);
        assert_eq!((names(&first), &first["has_more"]), (vec!["root".into(), "ann".into()], &json!(true)));
        assert_eq!(first["items"][1]["email"], "ann@example.org");
        let rest = root.get(&format!("/api/admin/users?after={}", ann.id)).await.expect(200);
        assert_eq!((names(&rest), &rest["has_more"]), (vec!["bob".into()], &json!(false)));
        assert_eq!(names(&root.get("/api/admin/users?query=ANN%40ex").await.expect(200)), ["ann"]);
        assert_eq!(names(&root.get("/api/admin/users?query=%25").await.expect(200)).len(), 0);
        ann.get("/api/admin/users").await.problem(403);
        app.anonymous().get("/api/admin/users").await.problem(401);
        root.get("/api/admin/users?limit=0").await.problem(422);
    }
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let (root, ann) = (app.user("root").await, app.user("ann").await);
        let phone = app.login("ann").await;
        let (mut socket, mut watching) = (ann.socket().await, root.socket().await);
        let path = format!("/api/admin/users/{}", ann.id);
        let answer = root.patch(&path, &json!({ "is_active": false })).await.expect(200);
        assert_eq!((&answer["is_active"], &answer["email"]), (&json!(false), &json!("ann@example.org")));
        assert_eq!(socket.close_code().await, 4401);
        for user in [&ann, &phone] {
            assert_eq!(user.get("/api/users/me").await.problem(401), "unauthenticated");
            let refresh = json!({ "refresh_token": user.refresh_token });
            assert_eq!(user.post("/api/auth/refresh", &refresh).await.problem(401), "unauthenticated");
        }
        let event = watching.event("user.updated").await;
        assert_eq!((&event["data"]["id"], &event["data"]["is_active"]), (&json!(ann.id), &json!(false)));
        let login = json!({ "username": "ann", "password": "correct horse" });
        assert_eq!(app.anonymous().post("/api/auth/login", &login).await.problem(401), "invalid_credentials");

        root.put(&path, &json!({ "is_active": true })).await.expect(200);
        assert_eq!(ann.get("/api/users/me").await.problem(401), "unauthenticated", "sessions stay ended");
        app.login("ann").await.get("/api/users/me").await.expect(200);
    }
}

#[tokio::test]
async fn somebody_can_always_administer() {
    let app = TestApp::start().await;
    let (root, ann) = (app.user("root").await, app.user("ann").await);
    let (roots, anns) = (format!("/api/admin/users/{}", root.id), format!("/api/admin/users/{}", ann.id));
    for change in [json!({ "is_superuser": false }), json!({ "is_active": false })] {
        assert_eq!(root.patch(&roots, &change).await.problem(409), "last_superuser");
    }
    // Who can't log in doesn't count.
    root.patch(&anns, &json!({ "is_superuser": true, "is_active": false })).await.expect(200);
    assert_eq!(root.patch(&roots, &json!({ "is_superuser": false })).await.problem(409), "last_superuser");
    root.patch(&anns, &json!({ "is_active": true })).await.expect(200);
    // Nor does who can't log in with a password.
    app.sql("UPDATE users SET is_bot = TRUE WHERE username = 'ann'").await;
    assert_eq!(root.patch(&roots, &json!({ "is_active": false })).await.problem(409), "last_superuser");
    root.patch(&anns, &json!({ "is_active": false })).await.expect(200);
    root.patch(&anns, &json!({ "is_active": true })).await.expect(200);
    app.sql("UPDATE users SET is_bot = FALSE").await;
    let ann = app.login("ann").await;
    let mut socket = root.socket().await;
    root.patch(&roots, &json!({ "is_superuser": false })).await.expect(200);
    assert_eq!(socket.close_code().await, 4503, "it has to come again as who it is now");
    root.get("/api/admin/users").await.problem(403);
    assert_eq!(root.socket().await.hello["user"]["is_superuser"], false);
    ann.get("/api/admin/users").await.expect(200);
    assert_eq!(ann.patch(&anns, &json!({ "is_superuser": false })).await.problem(409), "last_superuser");
}

#[tokio::test]
async fn two_superusers_can_not_demote_each_other() {
    let app = TestApp::start().await;
    let (root, ann) = (app.user("root").await, app.user("ann").await);
    let (roots, anns) = (format!("/api/admin/users/{}", root.id), format!("/api/admin/users/{}", ann.id));
    root.patch(&anns, &json!({ "is_superuser": true })).await.expect(200);
    let demote = json!({ "is_superuser": false });
    let (one, two) = tokio::join!(root.patch(&anns, &demote), ann.patch(&roots, &demote));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    // The other is told that it is the last one, or that it is none any more.
    assert!(statuses == [200, 409] || statuses == [200, 403], "{statuses:?}");
    let left = [&root, &ann].map(|user| user.get("/api/admin/users"));
    let left = futures_util::future::join_all(left).await;
    assert_eq!(left.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn accounts_are_superusers_to_change() {
    let app = TestApp::start().await;
    let (root, ann, nobody) = (app.user("root").await, app.user("ann").await, app.anonymous());
    let anns = format!("/api/admin/users/{}", ann.id);
    assert_eq!(ann.patch(&anns, &json!({ "is_superuser": true })).await.problem(403), "forbidden");
    assert_eq!(nobody.patch(&anns, &json!({ "is_active": false })).await.problem(401), "unauthenticated");
    assert_eq!(
        root.patch("/api/admin/users/99", &json!({ "is_active": false })).await.problem(404),
        "user_not_found"
    );
    assert_eq!(root.patch(&anns, &json!({ "username": "eve" })).await.problem(422), "validation_failed");
    assert_eq!(root.patch(&anns, &json!({})).await.expect(200)["is_active"], true, "nothing to change");
    assert_eq!(root.get("/api/admin/audit?action=user.deactivated").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn administrative_acts_are_on_record() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let (root, ann, bob) = (app.user("root").await, app.user("ann").await, app.user("bob").await);
        root.patch(&format!("/api/admin/users/{}", ann.id), &json!({ "is_superuser": true }))
            .await
            .expect(200);
        let invite = root.post("/api/admin/invites", &json!({ "max_uses": 3 })).await.expect(201);
        let channel = bob.channel("general", &[]).await;
        ann.delete(&format!("/api/channels/{channel}")).await.expect(204);
        let own = bob.channel("own", &[]).await;
        bob.delete(&format!("/api/channels/{own}")).await.expect(204);
        root.install("whoami", patchbay_tests::guest("whoami")).await.expect(201);
        root.patch("/api/admin/plugins/whoami", &json!({ "enabled": false })).await.expect(200);
        assert_eq!(root.install("whoami", b"nonsense".to_vec()).await.status, 422);

        let log = root.get("/api/admin/audit").await.expect(200);
        let items = log["items"].as_array().unwrap();
        let acts: Vec<_> = items
            .iter()
            .filter(|act| !act["actor"].is_null())
            .map(|act| {
                let text = |field: &str| act[field].as_str().unwrap().to_owned();
                (text("action"), text("target"), act["actor"]["username"].as_str().unwrap().to_owned())
            })
            .collect();
        let act = |action: &str, target: String, by: &str| (action.to_owned(), target, by.to_owned());
        let invite_id = &invite["id"];
        assert_eq!(
            acts,
            [
                act("plugin.updated", "plugin:whoami".into(), "root"),
                act("plugin.installed", "plugin:whoami".into(), "root"),
                act("channel.deleted", format!("channel:{channel}"), "ann"),
                act("invite.created", format!("invite:{invite_id}"), "root"),
                act("user.promoted", format!("user:{}", ann.id), "root"),
                act("user.promoted", format!("user:{}", root.id), "root"),
            ],
            "newest first; what was refused is not there"
        );
        assert_eq!(items[0]["detail"], json!({ "enabled": false }));
        assert_eq!(items[0]["ip"], "127.0.0.1");
        assert!(items[0]["created_at"].as_str().unwrap().ends_with('Z'));
        assert!(!log.to_string().contains(invite["token"].as_str().unwrap()), "no secrets");
        let bundled = root.get("/api/admin/audit?actor=operator").await.expect(200);
        let targets: Vec<_> = bundled["items"].as_array().unwrap().iter().map(|act| &act["target"]).collect();
        assert!(targets.contains(&&json!("plugin:reactions")), "it came with the host: {targets:?}");

        let by_ann = root.get(&format!("/api/admin/audit?actor={}", ann.id)).await.expect(200);
        assert_eq!(by_ann["items"].as_array().unwrap().len(), 1);
        let page = root.get("/api/admin/audit?action=user.promoted&limit=1").await.expect(200);
        assert_eq!((page["items"].as_array().unwrap().len(), &page["has_more"]), (1, &json!(true)));
        let before = &page["items"][0]["id"];
        let rest =
            root.get(&format!("/api/admin/audit?action=user.promoted&before={before}")).await.expect(200);
        assert_eq!(rest["items"][0]["target"], format!("user:{}", root.id));
        assert_eq!(root.get("/api/admin/audit?actor=x").await.problem(422), "validation_failed");
        bob.get("/api/admin/audit").await.problem(403);
        app.anonymous().get("/api/admin/audit").await.problem(401);
    }
}
