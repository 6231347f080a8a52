//! Accounts: who may make one, and passwords that another system has hashed.

use patchbay_tests::{Answer, TestApp, User, json};

async fn register(app: &TestApp, name: &str, extra: &[(&str, &str)]) -> Answer {
    let mut body = json!({
        "username": name, "email": format!("{name}@example.org"), "password": "correct horse",
    });
    for (field, value) in extra {
        body[field] = json!(value);
    }
    app.anonymous().post("/api/auth/register", &body).await
}

async fn invite(by: &User, body: patchbay_tests::Value) -> (i64, String) {
    let invite = by.post("/api/admin/invites", &body).await.expect(201);
    (invite["id"].as_i64().unwrap(), invite["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_invitation_opens_the_door_as_often_as_it_says() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        let mut app = app;
        app.set(&["auth.registration=invite"]);
        assert!(app.stop().await);
        app.restart().await;
        let root = app.user("root").await;
        assert_eq!(register(&app, "ann", &[]).await.problem(403), "invite_required");
        let (id, token) = invite(&root, json!({ "max_uses": 2 })).await;
        assert_eq!(
            register(&app, "ann", &[("invite_token", "nonsense")]).await.problem(403),
            "invite_invalid"
        );
        // What fails for another reason uses nothing up.
        register(&app, "root", &[("invite_token", &token)]).await.problem(409);
        let names = ["ann", "bob", "cleo", "dan", "eve"];
        let extra = [("invite_token", token.as_str())];
        let attempts = names.map(|name| register(&app, name, &extra));
        let attempts = futures_util::future::join_all(attempts).await;
        let (made, refused): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|a| a.status == 201);
        assert_eq!(made.len(), 2, "two at once can't both use the last");
        for answer in refused {
            assert_eq!(answer.problem(403), "invite_used");
        }
        let listed = root.get("/api/admin/invites").await.expect(200);
        let listed = &listed["items"][0];
        assert_eq!((&listed["id"], &listed["uses"], &listed["max_uses"]), (&json!(id), &json!(2), &json!(2)));
        assert_eq!(listed["created_by_id"], root.id);
        assert!(listed.get("token").is_none(), "it is shown once");
    }
}

#[tokio::test]
async fn an_invitation_can_be_for_one_address_for_a_while_and_be_taken_back() {
    let app = TestApp::start_with(&["auth.registration=invite"]).await;
    let root = app.user("root").await;
    let (_, token) = invite(&root, json!({ "email": "Ann@example.org" })).await;
    assert_eq!(register(&app, "eve", &[("invite_token", &token)]).await.problem(403), "invite_for_another");
    register(&app, "ann", &[("invite_token", &token)]).await.expect(201);
    let (id, token) = invite(&root, json!({ "expires_in": 60 })).await;
    root.delete(&format!("/api/admin/invites/{id}")).await.expect(204);
    assert_eq!(root.delete(&format!("/api/admin/invites/{id}")).await.problem(404), "invite_not_found");
    assert_eq!(register(&app, "bob", &[("invite_token", &token)]).await.problem(403), "invite_invalid");
    let (_, token) = invite(&root, json!({})).await;
    app.sql("UPDATE invites SET expires_at = 1000").await;
    assert_eq!(register(&app, "bob", &[("invite_token", &token)]).await.problem(403), "invite_expired");
    let day = 86_400;
    for (body, field) in [
        (json!({ "max_uses": 0 }), "max_uses"),
        (json!({ "expires_in": 0 }), "expires_in"),
        (json!({ "expires_in": 400 * day }), "expires_in"),
        (json!({ "expires_at": "2001-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "expires_at": "2100-01-01T00:00:00Z", "expires_in": day }), "expires_at"),
        (json!({ "email": "nonsense" }), "email"),
        (json!({ "uses": 1 }), "uses"),
    ] {
        let answer = root.post("/api/admin/invites", &body).await;
        assert_eq!(answer.body["errors"][0]["field"], field, "{body}");
        assert_eq!(answer.problem(422), "validation_failed");
    }
}

#[tokio::test]
async fn invitations_are_superusers_to_make() {
    let app = TestApp::start().await;
    let (_root, ann, nobody) = (app.user("root").await, app.user("ann").await, app.anonymous());
    for (user, status) in [(&ann, 403), (&nobody, 401)] {
        user.post("/api/admin/invites", &json!({})).await.problem(status);
        user.get("/api/admin/invites").await.problem(status);
        user.delete("/api/admin/invites/1").await.problem(status);
    }
}

#[tokio::test]
async fn closed_is_closed_to_invitations_too() {
    let app = TestApp::start_with(&["auth.registration=closed"]).await;
    let root = app.user("root").await;
    let (_, token) = invite(&root, json!({})).await;
    assert_eq!(register(&app, "ann", &[("invite_token", &token)]).await.problem(403), "forbidden");
}

#[tokio::test]
async fn the_first_superuser_needs_no_invitation() {
    let mut app = TestApp::start_with(&["auth.registration=invite"]).await;
    let token = app.bootstrap_token().await;
    app.kill().await;
    app.restart().await;
    assert_eq!(app.bootstrap_token().await, token, "whoever has written it down can use it after a restart");
    let body = |name: &str, token: &str| {
        json!({
            "username": name, "email": format!("{name}@example.org"), "password": "correct horse",
            "bootstrap_token": token,
        })
    };
    let nobody = app.anonymous();
    let from_afar = |body: patchbay_tests::Value| {
        let request = nobody.request(reqwest::Method::POST, "/api/auth/register").json(&body);
        nobody.send(request.header("x-forwarded-for", "203.0.113.9"))
    };
    assert_eq!(from_afar(body("eve", "nonsense")).await.problem(403), "forbidden");
    assert_eq!(from_afar(body("root", &token)).await.expect(201)["is_superuser"], true);
    assert_eq!(from_afar(body("eve", &token)).await.problem(403), "forbidden");
    let root = app.login("root").await;
    let audit = root.get("/api/admin/audit?action=user.promoted").await.expect(200);
    assert_eq!(audit["items"][0]["actor"], json!({ "id": root.id, "username": "root" }));
    assert_eq!(audit["items"][0]["detail"]["bootstrap"], true);
}

#[tokio::test]
async fn a_password_of_the_seed_is_taken_over_at_the_first_login() {
    for app in [Some(TestApp::start().await), TestApp::start_on_postgres().await].into_iter().flatten() {
        app.user("ann").await;
        // Made by Python: passlib.hash.bcrypt of "battery staple".
        app.sql("UPDATE users SET hashed_password = '$2b$06$z2wDmYTmF/.0Gh/xgw2/2uwpr60S.A0SSLTaupmGvG48HhyDWvLK.'").await;
        let login = |password: &'static str| {
            let nobody = app.anonymous();
            async move {
                nobody.post("/api/auth/login", &json!({ "username": "ann", "password": password })).await
            }
        };
        for wrong in ["correct horse", "battery staple ", ""] {
            assert_eq!(login(wrong).await.problem(401), "invalid_credentials");
        }
        // Both of two at once come in, although the first has the hash replaced.
        let (one, two) = tokio::join!(login("battery staple"), login("battery staple"));
        for tokens in [one, two] {
            User::logged_in(&app.url, &tokens.expect(200)).get("/api/users/me").await.expect(200);
        }
        // Were it still there, nobody could log in now.
        app.sql("DELETE FROM users WHERE hashed_password LIKE '$2%'").await;
        login("battery staple").await.expect(200);
        assert_eq!(login("correct horse").await.problem(401), "invalid_credentials");
    }
}
