//! What every request passes through: heads and bodies that are wrong, slow or too large; headers; CORS; the end.

use patchbay_tests::{Raw, Socket, TestApp, Value, eventually, guest, json};
use reqwest::Method;

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n";

/// The answer to these bytes on a connection of their own.
async fn answer(app: &TestApp, bytes: impl AsRef<[u8]>) -> patchbay_tests::RawAnswer {
    let mut raw = Raw::connect(&app.url).await;
    raw.send(bytes).await;
    raw.answer().await.expect("no answer")
}

#[tokio::test]
async fn wrong_heads_are_answered_with_a_problem_and_the_server_lives_on() {
    let app = TestApp::start().await;
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "a".repeat(40_000);
    for (bytes, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "version_not_supported"),
        (format!("{GET}{many}\r\n"), 431, "header_too_large"),
        (format!("{GET}x: {long}\r\n\r\n"), 431, "header_too_large"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 431, "header_too_large"),
        (format!("GET /{long}"), 431, "header_too_large"),
    ] {
        let answer = answer(&app, &bytes).await;
        assert_eq!(answer.problem(status), code, "{bytes:.60}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // A head that is cut off, and one that comes a byte at a time.
    let mut raw = Raw::connect(&app.url).await;
    raw.send(GET).await;
    raw.finish().await;
    assert_eq!(raw.answer().await.unwrap().problem(400), "malformed_request");
    let mut raw = Raw::connect(&app.url).await;
    for byte in format!("{GET}\r\n").bytes() {
        raw.send([byte]).await;
    }
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert_eq!(app.anonymous().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let app = TestApp::start().await;
    let mut raw = Raw::connect(&app.url).await;
    for _ in 0..3 {
        raw.send(format!("{GET}\r\n")).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        // A body that nobody wants is not taken for the next head.
        raw.send("POST /api/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n")
            .await;
        assert_eq!(raw.answer().await.unwrap().problem(404), "not_found");
    }
    // Heads and bodies that come in pieces, each with the end of the one before.
    let mut raw = Raw::connect(&app.url).await;
    let post = "POST /api/nothing HTTP/1.1\r\nhost: x\r\n";
    let requests = [
        format!("{GET}\r\n"),
        format!("{post}content-length: 4\r\n\r\nGET "),
        format!("{post}transfer-encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n"),
        format!("{GET}x: 0\r\n\r\n"),
    ];
    let all = requests.concat().repeat(2);
    for split in [3, 70, 90, 110, 130, 160, 200, 220, 300] {
        let (first, rest) = all.split_at(split);
        raw.send(first).await;
        // Let the pieces arrive as pieces.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        raw.send(rest).await;
        for expected in [200, 404, 404, 200, 200, 404, 404, 200] {
            assert_eq!(raw.answer().await.unwrap().status, expected, "split at {split}");
        }
    }
    // Several at once.
    let mut raw = Raw::connect(&app.url).await;
    raw.send(format!("{GET}\r\n").repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
    // A wrong head after a right one.
    for after_several in [true, false] {
        if !after_several {
            raw = Raw::connect(&app.url).await;
            raw.send(format!("{GET}\r\n")).await;
            assert_eq!(raw.answer().await.unwrap().status, 200);
        }
        raw.send("nonsense\r\n\r\n").await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 400);
        if !after_several {
            assert_eq!(answer.problem(400), "malformed_request");
        }
        assert!(raw.is_closed().await);
    }
}

#[tokio::test]
async fn what_comes_too_slowly_is_cut_off() {
    let times = ["limits.header_time=300ms", "limits.body_time=300ms", "limits.idle_time=300ms"];
    let app = TestApp::start_with(&times).await;
    let mut slow_head = Raw::connect(&app.url).await;
    slow_head.send("GET /healthz HTTP/1.1\r\nhost:").await;
    let mut nothing = Raw::connect(&app.url).await;
    let mut idle = Raw::connect(&app.url).await;
    idle.send(format!("{GET}\r\n")).await;
    let login = "POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut slow_body = Raw::connect(&app.url).await;
    slow_body.send(format!("{login}content-length: 50\r\n\r\n{{\"username\"")).await;
    let mut slow_chunk = Raw::connect(&app.url).await;
    slow_chunk.send(format!("{login}transfer-encoding: chunked\r\n\r\n5\r\n{{\"us")).await;

    assert_eq!(slow_head.answer().await.unwrap().problem(408), "request_timeout");
    assert!(nothing.is_closed().await);
    assert_eq!(idle.answer().await.unwrap().status, 200);
    assert!(idle.is_closed().await);
    for mut slow in [slow_body, slow_chunk] {
        let answer = slow.answer().await.unwrap();
        assert_eq!(answer.problem(408), "request_timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(slow.is_closed().await);
    }
}

#[tokio::test]
async fn a_request_has_a_time_and_a_body_that_comes_extends_it() {
    let app = TestApp::start_with(&["limits.request_time=1s"]).await;
    let ann = app.user("ann").await;
    ann.install_with_grants("endless-loop", guest("endless-loop")).await;
    let answer = ann.get("/api/plugins/endless-loop/go").await;
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.problem(503), "timed_out");

    // An upload that takes longer than that, and never stands still.
    let mut raw = Raw::connect(&app.url).await;
    let head = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    let length = head.len() + 12 + 7;
    raw.send(format!(
        "POST /api/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=x\r\ncontent-length: {length}\r\n\r\n{head}",
        ann.token
    ))
    .await;
    for _ in 0..12 {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        assert!(raw.send("a").await);
    }
    raw.send("\r\n--x--").await;
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
}

#[tokio::test]
async fn wrong_bodies_are_answered_and_nothing_breaks() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let bearer = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", ann.token);
    let post = |rest: &str| format!("POST /api/channels HTTP/1.1\r\nhost: x\r\n{bearer}{rest}");
    for deep in
        ["[".repeat(500_000), "{\"name\":".repeat(100_000), format!("{{\"name\":{}", "[".repeat(500_000))]
    {
        let rest = format!("content-length: {}\r\n\r\n{deep}", deep.len());
        let answer = answer(&app, post(&rest)).await;
        let expected =
            if deep.starts_with('[') { (400, "malformed_json") } else { (422, "validation_failed") };
        assert_eq!(answer.problem(expected.0), expected.1);
    }
    // Refused once too much of it has come, though it goes on and on.
    let mut raw = Raw::connect(&app.url).await;
    raw.send(post("content-length: 99999999999\r\n\r\n")).await;
    let megabyte = vec![b' '; 1024 * 1024];
    while raw.send(&megabyte).await {}
    assert_eq!(raw.answer().await.unwrap().problem(413), "too_large");
    let mut raw = Raw::connect(&app.url).await;
    raw.send(post("content-length: 100\r\n\r\n{\"name\":")).await;
    raw.finish().await;
    assert_eq!(raw.answer().await.unwrap().problem(400), "incomplete_body");
    for (rest, code) in [
        ("content-length: -1\r\n\r\n", "malformed_request"),
        ("content-length: 99999999999999999999\r\n\r\n", "malformed_request"),
        ("content-length: 2\r\ncontent-length: 3\r\n\r\n{}", "malformed_request"),
        ("content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", "malformed_request"),
        ("transfer-encoding: gzip\r\n\r\n{}", "malformed_request"),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", "incomplete_body"),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffffffff\r\n", "incomplete_body"),
    ] {
        assert_eq!(answer(&app, post(rest)).await.problem(400), code, "{rest}");
    }
    ann.get("/api/users/me").await.expect(200);
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_make_of_it() {
    let app = TestApp::start_with(&["server.public_url=https://chat.example.org"]).await;
    let ann = app.user("ann").await;
    for (method, path, status) in [
        (Method::GET, "/api/users/me", 200),
        (Method::GET, "/api/nothing", 404),
        (Method::POST, "/healthz", 405),
        (Method::GET, "/ws/chat", 426),
        (Method::HEAD, "/api/users/me", 200),
        (Method::OPTIONS, "/api/users/me", 200),
    ] {
        let answer = ann.send(ann.request(method, path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
        if answer.headers.get("content-type").is_some_and(|kind| kind.to_str().unwrap().contains("json")) {
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }
    let answer = ann.send(ann.request(Method::POST, "/api/users/me")).await;
    let allowed = answer.headers["allow"].to_str().unwrap().to_owned();
    for method in ["GET", "HEAD", "PUT", "PATCH"] {
        assert!(allowed.contains(method), "{allowed}");
    }
    assert_eq!(answer.problem(405), "method_not_allowed");
    let head = ann.send(ann.request(Method::HEAD, "/api/users/me")).await;
    assert_eq!(head.body, Value::Null);

    let form = reqwest::multipart::Part::bytes(b"so ".repeat(1_000)).file_name("a.txt");
    let form = form.mime_str("text/plain").unwrap();
    let form = reqwest::multipart::Form::new().part("file", form);
    let file = ann.send(ann.request(Method::POST, "/api/files/upload").multipart(form)).await.expect(201);
    let path = format!("/api/files/{}/download", file["id"]);
    let download = ann.send(ann.request(Method::GET, &path).header("accept-encoding", "gzip")).await;
    assert_eq!(download.headers["cache-control"], "private, no-cache");
    assert_eq!(download.headers["content-security-policy"], "default-src 'none'; sandbox");
    assert_eq!(download.headers["content-length"], "3000");
    assert!(!download.headers.contains_key("content-encoding"), "a file is sent as it is");
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_can_read_that() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    for _ in 0..5 {
        ann.say(channel, &"so long ".repeat(100)).await;
    }
    let path = format!("/api/channels/{channel}/messages");
    let plain = ann.get(&path).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let head = format!("host: x\r\nauthorization: Bearer {}\r\naccept-encoding: br, gzip\r\n", ann.token);
    let mut raw = Raw::connect(&app.url).await;
    raw.send(format!("GET {path} HTTP/1.1\r\n{head}\r\n")).await;
    let long = raw.answer().await.unwrap();
    assert_eq!(long.header("content-encoding"), Some("gzip"));
    assert!(long.header("vary").unwrap().contains("accept-encoding"));
    let mut raw = Raw::connect(&app.url).await;
    raw.send(format!("GET /api/users/me HTTP/1.1\r\n{head}\r\n")).await;
    assert_eq!(raw.answer().await.unwrap().header("content-encoding"), None, "it would not gain");
}

#[tokio::test]
async fn pages_of_allowed_origins_can_read_refusals_too() {
    let app = TestApp::start_with(&["cors.origins=https://chat.example.org,http://localhost:*"]).await;
    let nobody = app.anonymous();
    for (origin, is_allowed) in [
        ("https://chat.example.org", true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        for (method, path) in
            [(Method::GET, "/api/users/me"), (Method::GET, "/api/nothing"), (Method::PUT, "/healthz")]
        {
            let answer = nobody.send(nobody.request(method, path).header("origin", origin)).await;
            assert!(answer.status >= 400);
            let allowed = answer.headers.get("access-control-allow-origin").map(|v| v.to_str().unwrap());
            assert_eq!(allowed, is_allowed.then_some(origin), "{path}");
            assert!(
                answer.headers["vary"].to_str().unwrap().contains("origin"),
                "caches must keep them apart"
            );
        }
    }
    let preflight = nobody
        .request(Method::OPTIONS, "/api/messages/1")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,content-type,idempotency-key");
    let answer = nobody.send(preflight).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    let allowed = |name: &str| answer.headers[name].to_str().unwrap().to_lowercase();
    assert!(allowed("access-control-allow-methods").contains("patch"));
    for header in ["authorization", "content-type", "idempotency-key"] {
        assert!(allowed("access-control-allow-headers").contains(header), "{header}");
    }
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_end_and_nothing_new_begin() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let mut socket = ann.socket().await;
    let mut untouched = Raw::connect(&app.url).await;
    let mut idle = Raw::connect(&app.url).await;
    idle.send(format!("{GET}\r\n")).await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let body = json!({ "name": "general" }).to_string();
    let mut slow = Raw::connect(&app.url).await;
    slow.send(format!(
        "POST /api/channels HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        ann.token,
        body.len()
    ))
    .await;
    assert_eq!(slow.answer().await.unwrap().status, 100, "the handler waits for the body");
    app.ask_to_stop().await;
    assert_eq!(socket.close_code().await, 4503);
    assert!(idle.is_closed().await);
    assert!(untouched.is_closed().await);
    let address = app.url.strip_prefix("http://").unwrap();
    eventually("no connection is taken", || std::net::TcpStream::connect(address).is_err()).await;
    slow.send(&body).await;
    assert_eq!(slow.answer().await.unwrap().status, 201);
    assert!(slow.is_closed().await);
    assert!(app.ended().await);
    app.restart().await;
    let channels = ann.at(&app.url).get("/api/channels").await.expect(200);
    assert_eq!(channels["items"][0]["name"], "general");
}

#[tokio::test]
async fn connections_are_counted_sockets_among_them() {
    let app = TestApp::start_with(&["limits.connections=8"]).await;
    let ann = app.user("ann").await;
    let socket = Socket::open(&app.url, &ann.token).await;
    let mut open = Vec::new();
    let refused = loop {
        let mut next = Raw::connect(&app.url).await;
        next.send(format!("{GET}\r\n")).await;
        let answer = next.answer().await.unwrap();
        if answer.status != 200 {
            break answer;
        }
        open.push(next);
        assert!(open.len() < 8, "the socket has a place too");
    };
    assert_eq!(refused.problem(503), "unavailable");
    assert_eq!(refused.header("retry-after"), Some("5"));
    drop((socket, open));
    // A place is given back when the server has seen the end of a connection.
    loop {
        let mut next = Raw::connect(&app.url).await;
        next.send(format!("{GET}\r\n")).await;
        match next.answer().await.map(|answer| answer.status) {
            Some(200) => break,
            status => assert_eq!(status, Some(503)),
        }
    }
}
