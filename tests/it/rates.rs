//! How often: rates of requests and of guesses, by user and by address, behind a proxy too.

use patchbay_tests::{Answer, Raw, TestApp, User, json};
use reqwest::Method;

/// Rates are limited, and this machine is a proxy whose word is taken for where a request comes from.
const PROXIED: [&str; 2] = ["limits.rate=on", "server.trusted_proxies=127.0.0.1"];

async fn from(user: &User, address: &str, method: Method, path: &str) -> Answer {
    user.send(user.request(method, path).header("x-forwarded-for", address)).await
}

async fn login_from(app: &TestApp, address: &str, name: &str, password: &str) -> Answer {
    let nobody = app.anonymous();
    let body = json!({ "username": name, "password": password });
    let request = nobody.request(Method::POST, "/api/auth/login").json(&body);
    nobody.send(request.header("x-forwarded-for", address)).await
}

#[track_caller]
fn refused(answer: Answer) -> u64 {
    let wait = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.problem(429), "rate_limited");
    wait
}

#[tokio::test]
async fn an_address_has_a_rate_whatever_it_asks() {
    let app = TestApp::start_with(&[PROXIED[0], PROXIED[1], "limits.requests_per_address=20"]).await;
    let nobody = app.anonymous();
    let mut liar = app.anonymous();
    liar.token = "not.a.token".into();
    let mut counts = [0; 3];
    for n in 0..60 {
        let answer = match n % 3 {
            0 => from(&nobody, "192.0.2.1", Method::GET, "/api/nothing").await,
            1 => from(&liar, "192.0.2.1", Method::GET, "/api/users/me").await,
            _ => from(&nobody, "192.0.2.1", Method::GET, "/ws/chat").await,
        };
        match answer.status {
            429 => counts[2] += u32::from(refused(answer) >= 1),
            404 | 401 | 426 => counts[0] += 1,
            status => panic!("{status}"),
        }
    }
    assert!((20..=25).contains(&counts[0]), "{counts:?}");
    assert!(counts[2] >= 35, "{counts:?}");
    let answer = nobody
        .request(Method::GET, "/api/nothing")
        .header("x-forwarded-for", "192.0.2.1")
        .header("origin", "http://localhost:5173");
    let answer = nobody.send(answer).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "http://localhost:5173");
    refused(answer);
    // Others are not concerned, and an orchestrator always hears that the process answers.
    assert_eq!(from(&nobody, "192.0.2.2", Method::GET, "/api/nothing").await.status, 404);
    assert_eq!(from(&nobody, "192.0.2.1", Method::GET, "/healthz").await.status, 200);
    // An IPv6 customer has more addresses than anybody could count.
    for n in 0..40 {
        from(&nobody, &format!("2001:db8:1:1::{n:x}"), Method::GET, "/api/nothing").await;
    }
    refused(from(&nobody, "2001:db8:1:1:ffff::1", Method::GET, "/api/nothing").await);
    assert_eq!(from(&nobody, "2001:db8:1:2::1", Method::GET, "/api/nothing").await.status, 404);
}

#[tokio::test]
async fn a_user_has_a_rate_from_all_addresses_together() {
    let app = TestApp::start_with(&[PROXIED[0], PROXIED[1], "limits.requests_per_user=15"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let mut allowed = 0;
    for n in 0..40 {
        let answer = from(&ann, &format!("192.0.2.{n}"), Method::GET, "/api/users/me").await;
        allowed += u32::from(answer.status == 200);
    }
    assert!((15..=18).contains(&allowed), "{allowed}");
    refused(ann.get("/api/users/me").await);
    bob.get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn a_forged_address_counts_for_nothing() {
    let app = TestApp::start_with(&["limits.rate=on", "limits.requests_per_address=20"]).await;
    let nobody = app.anonymous();
    let mut allowed = 0;
    for n in 0..40 {
        let answer = from(&nobody, &format!("192.0.2.{n}"), Method::GET, "/api/nothing").await;
        allowed += u32::from(answer.status == 404);
    }
    assert!(allowed < 25, "{allowed}");
}

#[tokio::test]
async fn who_guesses_passwords_waits_and_locks_out_nobody_else() {
    let app = TestApp::start_with(&PROXIED).await;
    let ann = app.user("ann").await;
    let (stranger, owner) = ("192.0.2.66", "198.51.100.1");
    for name in ["ann", "ANN", "ann", "Ann", "ann"] {
        assert_eq!(login_from(&app, stranger, name, "wrong horse").await.problem(401), "invalid_credentials");
    }
    refused(login_from(&app, stranger, "ann", "wrong horse").await);
    refused(login_from(&app, stranger, "ann", "correct horse").await);
    assert_eq!(login_from(&app, owner, "ann", "correct horse").await.status, 200);
    ann.get("/api/users/me").await.expect(200);
    // Names that nobody has wait in the same way.
    for _ in 0..5 {
        login_from(&app, stranger, "nobody", "wrong horse").await.problem(401);
    }
    refused(login_from(&app, stranger, "nobody", "wrong horse").await);
    // A success ends the count.
    for _ in 0..3 {
        for _ in 0..4 {
            login_from(&app, owner, "ann", "wrong horse").await.problem(401);
        }
        assert_eq!(login_from(&app, owner, "ann", "correct horse").await.status, 200);
    }
    // So does the present password of who holds a token.
    let change = json!({ "password": { "current": "wrong horse", "new": "battery staple" } });
    for _ in 0..5 {
        ann.patch("/api/users/me", &change).await.problem(422);
    }
    refused(ann.patch("/api/users/me", &change).await);
}

#[tokio::test]
async fn guessing_in_parallel_gains_nothing() {
    let app = TestApp::start_with(&PROXIED).await;
    app.user("ann").await;
    let guesses = (0..30).map(|_| login_from(&app, "192.0.2.66", "ann", "wrong horse"));
    let answers = futures_util::future::join_all(guesses).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 25);
}

#[tokio::test]
async fn accounts_and_refreshes_have_rates() {
    let settings =
        [PROXIED[0], PROXIED[1], "limits.registrations_per_address=3", "limits.refreshes_per_address=3"];
    let app = TestApp::start_with(&settings).await;
    let nobody = app.anonymous();
    let register = |n: usize, address: &'static str| {
        let body = json!({
            "username": format!("user{n}"), "email": format!("user{n}@example.org"), "password": "correct horse",
        });
        let request = nobody.request(Method::POST, "/api/auth/register").json(&body);
        nobody.send(request.header("x-forwarded-for", address))
    };
    for n in 0..3 {
        register(n, "192.0.2.1").await.expect(201);
    }
    refused(register(3, "192.0.2.1").await);
    register(3, "192.0.2.2").await.expect(201);
    let user = app.login("user3").await;
    let mut token = user.refresh_token;
    for _ in 0..3 {
        let answer = nobody.post("/api/auth/refresh", &json!({ "refresh_token": token })).await.expect(200);
        token = answer["refresh_token"].as_str().unwrap().to_owned();
    }
    refused(nobody.post("/api/auth/refresh", &json!({ "refresh_token": token })).await);
}

#[tokio::test]
async fn a_client_behind_a_proxy_is_not_on_loopback() {
    let app = TestApp::start_with(&PROXIED).await;
    let nobody = app.anonymous();
    let register = |name: &'static str, forwarded: Option<&'static str>| {
        let body =
            json!({ "username": name, "email": format!("{name}@example.org"), "password": "correct horse" });
        let request = nobody.request(Method::POST, "/api/auth/register").json(&body);
        let request = match forwarded {
            Some(address) => request.header("x-forwarded-for", address),
            None => request,
        };
        nobody.send(request)
    };
    for (name, forwarded) in [
        ("ann", Some("192.0.2.1")),
        ("bob", Some("127.0.0.1")),
        ("cleo", Some("127.0.0.1, 192.0.2.1")),
        ("dan", None),
    ] {
        let user = register(name, forwarded).await.expect(201);
        assert_eq!(user["is_superuser"], false, "{name}");
    }
    let login = login_from(&app, "127.0.0.1, 192.0.2.9", "ann", "correct horse").await.expect(200);
    let ann = User::logged_in(&app.url, &login);
    let sessions = ann.get("/api/auth/sessions").await.expect(200);
    assert_eq!(sessions["items"][0]["ip"], "192.0.2.9");
}

#[tokio::test]
async fn only_a_trusted_proxy_names_requests() {
    let app = TestApp::start_with(&PROXIED).await;
    let direct = TestApp::start().await;
    for (app, id, is_taken) in [
        (&app, "req-7_a.b", true),
        (&app, "two words", false),
        (&app, "", false),
        (&direct, "req-7_a.b", false),
    ] {
        let nobody = app.anonymous();
        let request = nobody.request(Method::GET, "/healthz").header("x-request-id", id);
        let answer = nobody.send(request).await;
        assert_eq!(answer.headers["x-request-id"] == id, is_taken, "{id}");
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let settings = ["limits.rate=on", "limits.connections_per_address=4"];
    let app = TestApp::start_with(&settings).await;
    let mut open = Vec::new();
    let refused = loop {
        let mut next = Raw::connect(&app.url).await;
        next.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let answer = next.answer().await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        open.push(next);
    };
    assert_eq!(open.len(), 4);
    assert_eq!(refused.problem(503), "unavailable");
}
