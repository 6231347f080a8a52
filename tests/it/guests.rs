//! Every component in `tests/guests`, loaded into a real server: what is hostile ends in a named error, and its
//! neighbours don't notice.

use std::time::Duration;

use patchbay_tests::{TestApp, User, Value, guest, json, renamed};
use sqlx::{ConnectOptions as _, Connection as _};

/// A server with one guest, its superuser, and a message to look at.
async fn with_guest(name: &str) -> (TestApp, User, String) {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants(name, guest(name)).await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "hello").await;
    (app, ann, format!("/api/channels/{channel}/messages"))
}

/// Changes the limits of a guest.
async fn limit(name: &str, ann: &User, limits: Value) {
    let body = json!({ "limits": limits });
    ann.patch(&format!("/api/admin/plugins/{name}"), &body).await.expect(200);
}

/// Calls the guest several times at once while others work; all calls end with this status and code.
async fn ends_in(name: &str, path: &str, status: u16, code: &str) {
    let (_app, ann, messages) = with_guest(name).await;
    let path = format!("/api/plugins/{name}/{path}");
    let attackers: Vec<_> = (0..3)
        .map(|_| {
            let (ann, path) = (ann.clone(), path.clone());
            tokio::spawn(async move { ann.get(&path).await })
        })
        .collect();
    for _ in 0..10 {
        let list = ann.get(&messages).await.expect(200);
        assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "{list:#}");
    }
    for attacker in attackers {
        assert_eq!(attacker.await.unwrap().problem(status), code);
    }
    ann.get(&messages).await.expect(200);
}

#[tokio::test]
async fn endless_loop() {
    ends_in("endless-loop", "go", 504, "plugin_deadline_exceeded").await;
}

#[tokio::test]
async fn memory_bomb() {
    ends_in("memory-bomb", "go", 502, "plugin_memory_exceeded").await;
}

#[tokio::test]
async fn trap() {
    ends_in("trap", "go", 502, "plugin_trapped").await;
}

#[tokio::test]
async fn stack_overflow() {
    ends_in("stack-overflow", "go", 502, "plugin_trapped").await;
}

#[tokio::test]
async fn host_call_flood() {
    ends_in("host-call-flood", "huge", 502, "plugin_limit_exceeded").await;
    ends_in("host-call-flood", "big", 502, "plugin_limit_exceeded").await;
    // Lines are small: it is their number that ends it, and the log has a few of them.
    let (app, ann, messages) = with_guest("host-call-flood").await;
    limit("host-call-flood", &ann, json!({ "log_lines": 5, "host_calls": 100 })).await;
    let answer = ann.get("/api/plugins/host-call-flood/many").await;
    assert_eq!(answer.problem(502), "plugin_limit_exceeded");
    ann.get(&messages).await.expect(200);
    let log = app.log();
    assert_eq!(log.lines().filter(|line| line.contains("\"x\"")).count(), 5, "{log}");
    assert!(log.contains("95 more lines of this call were left out"), "{log}");
    // What a call exchanges altogether.
    limit("host-call-flood", &ann, json!({ "host_total_bytes": 3 << 20, "host_calls": null })).await;
    let answer = ann.get("/api/plugins/host-call-flood/big").await;
    assert_eq!(answer.problem(502), "plugin_limit_exceeded");
    ann.get(&messages).await.expect(200);
}

#[tokio::test]
async fn huge_output() {
    let (_app, ann, messages) = with_guest("huge-output").await;
    // It streams, so the status is out when the limit is hit: the answer breaks off.
    let request = ann.request(reqwest::Method::GET, "/api/plugins/huge-output/go");
    let broken = request.send().await.unwrap().bytes().await;
    assert!(broken.is_err(), "an answer without end must not look complete");
    ann.get(&messages).await.expect(200);
}

#[tokio::test]
async fn slow_decorator() {
    let (_app, ann, messages) = with_guest("slow-decorator").await;
    let list = ann.get(&messages).await.expect(200);
    assert_eq!(list["extensions_omitted"], json!(["slow-decorator"]));
    let message = &list["items"][0];
    assert_eq!(message["extensions_omitted"], json!(["slow-decorator"]));
    assert!(message["extensions"].get("slow-decorator").is_none(), "absent, not empty");
}

#[tokio::test]
async fn streamer() {
    let (_app, ann, _) = with_guest("streamer").await;
    let request = ann.request(reqwest::Method::GET, "/api/plugins/streamer/stream");
    let body = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 100 * 16 * 1024);
}

#[tokio::test]
async fn whoami() {
    let (app, ann, _) = with_guest("whoami").await;
    let nobody = app.anonymous();
    let me = ann.get("/api/plugins/whoami/me").await.expect(200);
    assert_eq!(me, json!({ "user_id": ann.id, "is_bot": false, "is_superuser": true }));
    assert_eq!(nobody.get("/api/plugins/whoami/me").await.expect(200), json!(null));
    assert_eq!(nobody.get("/api/plugins/whoami/required").await.problem(401), "unauthenticated");
    assert_eq!(ann.get("/api/plugins/whoami/nobody").await.expect(200), json!(null));
    let mut forger = nobody.clone();
    forger.token = "nonsense".into();
    assert_eq!(forger.get("/api/plugins/whoami/me").await.problem(401), "unauthenticated");
    assert_eq!(forger.get("/api/plugins/whoami/nobody").await.expect(200), json!(null));
}

#[tokio::test]
async fn kv_probe() {
    let (_app, ann, _) = with_guest("kv-probe").await;
    let call = async |function: &str, body: patchbay_tests::Value| {
        ann.post(&format!("/api/plugins/kv-probe/{function}"), &body).await
    };
    for (body, what) in [
        (json!({ "key": "", "value": "x" }), "an empty key"),
        (json!({ "key": "k".repeat(513), "value": "x" }), "a long key"),
        (json!({ "key": "k", "size": 64 * 1024 + 1 }), "a large value"),
    ] {
        let answer = call("kv/set", body).await;
        assert!((400..500).contains(&answer.status) || answer.status == 503, "{what}: {:#}", answer.body);
    }
    call("kv/set", json!({ "key": "k", "size": 64 * 1024 })).await.expect(200);
    call("log/write", json!({ "level": "info", "message": "a line of its own\nand no second", "lines": 3 }))
        .await
        .expect(200);
}

use crate::{
    capabilities::{probe, wasi_probe},
    llm::models_probe,
    platform::events_come_in_order_from_where_the_bot_is as recorder,
    released::released,
    reuse::each_call_is_alone_unless_an_operator_wants_it_otherwise as counter,
    search::leaks::search_spy,
};

/// One instruction can't be interrupted, but what it costs is bounded by the call's memory and counted.
#[tokio::test]
async fn bulk() {
    let component = guest("bulk");
    for (operator, what) in [("MemoryFill", "fills"), ("MemoryCopy", "copies")] {
        assert!(operators(&component).any(|name| name.starts_with(operator)), "the guest {what} in bulk");
    }
    let (app, ann, messages) = with_guest("bulk").await;
    limit("bulk", &ann, json!({ "http_cpu_ms": 300, "http_wall_ms": 60_000, "log_lines": 0 })).await;
    for how in ["fill", "copy"] {
        let before = left_out(&app);
        let path = format!("/api/plugins/bulk/{how}");
        let attack = tokio::spawn({
            let ann = ann.clone();
            async move { ann.get(&path).await }
        });
        for _ in 0..5 {
            ann.get(&messages).await.expect(200);
        }
        assert_eq!(attack.await.unwrap().problem(504), "plugin_deadline_exceeded", "{how}");
        // If only ticks were counted, each instruction would cost one, however long it takes.
        let instructions = left_out(&app) - before;
        assert!((1..280).contains(&instructions), "{how}: {instructions} in 300 ms");
    }
    limit("bulk", &ann, json!({ "memory_bytes": 8 << 20 })).await;
    let answer = ann.get("/api/plugins/bulk/fill").await;
    assert_eq!(answer.problem(502), "plugin_memory_exceeded", "less memory, shorter instructions");
}

/// How many lines plugins wrote beyond what they may.
fn left_out(app: &TestApp) -> u32 {
    let log = app.log();
    let counts = log.lines().filter_map(|line| {
        let (before, _) = line.split_once(" more lines of this call were left out")?;
        before.rsplit('"').next()?.parse::<u32>().ok()
    });
    counts.sum()
}

/// The names of all instructions of a component.
fn operators(component: &[u8]) -> impl Iterator<Item = String> {
    let payloads = wasmparser::Parser::new(0).parse_all(component);
    let bodies = payloads.filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    bodies.flat_map(|body| {
        let operators = body.get_operators_reader().unwrap().into_iter();
        operators.map(|operator| format!("{:?}", operator.unwrap())).collect::<Vec<_>>()
    })
}

#[tokio::test]
async fn unfinished() {
    let (_app, ann, messages) = with_guest("unfinished").await;
    limit("unfinished", &ann, json!({ "http_cpu_ms": 100 })).await;
    for (how, status, code) in [
        ("silent", 502, "plugin_no_response"),
        ("early", 409, "conflict"),
        ("twice", 409, "conflict"),
        ("mute", 504, "plugin_deadline_exceeded"),
    ] {
        let answer = ann.get(&format!("/api/plugins/unfinished/{how}")).await;
        assert_eq!(answer.problem(status), code, "{how}");
    }
    // Its head is out: it breaks off.
    let request = ann.request(reqwest::Method::GET, "/api/plugins/unfinished/half");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err(), "half an answer must not look whole");
    ann.get(&messages).await.expect(200);
}

/// A call that waits in the host uses no CPU; its wall budget ends it.
#[tokio::test]
async fn a_call_that_waits_in_the_host_ends_by_its_wall_budget() {
    let app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("kv-probe", guest("kv-probe")).await;
    limit("kv-probe", &ann, json!({ "http_wall_ms": 300 })).await;
    let channel = ann.channel("general", &[]).await;
    let set = json!({ "key": "k", "value": "v" });
    let locked = lock_writes(&app).await;
    let answer = ann.post("/api/plugins/kv-probe/kv/set", &set).await;
    assert_eq!(answer.problem(504), "plugin_timeout");
    ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    locked.close().await.unwrap();
    ann.post("/api/plugins/kv-probe/kv/set", &set).await.expect(200);
}

/// Whoever writes waits until this is closed.
async fn lock_writes(app: &TestApp) -> sqlx::SqliteConnection {
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("patchbay.db"));
    let mut connection = file.busy_timeout(Duration::from_secs(5)).connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn calls_beyond_what_a_plugin_may_have_at_once_are_refused_and_others_served() {
    let (_app, ann, messages) = with_guest("endless-loop").await;
    let at_once =
        json!({ "concurrent_calls": 1, "waiting_calls": 1, "queue_wait_ms": 50, "http_cpu_ms": 700 });
    limit("endless-loop", &ann, at_once).await;
    let calls: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let ann = ann.clone();
                async move { ann.get("/api/plugins/endless-loop/go").await }
            })
        })
        .collect();
    let list = ann.get(&messages).await.expect(200);
    assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "{list:#}");
    let (mut busy, mut ran) = (0, 0);
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status == 503 {
            assert!(answer.headers.contains_key("retry-after"));
            assert_eq!(answer.problem(503), "plugin_busy");
            busy += 1;
        } else {
            assert_eq!(answer.problem(504), "plugin_deadline_exceeded");
            ran += 1;
        }
    }
    assert_eq!((ran, busy), (1, 3));
}

/// Two plugins take all calls that there are: a third is refused in time, the host's own endpoints answer.
#[tokio::test]
async fn all_plugins_together_have_a_bound() {
    let app = TestApp::start_on_sqlite().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "hello").await;
    for name in ["one", "two"] {
        ann.install_with_grants(name, renamed(&guest("kv-probe"), "kv-probe", name)).await;
    }
    ann.install_with_grants("whoami", guest("whoami")).await;
    let set = json!({ "key": "k", "value": "v" });
    let locked = lock_writes(&app).await;
    let calls: Vec<_> = (0..128)
        .map(|n| {
            let (ann, set) = (ann.clone(), set.clone());
            let path = format!("/api/plugins/{}/kv/set", if n % 2 == 0 { "one" } else { "two" });
            tokio::spawn(async move { ann.post(&path, &set).await.status })
        })
        .collect();
    let refused = async {
        loop {
            let answer = ann.get("/api/plugins/whoami/me").await;
            if answer.status == 503 {
                break answer;
            }
            answer.expect(200);
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(4), refused).await.expect("never refused");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.problem(503), "plugin_busy");
    ann.get("/api/users/me").await.expect(200);
    let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    assert_eq!(list["items"][0]["content"], "hello");
    locked.close().await.unwrap();
    for call in calls {
        let status = call.await.unwrap();
        assert!([200, 503, 504].contains(&status), "{status}");
    }
    ann.get("/api/plugins/whoami/me").await.expect(200);
}

#[tokio::test]
async fn a_plugins_state_has_a_bound() {
    let (_app, ann, messages) = with_guest("kv-probe").await;
    ann.install_with_grants("other", renamed(&guest("kv-probe"), "kv-probe", "other")).await;
    limit("kv-probe", &ann, json!({ "kv_bytes": 4096 })).await;
    let set = async |plugin: &str, key: &str| {
        let body = json!({ "key": key, "size": 1500 });
        ann.post(&format!("/api/plugins/{plugin}/kv/set"), &body).await
    };
    set("kv-probe", "a").await.expect(200);
    set("kv-probe", "b").await.expect(200);
    assert_eq!(set("kv-probe", "c").await.problem(503), "plugin_limit_exceeded");
    let get = |key: &str| json!({ "key": key });
    let value = ann.post("/api/plugins/kv-probe/kv/get", &get("c")).await.expect(200);
    assert_eq!(value, json!(null), "nothing of it was kept");
    set("kv-probe", "a").await.expect(200);
    ann.post("/api/plugins/kv-probe/kv/delete", &get("b")).await.expect(200);
    set("kv-probe", "c").await.expect(200);
    for key in ["a", "b", "c"] {
        set("other", key).await.expect(200);
    }
    ann.get(&messages).await.expect(200);
}

/// Thousands of traps in a row: the neighbours' answers stay right and the server's memory within bounds.
#[tokio::test]
async fn a_storm_of_traps() {
    let (app, ann, messages) = with_guest("trap").await;
    let storm = async |calls: usize| {
        let attackers: Vec<_> = (0..8)
            .map(|_| {
                let ann = ann.clone();
                tokio::spawn(async move {
                    for _ in 0..calls {
                        let request = ann.request(reqwest::Method::GET, "/api/plugins/trap/go");
                        // After so many of them it is kept from being called at all.
                        let status = request.send().await.unwrap().status().as_u16();
                        assert!([502, 503].contains(&status), "{status}");
                    }
                })
            })
            .collect();
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            let list = ann.get(&messages).await.expect(200);
            assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "{list:#}");
        }
        for attacker in attackers {
            attacker.await.unwrap();
        }
    };
    storm(100).await;
    let before = app.memory();
    storm(400).await;
    assert_eq!(ann.get("/api/plugins/trap/go").await.problem(503), "plugin_quarantined");
    app.expect_error("in quarantine");
    let after = app.memory();
    assert!(after < before + (64 << 20), "{before} bytes have become {after}");
}

// A guest without a test of its name does not compile.
include!(concat!(env!("OUT_DIR"), "/guests.rs"));
