//! Accounts, logins, tokens.

use patchbay_tests::{Socket, TestApp, User, json};

#[tokio::test]
async fn registration_checks_every_field_and_keeps_names_unique() {
    let app = TestApp::start().await;
    let nobody = app.anonymous();
    let body = json!({ "username": "Ann", "email": "ann@example.org", "password": "correct horse" });
    let ann = nobody.post("/api/auth/register", &body).await.expect(201);
    assert_eq!(ann["is_superuser"], true, "the first account, from loopback");
    assert_eq!(ann["email"], "ann@example.org");
    assert!(ann.get("hashed_password").is_none() && ann.get("password").is_none());

    let same_name = json!({ "username": "ann", "email": "b@example.org", "password": "correct horse" });
    assert_eq!(nobody.post("/api/auth/register", &same_name).await.problem(409), "username_taken");
    let same_mail = json!({ "username": "bob", "email": "ANN@example.org", "password": "correct horse" });
    assert_eq!(nobody.post("/api/auth/register", &same_mail).await.problem(409), "email_taken");

    let bad = json!({ "username": "b b", "email": "nonsense", "password": "short" });
    let answer = nobody.post("/api/auth/register", &bad).await;
    let fields: Vec<_> =
        answer.body["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(fields, ["username", "email", "password"]);
    assert_eq!(answer.problem(422), "validation_failed");

    let unknown =
        json!({ "username": "bob", "email": "b@x.org", "password": "correct horse", "admin": true });
    let answer = nobody.post("/api/auth/register", &unknown).await;
    assert_eq!(answer.body["errors"][0]["field"], "admin");
    assert_eq!(answer.problem(422), "validation_failed");

    let bob = app.user("bob").await;
    assert_eq!(bob.get("/api/users/me").await.expect(200)["is_superuser"], false);
}

#[tokio::test]
async fn registration_can_be_closed() {
    let app = TestApp::start_with(&["auth.registration=closed"]).await;
    app.user("ann").await;
    let body = json!({ "username": "bob", "email": "b@example.org", "password": "correct horse" });
    assert_eq!(app.anonymous().post("/api/auth/register", &body).await.problem(403), "forbidden");
}

#[tokio::test]
async fn a_stranger_who_comes_first_does_not_lock_the_operator_out() {
    let app = TestApp::start_with(&["auth.registration=open"]).await;
    let body = json!({ "username": "eve", "email": "e@example.org", "password": "correct horse" });
    let nobody = app.anonymous();
    let request = nobody.request(reqwest::Method::POST, "/api/auth/register").json(&body);
    let eve = nobody.send(request.header("x-forwarded-for", "203.0.113.9")).await.expect(201);
    assert_eq!(eve["is_superuser"], false, "a proxy stands between");
    let operator = app.user("operator").await;
    assert_eq!(operator.get("/api/users/me").await.expect(200)["is_superuser"], true);
    let second = app.user("second").await;
    assert_eq!(second.get("/api/users/me").await.expect(200)["is_superuser"], false);
}

#[tokio::test]
async fn only_one_gets_through_a_closed_door() {
    let app = TestApp::start_with(&["auth.registration=closed"]).await;
    let nobody = app.anonymous();
    let attempts = (0..6).map(|n| {
        let nobody = nobody.clone();
        async move {
            let body = json!({
                "username": format!("user{n}"), "email": format!("{n}@example.org"), "password": "correct horse",
            });
            nobody.post("/api/auth/register", &body).await.status
        }
    });
    let mut statuses = futures_util::future::join_all(attempts).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403]);
}

#[tokio::test]
async fn login_takes_json_and_forms_names_and_addresses() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let nobody = app.anonymous();
    let by_mail = json!({ "username": "Ann@Example.org", "password": "correct horse" });
    let tokens = nobody.post("/api/auth/login", &by_mail).await.expect(200);
    assert_eq!(tokens["token_type"], "bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert_eq!(tokens["user"]["username"], "ann");

    let form = [("username", "ann"), ("password", "correct horse"), ("grant_type", "password")];
    let request = nobody.request(reqwest::Method::POST, "/api/auth/login").form(&form);
    nobody.send(request).await.expect(200);

    for (name, password) in [("ann", "wrong horse"), ("nobody", "correct horse")] {
        let body = json!({ "username": name, "password": password });
        assert_eq!(nobody.post("/api/auth/login", &body).await.problem(401), "invalid_credentials");
    }
    let request = nobody.request(reqwest::Method::POST, "/api/auth/login").body("x");
    assert_eq!(nobody.send(request).await.problem(415), "unsupported_media_type");
    let request = nobody.request(reqwest::Method::POST, "/api/auth/login");
    let request = request.header("content-type", "application/json").body("{");
    assert_eq!(nobody.send(request).await.problem(400), "malformed_json");
    let array = json!(["ann", "correct horse"]);
    assert_eq!(nobody.post("/api/auth/login", &array).await.problem(422), "validation_failed");
}

async fn refresh(user: &User, token: &str) -> patchbay_tests::Answer {
    user.post("/api/auth/refresh", &json!({ "refresh_token": token })).await
}

#[tokio::test]
async fn a_lost_refresh_answer_harms_nobody() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let nobody = app.anonymous();
    let lost = refresh(&nobody, &ann.refresh_token).await.expect(200);
    let second_tab = refresh(&nobody, &ann.refresh_token).await.expect(200);
    assert_ne!(lost["refresh_token"], second_tab["refresh_token"]);
    // The new pair is used: from then on the old token is a stolen one.
    let user = User::logged_in(&app.url, &second_tab);
    user.get("/api/users/me").await.expect(200);
    assert_eq!(refresh(&nobody, &ann.refresh_token).await.problem(401), "refresh_token_reused");
    for user in [&ann, &user] {
        assert_eq!(user.get("/api/users/me").await.problem(401), "unauthenticated");
    }
    let newest = second_tab["refresh_token"].as_str().unwrap();
    assert_eq!(refresh(&nobody, newest).await.problem(401), "unauthenticated");
}

#[tokio::test]
async fn a_token_is_reused_once_its_successor_has_been() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let nobody = app.anonymous();
    let first = refresh(&nobody, &ann.refresh_token).await.expect(200);
    let first = first["refresh_token"].as_str().unwrap();
    let second = refresh(&nobody, first).await.expect(200);
    assert_eq!(refresh(&nobody, first).await.status, 200, "its own successor has not been used");
    let second = second["refresh_token"].as_str().unwrap();
    refresh(&nobody, second).await.expect(200);
    assert_eq!(refresh(&nobody, &ann.refresh_token).await.problem(401), "refresh_token_reused");
    assert_eq!(ann.get("/api/users/me").await.problem(401), "unauthenticated");
    assert_eq!(refresh(&nobody, "nonsense").await.problem(401), "unauthenticated");
}

#[tokio::test]
async fn two_tabs_can_both_use_what_they_got() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let nobody = app.anonymous();
    let (one, two) = tokio::join!(refresh(&nobody, &ann.refresh_token), refresh(&nobody, &ann.refresh_token));
    let (one, two) = (one.expect(200), two.expect(200));
    User::logged_in(&app.url, &one).get("/api/users/me").await.expect(200);
    User::logged_in(&app.url, &two).get("/api/users/me").await.expect(200);
    // Whichever pair was stored last goes on.
    refresh(&nobody, two["refresh_token"].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn logout_is_effective_at_once() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let elsewhere = app.login("ann").await;
    let mut socket = ann.socket().await;
    let mut other = elsewhere.socket().await;
    ann.post("/api/auth/logout", &json!({})).await.expect(204);
    assert_eq!(socket.close_code().await, 4401);
    assert_eq!(ann.get("/api/users/me").await.problem(401), "unauthenticated");
    assert_eq!(refresh(&ann, &ann.refresh_token).await.problem(401), "unauthenticated");
    elsewhere.get("/api/users/me").await.expect(200);
    assert_eq!(other.call("heartbeat", json!({})).await["type"], "heartbeat_ack");
}

/// A browser that logs out while its page is closed hangs up at once.
#[tokio::test]
async fn a_logout_counts_even_if_its_client_hangs_up() {
    use tokio::io::AsyncWriteExt;
    let app = TestApp::start().await;
    app.user("ann").await;
    let address = app.url.strip_prefix("http://").unwrap();
    for _ in 0..10 {
        let ann = app.login("ann").await;
        let mut socket = ann.socket().await;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /api/auth/logout HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
            ann.token
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.set_zero_linger().unwrap();
        drop(stream);
        // It may still be on its way. In the end either it was never seen, or it counts wholly.
        let mut seen = (0, 0);
        for _ in 0..100 {
            let refreshed = refresh(&ann, &ann.refresh_token).await.status;
            seen = (refreshed, ann.get("/api/users/me").await.status);
            if seen == (401, 401) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(if seen == (200, 200) { 5 } else { 50 }))
                .await;
        }
        assert!(seen == (200, 200) || seen == (401, 401), "half a logout: {seen:?}");
        let refreshed = seen.0;
        if refreshed == 401 {
            assert_eq!(socket.close_code().await, 4401);
        }
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_session() {
    let app = TestApp::start_with(&["auth.session_ttl=4s"]).await;
    let ann = app.user("ann").await;
    let mut socket = ann.socket().await;
    assert_eq!(socket.close_code().await, 4401);
    assert_eq!(ann.get("/api/users/me").await.problem(401), "unauthenticated");
}

#[tokio::test]
async fn sessions_can_be_seen_and_ended() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let bob = app.user("bob").await;
    let phone = app.login("ann").await;
    let sessions = ann.get("/api/auth/sessions").await.expect(200);
    let sessions = sessions["items"].as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    let phones = sessions.iter().find(|s| s["current"] == false).unwrap()["id"].as_i64().unwrap();
    let path = format!("/api/auth/sessions/{phones}");
    assert_eq!(bob.delete(&path).await.problem(404), "session_not_found");
    ann.delete(&path).await.expect(204);
    assert_eq!(phone.get("/api/users/me").await.problem(401), "unauthenticated");
    ann.get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let phone = app.login("ann").await;
    let wrong = json!({ "password": { "current": "wrong horse", "new": "battery staple" } });
    let answer = ann.patch("/api/users/me", &wrong).await;
    assert_eq!(answer.body["errors"][0]["field"], "password.current");
    assert_eq!(answer.problem(422), "validation_failed");
    let right =
        json!({ "password": { "current": "correct horse", "new": "battery staple" }, "full_name": "Ann" });
    assert_eq!(ann.put("/api/users/me", &right).await.expect(200)["full_name"], "Ann");
    assert_eq!(phone.get("/api/users/me").await.problem(401), "unauthenticated");
    ann.get("/api/users/me").await.expect(200);
    let old = json!({ "username": "ann", "password": "correct horse" });
    app.anonymous().post("/api/auth/login", &old).await.problem(401);
    let new = json!({ "username": "ann", "password": "battery staple" });
    app.anonymous().post("/api/auth/login", &new).await.expect(200);
}

#[tokio::test]
async fn profiles_show_to_others_what_is_theirs_to_see() {
    let app = TestApp::start().await;
    let (_root, ann, bob) = (app.user("root").await, app.user("ann").await, app.user("bob").await);
    let seen = bob.get(&format!("/api/users/{}", ann.id)).await.expect(200);
    assert!(seen.get("email").is_none(), "an address is not for others");
    assert_eq!(seen["status"], "offline", "no socket is open");
    let _socket = ann.socket().await;
    assert_eq!(bob.get(&format!("/api/users/{}", ann.id)).await.expect(200)["status"], "online");
    ann.patch("/api/users/me", &json!({ "full_name": "Änn Übermut" })).await.expect(200);
    assert_eq!(bob.get("/api/users?query=%C3%BCBER").await.expect(200)["items"][0]["id"], ann.id);
    ann.put("/api/users/me/status", &json!({ "status": "busy" })).await.expect(200);
    assert_eq!(bob.get(&format!("/api/users/{}", ann.id)).await.expect(200)["status"], "busy");
    assert_eq!(
        ann.put("/api/users/me/status", &json!({ "status": "x" })).await.problem(422),
        "validation_failed"
    );
    let found = bob.get("/api/users?query=AN").await.expect(200);
    assert_eq!(found["items"][0]["username"], "ann");
    assert_eq!(bob.get("/api/users/99").await.problem(404), "user_not_found");
}

#[tokio::test]
async fn sockets_need_a_good_token() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let socket = Socket::open_with_header(&app.url, &ann.token).await;
    assert_eq!(socket.hello["user"]["username"], "ann");
    assert!(socket.hello["heartbeat_ms"].as_i64().unwrap() > 0);
    let mut socket = Socket::connect(&app.url).await;
    socket.send_raw(&json!({ "type": "authenticate", "data": { "token": "nonsense" } }).to_string()).await;
    assert_eq!(socket.next().await.unwrap()["data"]["code"], "unauthenticated");
    assert_eq!(socket.close_code().await, 4401);
    let mut socket = Socket::connect(&app.url).await;
    socket.send_raw(r#"{"type":"heartbeat"}"#).await;
    assert_eq!(socket.close_code().await, 4401);
}

#[tokio::test]
async fn the_edge_answers_preflights_and_optional_slashes() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let request = ann
        .request(reqwest::Method::OPTIONS, "/api/channels/")
        .header("origin", "http://localhost:5173")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let answer = ann.send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "http://localhost:5173");
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    let request = ann.request(reqwest::Method::GET, "/api/users/me").header("origin", "http://evil.example");
    assert!(!ann.send(request).await.headers.contains_key("access-control-allow-origin"));

    for path in ["/api/users/me", "/api/users/me/", "/api/channels", "/api/channels/", "/readyz", "/healthz"]
    {
        assert_eq!(ann.get(path).await.status, 200, "{path}");
    }
    assert_eq!(ann.get("/api/nothing").await.problem(404), "not_found");
    assert_eq!(ann.delete("/api/users/me").await.problem(405), "method_not_allowed");
    let big = json!({ "name": "x".repeat(2_000_000) });
    assert_eq!(ann.post("/api/channels", &big).await.problem(413), "too_large");
}
